"""The trace beside the truth: real tensors, the real trainer, without a card.

Everything that is alive is counted on both sides, so the two must agree to the byte but for a few
counters; 1 % is promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from trl.trainer import utils as trl_utils

from engine.planning.form import Form, peak
from engine.worker import by_sample
from engine.worker.trace import trace
from tests.worker.conftest import Heard
from tests.worker.trace_truth import Case, measure, stages_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Paged optimizers"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings"),
]
SMALL_TILE = 256
"""TRL's head computes tiles of 32768 logits; beside tiny models nothing else would be seen."""
PROMISED = 0.01
USUAL = 0.002
LORA = {"r": 16}


def _matrix() -> Iterator[Case]:
    """Five families, adapter and full, with and without checkpointing, at three sizes each."""
    for family in ("llama", "mistral", "qwen3", "gemma2", "phi3"):
        attention = "eager" if family == "gemma2" else "sdpa"
        for tuned in (True, False):
            for checkpointing in ("none", "full"):
                for batch, length, rank, accumulates in (
                    (1, 48, 8, False), (2, 96, 32, True), (4, 64, 64, False)
                ):  # fmt: skip
                    yield Case(
                        family=family, lora={"r": rank} if tuned else None, batch=batch,
                        length=length, checkpointing=checkpointing, accumulates=accumulates,
                        attention=attention,
                    )  # fmt: skip


def _optimizers() -> Iterator[Case]:
    for optim in ("adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "sgd", "adafactor"):
        yield Case(family="qwen3", lora=LORA, checkpointing="full", batch=1, length=64, optim=optim)
        yield Case(family="llama", lora=None, checkpointing="none", batch=2, length=32, optim=optim)


def _others() -> Iterator[Case]:
    base = Case(family="llama", lora=LORA, checkpointing="full", batch=2, length=64)
    for fields in (
        {"family": "qwen2"}, {"family": "gemma"}, {"packing": True},
        {"packing": True, "batch": 1, "checkpointing": "none"}, {"attention": "eager"},
        {"lora": {"r": 8, "use_dora": True}}, {"lora": {"r": 8, "lora_dropout": 0.1}},
        {"lora": {"r": 8, "modules_to_save": ["embed_tokens", "lm_head"]}},
        {"family": "qwen3", "lora": {"r": 8, "modules_to_save": ["lm_head"]}},
        {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}},
        # Autocast keeps its casts of weights that are trained.
        {"precision": "bf16", "lora": None, "checkpointing": "none"}, {"precision": "bf16"},
        {"family": "qwen2", "bits": 4, "checkpointing": "none"},
        # Longer than the sliding window of these.
        {"family": "mistral", "batch": 1, "length": 640},
        {"family": "mistral", "batch": 2, "length": 640, "checkpointing": "none"},
        # Deep enough to be extrapolated.
        {"layers": 7}, {"family": "gemma2", "attention": "eager", "layers": 9, "lora": None},
    ):  # fmt: skip
        yield msgspec.structs.replace(base, **fields)


@cache
def _form(layout: bytes, tile: int) -> Form:
    """Sizes are no part of a layout: one trace serves several cases."""
    from engine.planning.form import Layout

    return trace(msgspec.json.decode(layout, type=Layout))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    from engine.worker.sample_model import write_sample_model

    folder = write_sample_model(tmp_path_factory.mktemp("model") / "m", hidden=32, vocab=600)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples in a line take most where they are not all of one length; these here are."""
    monkeypatch.setattr(by_sample, "are_alike", lambda lengths: False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _compare(case: Case, tokenizer: Any, report: Heard, folder: Path) -> None:
    form = _form(msgspec.json.encode(case.layout), trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE)
    live = measure(case, tokenizer, report, folder)
    foretold = peak(form, case.point).total
    # Padding, and the first tokens of samples in one row, do not go through the head: a form
    # counts the batch that has least of them.
    has_fewer = case.packing or (case.batch > 1 and not case.in_line)
    usual = PROMISED if has_fewer else USUAL
    assert foretold == pytest.approx(live.peak, rel=usual)
    assert foretold > live.peak * (1 - USUAL)
    stages = stages_of(form, case.point)
    for stage in ("forward", "backward"):
        assert stages[stage] == pytest.approx(live.most(stage), rel=usual), stage
        assert stages[stage] > live.most(stage) * (1 - USUAL), stage
    # With batches of a step that are still there, whether there are any.
    assert stages["optimizer"] == pytest.approx(live.most("optimizer"), rel=2 * PROMISED)


def _by_layout() -> list[tuple[Case, ...]]:
    """Cases that one trace serves; spread over processes each would trace it."""
    found: dict[bytes, list[Case]] = {}
    for case in (*_matrix(), *_optimizers(), *_others()):
        found.setdefault(msgspec.json.encode(case.layout), []).append(case)
    return [tuple(cases) for cases in found.values()]


@pytest.mark.parametrize("cases", _by_layout(), ids=lambda cases: f"{cases[0].id} x{len(cases)}")
def test_the_peak_of_a_real_step_is_foretold(
    cases: tuple[Case, ...], tokenizer: Any, report: Heard, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(trl_utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", SMALL_TILE)
    for place, case in enumerate(cases):
        _compare(case, tokenizer, report, tmp_path / str(place))


@pytest.mark.parametrize("tuned", [True, False])
def test_the_tiles_of_the_head_are_foretold(
    tuned: bool, tokenizer: Any, report: Heard, tmp_path: Path
) -> None:
    case = Case(
        family="llama", lora=LORA if tuned else None, checkpointing="full", batch=2, length=64
    )
    _compare(case, tokenizer, report, tmp_path)


def test_at_least_sixty_ways_are_compared() -> None:
    ways = {case.id for case in (*_matrix(), *_optimizers(), *_others())}
    assert len(ways) >= 60


def test_what_is_alive_is_counted_once_and_until_it_goes() -> None:
    from engine.worker.trace.live_bytes import LiveBytes

    weight = torch.zeros(1000)
    live = LiveBytes()
    live.hold([weight, weight.view(10, 100)], "weights")
    with live:
        live.enter("forward", "activations")
        first = weight + 1
        second = first.view(100, 10).t()
        assert live.total == 8000
        del first
        assert live.total == 8000
        del second
        assert live.total == 4000
        live.enter("backward", "recompute")
        grown = weight * 2
        live.hold([grown], "gradients")
    assert live.most("forward") == 8000
    assert live.peaks["forward"] == {"weights": 4000, "activations": 4000}
    assert live.total == 8000
    live.reset()
    found = {part: size for part, size in live.peaks["backward"].items() if size}
    assert found == {"weights": 4000, "gradients": 4000}
