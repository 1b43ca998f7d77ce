"""A worker that traces stays, and trains afterwards as if it had not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import Done, Job, Message, Step, Traced
from engine.planning.form import Form
from tests.worker.conftest import make_spec
from tests.worker.harness import Worker


def _train(folder: Path, spec: dict[str, Any], *, traces: int) -> dict[str, str]:
    """Digest of every file of the result, by name; and of the losses."""
    worker = Worker(folder.with_suffix(".log"))
    try:
        for number in range(traces):
            asked = {"spec": spec, "config": None, "device": ("cuda", "cpu")[number % 2]}
            worker.send(Job(kind="trace", spec={**asked, "precision": "fp32"}))
            traced = worker.until(_is(Traced))
            assert isinstance(traced, Traced)
            assert msgspec.convert(traced.form, Form).layers == 1, traced.problem
        folder.mkdir()
        worker.send(Job(kind="train", folder=str(folder), spec=spec))
        done = worker.until(_is(Done))
        assert isinstance(done, Done)
        assert done.outcome == "finished", done.sentence
    finally:
        worker.end()
    losses = [(step.loss, step.grad_norm) for step in worker.of(Step)]
    files = list(folder.rglob("*.safetensors"))
    found = {str(p.relative_to(folder)): _digest(p.read_bytes()) for p in files}
    return {**found, "losses": repr(losses)}


def _is(kind: type[Message]) -> Callable[[Message], bool]:
    def ask(message: Message) -> bool:
        return isinstance(message, kind)

    return ask


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_run_after_traces_is_the_same_run(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=3)
    spec["lora"]["lora_dropout"] = 0.1
    plain = _train(tmp_path / "plain", spec, traces=0)
    after = _train(tmp_path / "after", spec, traces=2)
    assert len(plain) > 3
    assert after == plain


def test_a_model_that_cannot_be_traced_is_said_and_the_worker_stays(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    worker = Worker(tmp_path / "worker.log")
    spec = make_spec(models("llama"), chats)
    asked = {"spec": spec, "device": "cpu", "precision": "fp32"}
    try:
        worker.send(Job(kind="trace", spec={**asked, "config": {"model_type": "unheard-of"}}))
        traced = worker.until(_is(Traced))
        assert isinstance(traced, Traced)
        assert traced.form == {}
        assert "unheard-of" in traced.problem
        worker.send(Job(kind="trace", spec={**asked, "config": None}))
        again = worker.until(_is(Traced))
        assert isinstance(again, Traced)
        assert again.config["model_type"] == "llama"
    finally:
        worker.end()
