"""Saves are written while training goes on, one at a time, and hold the state of their step."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import failpoints
from engine.contract.messages import CheckpointSaved, Decision, Evaluated, Finding, Step
from engine.failpoints import VARIABLE
from engine.store import staging
from engine.store.checkpoints import published
from engine.store.manifest import read_manifest, verify
from engine.worker import save_timing, saver, snapshot
from engine.worker.numeric_words import NanLoss
from engine.worker.snapshot import HostMemory
from engine.worker.tensor_files import chunks
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def _weights(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "output").glob("*.safetensors"))
    }


def _saves(report: Heard) -> list[int]:
    return [saved.step for saved in report.of(CheckpointSaved)]


def _steps_told_before(report: Heard, saved: CheckpointSaved) -> int:
    told = report.records[: report.records.index(saved)]
    return max(record.step for record in told if isinstance(record, Step))


def test_training_goes_on_while_a_save_is_written(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    always = {"save_minutes": 1e-6, "save_total_limit": 30, "max_steps": 30}
    spec = make_spec(models("llama"), chats, **always)
    calm, slow, on = Heard(), Heard(), Heard()
    run_here(tmp_path / "calm", make_spec(models("llama"), chats, max_steps=30), calm)
    failpoints.arm({VARIABLE: "save.sync=sleep(0.08)"})
    run_here(tmp_path / "run", spec, slow)
    saves = slow.of(CheckpointSaved)
    # Saves that were due meanwhile became one; the last is that of the end, on the disk before it.
    assert 2 <= len(saves) < 20
    assert saves[-1].step == 30
    assert any(_steps_told_before(slow, saved) > saved.step for saved in saves[:-1])
    assert all(saved.stall_seconds < saved.seconds for saved in saves)
    assert all(verify(folder) == [] for _, folder in published(tmp_path / "run"))
    # What was written later is what was there at the step.
    failpoints.arm({})
    step, folder = published(tmp_path / "run")[len(saves) // 2]
    assert _saves(slow)[len(saves) // 2] == step
    spec["training"]["save_minutes"] = 0.0
    run_here(tmp_path / "run", spec, on, checkpoint=str(folder), attempt=2)
    assert _weights(tmp_path / "run") == _weights(tmp_path / "calm")
    for report in (calm, slow, on):
        report.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("saver")]


KINDS: dict[str, dict[str, Any] | None] = {
    "full": None, "lora": {}, "dora": {"use_dora": True},
    "embeddings": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "new tokens": {"trainable_tokens": ["<|end_header_id|>"]},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_copied_beside_a_step_is_what_was_there_before_it(
    kind: str, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, save_steps=2, max_steps=6, save_total_limit=9)
    changes = KINDS[kind]
    if changes is None:
        spec.pop("lora")
    else:
        spec["lora"] |= changes
    prompt, late = Heard(), Heard()
    run_here(tmp_path / "prompt", spec, prompt)
    failpoints.arm({VARIABLE: "save.copy=sleep(0.6)"})
    run_here(tmp_path / "late", spec, late)
    first, second = tmp_path / "prompt/checkpoints", tmp_path / "late/checkpoints"
    names = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    assert len(names) == 9
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    # A step is faster than this copy: what it waited before its update counts as standing still.
    assert all(saved.stall_seconds > 0.1 for saved in late.of(CheckpointSaved))
    for report in (prompt, late):
        report.close()


def test_weights_that_are_no_numbers_are_not_saved_though_they_are_looked_at_beside_the_next_step(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = make_spec(models("llama"), chats, save_steps=2, max_steps=8, save_total_limit=9)
    real = saver.state_files.collect

    def collect(trainer: Any, position: Any, **facts: Any) -> Any:
        if position.step == 4:
            next(iter(trainer.trained.parameters.values())).data[0] = float("nan")
        return real(trainer, position, **facts)

    monkeypatch.setattr(saver.state_files, "collect", collect)
    with pytest.raises(NanLoss, match="step 4"):
        run_here(tmp_path / "run", spec, report)
    assert [step for step, _ in published(tmp_path / "run")] == [2]
    assert max(told.step for told in report.of(Step)) == 4


def test_saves_at_certain_steps_are_waited_for_only_so_long(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = make_spec(models("llama"), chats, save_steps=2, max_steps=12, save_total_limit=9)
    failpoints.arm({VARIABLE: "save.sync=sleep(0.08)"})
    run_here(tmp_path / "patient", spec, report)
    assert _saves(report) == [2, 4, 6, 8, 10, 12]
    assert not [each for each in report.of(Decision) if "come later" in each.title]
    report.records.clear()
    monkeypatch.setattr(save_timing, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(save_timing, "PATIENCE_SHARE", 0.0)
    run_here(tmp_path / "hasty", spec, report)
    assert len(_saves(report)) < 6
    assert _saves(report)[-1] == 12
    assert len([each for each in report.of(Decision) if "come later" in each.title]) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "save.stage:1=eio", "save.write:4=enospc", "save.sync:2=edquot", "save.seal:1=eio",
        "save.publish:1=enospc",
    ],
)  # fmt: skip
def test_a_save_that_fails_is_told_and_the_next_one_is_tried(
    fault: str, models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, save_steps=1, max_steps=3)
    failpoints.arm({VARIABLE: fault})
    done = run_here(tmp_path / "run", spec, report)
    assert done.outcome == "finished"
    assert _saves(report) == [2, 3]
    found = report.of(Finding)
    told = [(each.code, each.step) for each in found]
    assert told == [("save_failed", 1), ("save_works_again", 2)]
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003"]


def test_saves_that_fail_one_after_the_other_are_told_once(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, save_steps=1, max_steps=5)
    failpoints.arm({VARIABLE: "save.sync=enospc"})
    done = run_here(tmp_path / "run", spec, report)
    assert done.outcome == "finished"
    # The last is told again: nobody tries after it.
    told = [(each.code, each.step) for each in report.of(Finding)]
    assert told == [("save_failed", 1), ("save_failed", 5)]
    assert "goes back to the beginning" in report.of(Finding)[0].remedy
    assert list((tmp_path / "run/checkpoints").iterdir()) == []


def test_where_room_is_short_older_saves_make_room_for_a_new_one(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = make_spec(models("llama"), chats, save_steps=1, max_steps=4, save_total_limit=9)
    root = tmp_path / "run/checkpoints"
    real = staging._must_have_room

    def three_fit(folder: Path, step: int, needs_bytes: int) -> None:
        real(folder, step, needs_bytes if len(list(root.glob("step-*"))) < 3 else 1 << 60)

    monkeypatch.setattr(staging, "_must_have_room", three_fit)
    run_here(tmp_path / "run", spec, report)
    assert [step for step, _ in published(tmp_path / "run")] == [2, 3, 4]
    assert report.of(Finding) == []


def test_a_manifest_says_where_and_how_it_came_about(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, save_steps=2, eval_steps=2, max_steps=6)
    run_here(tmp_path / "run", spec, report)
    manifests = [read_manifest(folder) for _, folder in published(tmp_path / "run")]
    losses = [told.eval_loss for told in report.of(Evaluated)]
    # The last evaluation comes after the last step's save.
    assert [each.fields["eval_loss"] for each in manifests] == [losses[0], losses[1], losses[1]]
    fields = manifests[-1].fields
    assert fields["cursor"] == 24
    assert fields["gpu"] is None
    assert fields["ram_peak_bytes"] > 100 << 20
    assert {"torch", "trl", "peft"} < set(fields["versions"])
    assert len(fields["spec"]) == len(fields["data"]) == 64


def test_what_is_no_matter_of_the_disk_ends_the_run(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, save_steps=1)
    failpoints.arm({VARIABLE: "save.seal:2=error(a bug)"})
    with pytest.raises(RuntimeError, match="a bug"):
        run_here(tmp_path / "run", spec, report)
    assert [step for step, _ in published(tmp_path / "run")] == [1]


def test_without_ram_for_a_copy_training_stands_still_and_the_save_is_the_same(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = make_spec(models("llama"), chats, save_steps=2)
    run_here(tmp_path / "copied", spec, report)
    monkeypatch.setattr(snapshot, "_LEFT_FREE_BYTES", 1 << 60)
    run_here(tmp_path / "direct", spec, report)
    first, second = tmp_path / "copied/checkpoints", tmp_path / "direct/checkpoints"
    names = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    assert names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    # Whoever waits is told how long.
    direct = report.of(CheckpointSaved)[-1]
    assert direct.stall_seconds == direct.seconds > 0


def test_a_copy_is_what_would_have_been_written() -> None:
    tensors: dict[str, Any] = {
        "b": torch.randn(3, 5).T, "a": torch.arange(7, dtype=torch.int8), "none": torch.empty(0),
        "c": torch.randn(4).to(torch.bfloat16), "s": torch.tensor(3.0),
    }  # fmt: skip
    files = {"x": tensors, "y": b"text", "z": {"w": torch.ones(4)}}
    memory = HostMemory(may_pin=False)
    assert memory.reserve(files)
    held = memory.copy(files)
    wanted = b"".join(bytes(chunk) for chunk in chunks(tensors))
    tensors["a"] += 1
    assert b"".join(bytes(chunk) for chunk in held["x"]) == wanted
    assert list(held["y"]) == [b"text"]
    # The same room serves the next save.
    room = memory._room
    assert memory.reserve(files)
    memory.copy(files)
    assert np.shares_memory(memory._room, room)
