"""Trainable parameters and file size of an adapter, from configs alone."""

from __future__ import annotations

import time

import pytest

from engine.contract.spec import LoraSpec
from engine.planning import architecture, catalogue
from engine.planning.adapter import file_bytes, forecast
from engine.planning.catalogue import ModelEntry


@pytest.mark.parametrize("entry", catalogue.load(), ids=lambda entry: str(entry.id))
def test_modules_add_up_to_the_published_parameters(entry: ModelEntry) -> None:
    config = catalogue.config_of(entry.id)
    assert config is not None
    assert architecture.parameters_of(config) == entry.parameters


def test_published_adapter_of_llama_2_7b() -> None:
    """Rank 8 on q_proj and v_proj is 4 194 304 weights, as PEFT's own documents have it."""
    config = catalogue.config_of("meta-llama/Llama-2-7b-hf")
    told = forecast(config or {}, LoraSpec(r=8, target_modules=["q_proj", "v_proj"]))
    assert told is not None
    assert told.trainable == 4_194_304
    assert told.in_full == 0
    assert 0 < told.file_bytes - 4 * 4_194_304 < 20_000


def test_embeddings_make_the_file_large() -> None:
    config = catalogue.config_of("meta-llama/Meta-Llama-3-8B") or {}
    plain = forecast(config, LoraSpec(r=16))
    both = forecast(config, LoraSpec(r=16, modules_to_save=["embed_tokens", "lm_head"]))
    assert plain is not None
    assert both is not None
    assert plain.trainable == 41_943_040
    assert both.in_full == 2 * 128256 * 4096
    assert 4 * both.in_full <= both.file_bytes - plain.file_bytes < 4 * both.in_full + 4096


def test_tied_embeddings_train_once_and_are_saved_twice() -> None:
    config = catalogue.config_of("meta-llama/Llama-3.2-1B") or {}
    told = forecast(config, LoraSpec(r=16, modules_to_save=["embed_tokens", "lm_head"]))
    assert told is not None
    assert told.in_full == 128256 * 2048
    assert told.file_bytes > 2 * 4 * told.in_full


def test_an_unknown_family_has_no_forecast() -> None:
    assert forecast({"model_type": "mamba"}, LoraSpec()) is None
    assert architecture.modules_of({}) is None


def test_header_is_padded_to_eight() -> None:
    header = (
        '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    )
    assert len(header) == 86
    assert file_bytes([("a", (3,))]) == 8 + 88 + 12
    assert all((file_bytes([("a" * n, (2,))]) - 8) % 8 == 0 for n in range(1, 20))


def test_a_forecast_is_quick() -> None:
    """The window makes one for every move of a slider."""
    config = catalogue.config_of("Qwen/Qwen2.5-32B") or {}

    def once() -> float:
        start = time.thread_time()
        forecast(config, LoraSpec(use_dora=True))
        return time.thread_time() - start

    assert min(once() for _ in range(10)) < 0.030
