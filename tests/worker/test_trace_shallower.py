"""A step of fewer layers that was not traced, beside one that was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from engine.planning.form import Layout, Point
from engine.worker.trace import model, trace
from engine.worker.trace.model import Built
from engine.worker.trace.recording import Recording
from engine.worker.trace.rounding import _idle_bytes
from engine.worker.trace.shallower import without
from engine.worker.trace.sizes import Sizes, choose
from engine.worker.trace.step import trace_step
from engine.worker.trace.subject import build_subject
from tests.worker.trace_truth import FAMILIES, Case

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

LORA = {"target_modules": "all-linear"}
CARD = {"device": "cuda", "precision": "bf16"}
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {**CARD, "lora": LORA, "bits": 4}),
    ("gemma2", {**CARD, "lora": LORA, "bits": 4}),
    ("gemma2", {**CARD, "lora": None, "optim": "adamw_torch", "gradient_checkpointing": "none"}),
    ("mistral", {**CARD, "lora": LORA, "bits": 8, "gradient_checkpointing": "offload"}),
    ("qwen3", {**CARD, "lora": None, "optim": "adafactor"}),
    ("phi3", {"lora": LORA, "gradient_checkpointing": "none"}),
    ("gemma2", {"lora": None}),
]


def _layout(family: str, fields: dict[str, Any]) -> Layout:
    case = Case(family=family, lora=None, checkpointing="full", batch=2, length=8, layers=12)
    return msgspec.structs.replace(case.layout, **fields)


def _step(layout: Layout, layers: int, sizes: Sizes) -> Recording:
    built = model.build(layout, layers=layers, rank=sizes.rank if layout.lora else 0)
    traced = trace_step(layout, built, sizes, "padded")
    assert traced is not None
    return traced.recording


@pytest.mark.parametrize(("family", "fields"), WAYS)
def test_a_step_of_fewer_layers_follows_from_one_of_more(
    family: str, fields: dict[str, Any]
) -> None:
    layout = _layout(family, fields)
    subject = build_subject(layout, None, whole=False)
    sizes = choose([96, 160, 1000], batch=True, rank=211 if layout.lora else 0)
    deep = _step(layout, subject.traced_depth, sizes)
    found = without(deep, subject.cut)
    truth = _step(layout, subject.traced_depth - subject.cut.period, sizes)
    assert found is not None
    for ours, theirs in zip(found.stretches(), truth.stretches(), strict=True):
        assert ours.place == theirs.place
        if ours.place.stage in ("states", "optimizer"):
            # What a weight takes for a moment goes when the next one's is there: another one here.
            ours, theirs = (replace(each, moments=each.moments[[0, -1]]) for each in (ours, theirs))
        assert np.array_equal(ours.moments, theirs.moments)
    usual = [Point(batch=2, length=length, rank=16) for length in (512, 2048)]
    assert _idle_bytes(found, usual) == _idle_bytes(truth, usual)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_trace_builds_no_second_model(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take twice the time."""
    depths = []

    def build(layout: Layout, *, layers: int, **more: Any) -> Built:
        depths.append(layers)
        return model.build(layout, layers=layers, **more)

    patched = SimpleNamespace(**{**vars(model), "build": build})
    monkeypatch.setattr("engine.worker.trace.subject.models", patched)
    trace(_layout(family, {**CARD, "lora": LORA, "bits": 4}))
    assert len(depths) == 1


def test_layers_that_do_not_do_the_same_are_traced_one_by_one() -> None:
    layout = _layout("llama", {**CARD, "lora": {"target_modules": ["layers.1.self_attn.q_proj"]}})
    subject = build_subject(layout, None, whole=False)
    sizes = choose([96, 160, 1000], batch=True, rank=211)
    assert without(_step(layout, subject.traced_depth, sizes), subject.cut) is None
