"""The forecast of an adapter against the file that a run writes, for models of many families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.contract.spec import DatasetSpec, LoraSpec, ModelSpec, Spec
from engine.planning import catalogue
from engine.planning.adapter import forecast
from engine.worker import output
from engine.worker.loading import add_adapter, trainable

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning"),
]

FAMILIES = {
    "llama": "meta-llama/Llama-3.2-1B",
    "mistral": "mistralai/Mistral-7B-v0.3",
    "qwen2": "Qwen/Qwen2.5-7B",
    "qwen3": "Qwen/Qwen3-0.6B",
    "gemma": "google/gemma-7b",
    "gemma2": "google/gemma-2-2b",
    "phi3": "microsoft/phi-4",
}
SIZES = {
    "hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "dtype": "bfloat16",
}  # fmt: skip
BOTH = ["embed_tokens", "lm_head"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "r4": {"r": 4},
    "r16-q-v": {"r": 16, "target_modules": ["o_proj", "down_proj"]},
    "r64": {"r": 64, "use_rslora": True},
    "r256": {"r": 256},
    "dora": {"r": 8, "use_dora": True},
    "pattern": {"r": 8, "target_modules": r"model\.layers\.1\.mlp\..*_proj"},
    "both": {"r": 8, "modules_to_save": BOTH},
    "head": {"r": 8, "modules_to_save": ["lm_head"]},
    "input": {"r": 8, "modules_to_save": ["embed_tokens"], "use_dora": True},
    "norms": {"r": 8, "modules_to_save": ["norm"]},
    "projection": {"r": 8, "modules_to_save": ["o_proj"]},
    "whole-mlp": {"r": 8, "modules_to_save": ["mlp"]},
    "on-embedding": {"r": 8, "target_modules": ["o_proj", "embed_tokens"]},
    "dora-on-embedding": {
        "r": 8, "target_modules": ["o_proj", "embed_tokens"], "use_dora": True,
    },
}  # fmt: skip
FACTS = output.Facts(
    steps=1, train_loss=None, eval_loss=None, train_samples=1, eval_samples=0, data="0" * 64,
    versions={},
)  # fmt: skip


def config_of(family: str, tied: bool) -> dict[str, Any]:
    config = catalogue.config_of(FAMILIES[family])
    assert config is not None
    assert config["model_type"] == family
    return {**config, **SIZES, "tie_word_embeddings": tied}


def model_of(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> Any:
    unused = ("model_type", "architectures", "torch_dtype")
    rest = {name: value for name, value in config.items() if name not in unused}
    built = AutoConfig.for_model(config["model_type"], **rest)
    return AutoModelForCausalLM.from_config(built, dtype=dtype)


def written(folder: Path, model: Any, tokenizer: Any, lora: LoraSpec | None) -> int:
    """Bytes of the weights that the run's output has."""
    fields: dict[str, Any] = {} if lora is None else {"lora": lora}
    spec = Spec(
        name="x", model=ModelSpec(path=str(folder)), dataset=DatasetSpec(path="x"), **fields
    )
    made = output.write(folder, spec, model, tokenizer, FACTS)
    name = "model.safetensors" if lora is None else "adapter_model.safetensors"
    return (made / name).stat().st_size


@pytest.fixture(scope="module")
def tokenizer(models: Callable[[str], Path]) -> Any:
    return AutoTokenizer.from_pretrained(models("llama"))


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_forecast_is_the_file(
    family: str, tied: bool, adapter: str, tokenizer: Any, tmp_path: Path
) -> None:
    config, lora = config_of(family, tied), LoraSpec(**ADAPTERS[adapter])
    told = forecast(config, lora)
    assert told is not None
    model = add_adapter(model_of(config), LoraSpec(**ADAPTERS[adapter]), seed=0)
    assert told.trainable == sum(value.numel() for value in trainable(model).values())
    assert told.file_bytes == written(tmp_path, model, tokenizer, lora)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_forecast_of_a_whole_model_is_the_file(
    family: str, tied: bool, tokenizer: Any, tmp_path: Path
) -> None:
    config = config_of(family, tied)
    told = forecast(config, None)
    assert told is not None
    model = model_of(config, torch.float32)
    assert told.trainable == sum(value.numel() for value in trainable(model).values())
    assert told.file_bytes == written(tmp_path, model, tokenizer, None)
