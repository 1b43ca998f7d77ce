"""A run that was stopped or killed and resumed is the run that never was, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Evaluated,
    Finding,
    Record,
    SaveNow,
    Step,
    StopJob,
    decode_line,
)
from engine.store.checkpoints import newest_verified, published
from engine.store.manifest import verify
from engine.store.staging import CheckpointError
from engine.worker import publisher
from engine.worker.failures import JobError
from engine.worker.saver import Saver
from tests.bench.kill_resume import kill_until_done, spec_for
from tests.worker.conftest import Heard, make_spec, run_here
from tests.worker.harness import Worker, job

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class StopsAt(Heard):
    """Asks for the end when it hears of a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def send(self, record: Record) -> None:
        super().send(record)
        if isinstance(record, Step) and record.step == self._step:
            self.wishes.stop.set()


def _result(folder: Path) -> dict[str, str]:
    """sha256 of each weight file of the output."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "output").glob("*.safetensors"))
    }
    assert found
    return found


def _newest(folder: Path) -> str:
    found = newest_verified(folder)
    assert found.folder, found.notes
    assert not found.notes
    return str(found.folder)


RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout and packing": {"lora": {"lora_dropout": 0.2}, "training": {"packing": True}},
    "8-bit optimizer": {
        "lora": {"r": 256}, "training": {"optim": "adamw_8bit", "gradient_checkpointing": "none"}
    },
    "paged 8-bit optimizer": {"lora": {"r": 64}, "training": {"optim": "paged_adamw_8bit"}},
    "fused": {"training": {"optim": "adamw_torch_fused"}},
    "adafactor": {"training": {"optim": "adafactor"}},
    "sgd": {"training": {"optim": "sgd", "learning_rate": 0.5}},
    "full": {"lora": None, "training": {"learning_rate": 1e-3, "weight_decay": 0.1}},
    "full with 8-bit optimizer": {"lora": None, "training": {"optim": "adamw_8bit"}},
    "embeddings": {
        "lora": {"modules_to_save": ["embed_tokens", "lm_head"]},
        "training": {"embedding_learning_rate": 1e-4},
    },
    "dora": {"lora": {"use_dora": True, "lora_dropout": 0.1}},
    "4-bit": {"quantization": {"bits": 4}, "lora": {"lora_dropout": 0.1}},
    "bf16": {"training": {"precision": "bf16"}},
}  # fmt: skip


QUICK = ("dropout and packing", "8-bit optimizer", "full", "4-bit")


def _recipes() -> list[Any]:
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in QUICK else slow) for name in RECIPES]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
@pytest.mark.parametrize("recipe", _recipes())
def test_a_stopped_and_resumed_run_ends_in_the_same_weights(
    recipe: str, models: Callable[[str], Path], few_chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), few_chats, max_steps=9, eval_steps=2)
    for name, table in RECIPES[recipe].items():
        if table is None:
            del spec[name]
        else:
            spec[name] = {**spec.get(name, {}), **table}
    calm = Heard()
    run_here(tmp_path / "calm", spec, calm)
    # 27 rows in windows of 4: step 7 is the partial one, 8 opens the second epoch.
    told: list[Step] = []
    for attempt, last in enumerate((3, 7, None), start=1):
        report = StopsAt(last) if last else Heard()
        checkpoint = _newest(tmp_path / "cut") if attempt > 1 else None
        done = run_here(tmp_path / "cut", spec, report, checkpoint=checkpoint, attempt=attempt)
        assert done.outcome == ("stopped" if last else "finished")
        told += report.of(Step)
        evals = report.of(Evaluated)
        report.close()
    assert [_facts(step) for step in told] == [_facts(step) for step in calm.of(Step)]
    assert [s.samples_seen for s in told][5:8] == [24, 27, 31]
    assert evals[-1].eval_loss == calm.of(Evaluated)[-1].eval_loss
    assert _result(tmp_path / "cut") == _result(tmp_path / "calm")
    calm.close()


class StopsWhenNothingIsDue(Heard):
    """Asks for the end of the run just after a step was found to need no save."""

    def watch(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        real = Saver.due

        def due(saver: Saver, at: int) -> Any:
            reason = real(saver, at)
            if at == step:
                self.wishes.stop.set()
            return reason

        monkeypatch.setattr(Saver, "due", due)


def test_a_wish_that_comes_after_the_look_at_it_is_granted_a_step_later_and_saved(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = StopsWhenNothingIsDue()
    report.watch(monkeypatch, step=2)
    done = run_here(tmp_path / "run", make_spec(models("llama"), chats, max_steps=8), report)
    assert (done.outcome, done.step) == ("stopped", 3)
    assert [saved.step for saved in report.of(CheckpointSaved)] == [3]
    report.close()


def test_a_stop_whose_save_fails_does_not_say_that_it_saved(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=8, save_steps=2)
    report = StopsAt(3)
    sentence = "Stopped at step 3, which could not be saved. Resume goes on from step 2."
    real = publisher.stage

    def full(folder: Path, step: int, **needs: int) -> Path:
        if step == 3:
            raise CheckpointError("The disk is full.")
        return real(folder, step, **needs)

    monkeypatch.setattr(publisher, "stage", full)
    done = run_here(tmp_path / "run", spec, report)
    assert (done.outcome, done.step) == ("stopped", 3)
    assert done.sentence == sentence
    report.close()


def test_old_saves_that_cannot_be_removed_end_no_training(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> list[int]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(publisher, "rotate", refusing)
    report = Heard()
    done = run_here(
        tmp_path / "run", make_spec(models("llama"), chats, max_steps=3, save_steps=1), report
    )
    assert done.outcome == "finished"
    assert [found.code for found in report.of(Finding)] == ["save_not_removed"]
    report.close()


def _facts(step: Step) -> tuple[Any, ...]:
    return step.step, step.loss, step.grad_norm, step.learning_rate, step.samples_seen, step.epoch


def test_another_micro_batch_goes_on_at_the_same_sample(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=8)
    calm, first, second = Heard(), StopsAt(3), Heard()
    run_here(tmp_path / "calm", spec, calm)
    run_here(tmp_path / "cut", spec, first)
    spec["training"] |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    run_here(tmp_path / "cut", spec, second, checkpoint=_newest(tmp_path / "cut"))
    told = [*first.of(Step), *second.of(Step)]
    assert [s.samples_seen for s in told] == [s.samples_seen for s in calm.of(Step)]
    wanted = [s.loss for s in calm.of(Step)]
    assert [s.loss for s in told] == pytest.approx(wanted, rel=1e-5)
    for report in (calm, first, second):
        report.close()


def test_changed_data_is_refused(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    data = tmp_path / "chats.json"
    data.write_bytes(chats.read_bytes())
    spec = make_spec(models("llama"), data, max_steps=8)
    first, second = StopsAt(3), Heard()
    run_here(tmp_path / "run", spec, first)
    data.write_text(
        json.dumps([*json.loads(chats.read_text()), {"instruction": "a", "output": "b"}])
    )
    with pytest.raises(JobError, match="data has changed"):
        run_here(tmp_path / "run", spec, second, checkpoint=_newest(tmp_path / "run"))
    first.close()
    second.close()


def test_a_save_of_another_model_is_refused(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=8)
    first, second = StopsAt(3), Heard()
    run_here(tmp_path / "run", spec, first)
    spec["lora"]["r"] = 8
    with pytest.raises(JobError, match="other weights are trained"):
        run_here(tmp_path / "run", spec, second, checkpoint=_newest(tmp_path / "run"))
    first.close()
    second.close()


def test_evaluating_and_saving_change_nothing(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    results = []
    for name, extra in (("bare", {}), ("busy", {"eval_steps": 1, "save_steps": 1})):
        report = Heard()
        spec = make_spec(models("llama"), chats, max_steps=6, **extra)
        spec["lora"]["lora_dropout"] = 0.3
        run_here(tmp_path / name, spec, report)
        results.append(_result(tmp_path / name))
        report.close()
    assert results[0] == results[1]


def test_saves_come_by_steps_by_time_and_when_asked_and_old_ones_go(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=9, save_steps=4, save_total_limit=2)
    report.wishes.save.set()
    run_here(tmp_path, spec, report)
    saved = [(record.step, record.reason) for record in report.of(CheckpointSaved)]
    assert saved == [(1, "asked"), (4, "steps"), (8, "steps"), (9, "end")]
    kept = published(tmp_path)
    assert [step for step, _ in kept] == [8, 9]
    assert [verify(folder) for _, folder in kept] == [[], []]
    spec = make_spec(models("llama"), chats, max_steps=3, save_minutes=1e-6)
    timed = Heard()
    run_here(tmp_path / "timed", spec, timed)
    # The second is due while the first is written, and comes when that is on the disk.
    assert timed.of(CheckpointSaved)[0].reason == "time"
    assert timed.of(CheckpointSaved)[-1].step == 3
    timed.close()


# ---------------------------------------------------------------- real processes


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path / "idle.log") as found:
        yield found


def _long(models: Callable[[str], Path], chats: Path) -> dict[str, Any]:
    return make_spec(models("llama"), chats, max_steps=100_000)


def _after_steps(worker: Worker, count: int) -> None:
    worker.until(lambda _: len(worker.of(Step)) >= count)


def test_a_lost_host_makes_the_worker_save_and_leave(
    worker: Worker, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    worker.send(job(run, _long(models, chats)))
    _after_steps(worker, 3)
    # As when the host is killed: both pipes break at once.
    assert worker.process.stdin is not None
    assert worker.process.stdout is not None
    worker.process.stdout.close()
    worker.process.stdin.close()
    assert worker.process.wait(30) == 0
    records = [decode_line(line) for line in (run / "orphan.jsonl").read_bytes().splitlines()]
    saved = [r for r in records if isinstance(r, CheckpointSaved)]
    steps = [r for r in records if isinstance(r, Step)]
    assert [s.reason for s in saved] == ["host_lost"]
    assert steps[-1].step == saved[0].step
    assert [s.step for s in steps] == list(range(1, len(steps) + 1))
    assert [r.worker_seq for r in records] == list(range(1, len(records) + 1))  # type: ignore[attr-defined]
    assert isinstance(records[-1], Done)
    assert records[-1].outcome == "stopped"
    assert _newest(run).endswith(f"{saved[0].step:08d}")


def test_stop_save_now_and_sigterm(
    worker: Worker, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    worker.send(job(run, _long(models, chats)))
    _after_steps(worker, 2)
    worker.send(SaveNow())
    worker.until(lambda message: isinstance(message, CheckpointSaved))
    _after_steps(worker, len(worker.of(Step)) + 2)
    worker.send(StopJob())
    done = worker.until(lambda message: isinstance(message, Done))
    assert isinstance(done, Done)
    assert done.outcome == "stopped"
    assert [s.reason for s in worker.of(CheckpointSaved)] == ["asked", "stop"]
    assert worker.of(CheckpointSaved)[-1].step == done.step == worker.of(Step)[-1].step
    assert worker.end() == 0
    assert not worker.garbage
    with Worker(tmp_path / "idle.log") as hasty:
        hasty.send(job(run, _long(models, chats), checkpoint=_newest(run), attempt=2))
        hasty.send(StopJob())
        halted = hasty.until(lambda message: isinstance(message, Done))
        assert isinstance(halted, Done)
        assert (halted.outcome, halted.step) == ("stopped", done.step)
        assert not hasty.of(Step)
    with Worker(tmp_path / "idle.log") as other:
        other.send(job(run, _long(models, chats), checkpoint=_newest(run), attempt=2))
        _after_steps(other, 2)
        os.kill(other.process.pid, signal.SIGTERM)
        ended = other.until(lambda message: isinstance(message, Done))
        assert other.of(Step)[0].step == done.step + 1
        assert other.of(CheckpointSaved)[-1].reason == "signal"
        assert isinstance(ended, Done)
        assert ended.outcome == "stopped"
        assert other.end() == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_9_at_random_moments(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = spec_for(models("llama"), chats, steps=24)
    calm = Heard()
    run_here(tmp_path / "calm", spec, calm)
    calm.close()
    killed = kill_until_done(tmp_path / "killed", spec, kills=2, stride=16, seed=1)
    assert len(killed) == 2
    assert max(killed) > 8, "kills must fall behind the first saves too"
    assert _result(tmp_path / "killed") == _result(tmp_path / "calm")
