"""A rehearsal measures what the run then takes, dies where it would, and leaves nothing."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Evaluated,
    Finding,
    Job,
    PhaseChanged,
    PoolPeak,
    Record,
    Rehearsed,
    Step,
)
from engine.worker import meter, rehearse_job
from engine.worker.failures import JobError
from engine.worker.meter import Meter
from engine.worker.numeric_words import NanLoss
from engine.worker.report import Halted
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

_TOLERANCE = 0.03

RECIPES: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "full, nothing recomputed": {"lora": None, "training": {"gradient_checkpointing": "none"}},
    "packed, 8-bit optimizer": {
        "lora": {"r": 128},
        "training": {"packing": True, "max_length": 120, "optim": "adamw_8bit"},
    },
    "4-bit, bf16": {"quantization": {"bits": 4}, "training": {"precision": "bf16"}},
    "long accumulation": {
        "training": {"gradient_accumulation_steps": 5, "gradient_checkpointing": "none"}
    },
    "offloaded": {"training": {"gradient_checkpointing": "offload"}},
}


@pytest.fixture(autouse=True)
def _few_mixed_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their variety matters to what the allocator of RAM keeps, and to no tensor."""
    monkeypatch.setattr(rehearse_job, "_MIXED_STEPS", 2)


def _rehearse(folder: Path, spec: dict[str, Any], report: Heard) -> Rehearsed:
    done = rehearse_job.run(Job(kind="rehearse", folder=str(folder), spec=spec), report)
    assert done.outcome == "finished"
    return msgspec.convert(done.data, Rehearsed)


def _pools(pools: list[PoolPeak]) -> dict[str, PoolPeak]:
    return {pool.pool: pool for pool in pools}


def _spec(model: Path, data: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    # An epoch, so that the heaviest batch comes.
    spec = make_spec(model, data, max_steps=7, max_length=256)
    for name, table in recipe.items():
        if table is None:
            del spec[name]
        else:
            spec[name] = {**spec.get(name, {}), **table}
    return spec


def _run_metered(
    folder: Path, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> list[PoolPeak]:
    monkeypatch.setenv(meter.ASKED_BY, "1")
    report = Heard()
    done = run_here(folder, spec, report)
    report.close()
    assert done.outcome == "finished"
    return msgspec.convert(done.data["pools"], list[PoolPeak])


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_peak_is_that_of_the_run(
    recipe: str, models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = _spec(models("llama"), few_chats, RECIPES[recipe])
    tried = _pools(_rehearse(tmp_path / "tried", spec, report).pools)["tensors"]
    ran = _pools(_run_metered(tmp_path / "run", spec, monkeypatch))["tensors"]
    assert tried.moment == "train"
    assert tried.measured_bytes == pytest.approx(ran.measured_bytes, rel=_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mistral", "qwen", "gemma"])
def test_so_it_is_in_other_families(
    family: str, models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = _spec(models(family), few_chats, {})
    tried = _pools(_rehearse(tmp_path / "tried", spec, report).pools)["tensors"]
    ran = _pools(_run_metered(tmp_path / "run", spec, monkeypatch))["tensors"]
    assert tried.measured_bytes == pytest.approx(ran.measured_bytes, rel=_TOLERANCE)


def test_it_tries_every_part_of_a_run(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = _spec(models("llama"), few_chats, {})
    found = _rehearse(tmp_path / "tried", spec, report)
    pools = _pools(found.pools)
    assert set(pools["tensors"].by_moment) == {"load", "train", "evaluate", "save", "resume"}
    # A resume takes no more than the training: nothing of the first model is left by then.
    assert pools["tensors"].by_moment["resume"] < pools["tensors"].by_moment["train"] / 2
    assert len(report.of(Evaluated)) == 1
    [saved] = report.of(CheckpointSaved)
    assert found.checkpoint_bytes == saved.bytes == pools["disk"].measured_bytes
    # Two heavy steps, and after the resume two ordinary ones that go on from there.
    assert [step.step for step in report.of(Step)][-2:] == [saved.step + 1, saved.step + 2]
    details = [phase.detail for phase in report.of(PhaseChanged)]
    heavy = f"of the longest batch ({found.heaviest})"
    for part in ("forward pass", "backward pass", "optimizer step"):
        assert f"{part} {heavy}" in details
        assert f"{part} of an ordinary batch" in details
    assert details.index(f"forward pass {heavy}") < details.index(f"backward pass {heavy}")
    tokens = int(found.heaviest.removeprefix("2 rows with ").removesuffix(" tokens in all"))
    assert found.heaviest_rows == 2
    assert 2 * found.heaviest_tokens - tokens in (0, 1), "as many take as much"


def test_it_foretells_time_and_steps_of_the_real_run(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = _spec(
        models("llama"), few_chats, {"training": {"num_train_epochs": 3.0, "max_steps": -1}}
    )
    spec["training"] |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    found = _rehearse(tmp_path / "tried", spec, report)
    assert found.total_steps == 21  # 27 rows in fours, three times.
    assert found.step_seconds
    assert found.total_seconds
    assert found.total_seconds > found.total_steps * found.step_seconds


def test_nothing_is_left(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    before = sorted(tmp_path.rglob("*"))
    _rehearse(tmp_path / "tried", _spec(models("llama"), few_chats, {}), report)
    assert sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------- it would die


def _diverging(model: Path, data: Path) -> dict[str, Any]:
    spec = _spec(model, data, {"lora": {"lora_alpha": 1e15}})
    # With a schedule that would reach the full rate only after the rehearsal is over.
    spec["training"] |= {
        "learning_rate": 10.0, "optim": "sgd", "max_grad_norm": 0, "warmup_steps": 10
    }  # fmt: skip
    return spec


def test_a_learning_rate_that_makes_no_numbers_is_told(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = _diverging(models("llama"), few_chats)
    with pytest.raises(NanLoss, match="no number") as caught:
        _rehearse(tmp_path / "tried", spec, report)
    assert "learning_rate" in caught.value.remedy
    assert not (tmp_path / "tried").exists()
    with pytest.raises(NanLoss):  # As the run itself does.
        run_here(tmp_path / "run", spec, report)


def test_a_learning_rate_that_ruins_the_model_is_told(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = _spec(models("llama"), few_chats, {"lora": None})
    spec["training"] |= {"learning_rate": 10.0, "warmup_steps": 10}
    with pytest.raises(JobError, match=r"raised the loss from 6\.\d\d to [\d ]+") as caught:
        _rehearse(tmp_path / "tried", spec, report)
    assert caught.value.code == "loss_grows"
    assert "which is 10" in caught.value.remedy


def test_a_learning_rate_that_may_be_too_high_is_a_warning(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = _spec(models("llama"), few_chats, {"lora": None})
    spec["training"] |= {"learning_rate": 1.0}
    _rehearse(tmp_path / "tried", spec, report)
    assert [finding.code for finding in report.of(Finding)] == ["loss_grows"]


def test_data_without_targets_is_told(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    rows = [{"prompt": "a word " * 60, "completion": "never seen"} for _ in range(20)]
    data = tmp_path / "long.json"
    data.write_text(json.dumps(rows))
    spec = make_spec(models("llama"), data, max_length=16)
    with pytest.raises(JobError, match="nothing to train on"):
        _rehearse(tmp_path / "tried", spec, report)
    assert not (tmp_path / "tried").exists()


def test_a_save_that_the_disk_does_not_take_is_told(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    class Blocks(Heard):
        """Puts a file where the folder of checkpoints belongs."""

        def send(self, record: Record) -> None:
            super().send(record)
            if isinstance(record, PhaseChanged) and "writing" in record.detail:
                (tmp_path / "tried" / "checkpoints").write_text("")

    blocking = Blocks()
    with pytest.raises(JobError, match="could not be written"):
        _rehearse(tmp_path / "tried", _spec(models("llama"), few_chats, {}), blocking)
    assert [finding.code for finding in blocking.of(Finding)] == ["save_failed"]
    blocking.close()


@pytest.mark.parametrize("during", ["backward pass", "writing", "loading of the checkpoint"])
def test_it_ends_when_it_is_asked_to(
    during: str, models: Callable[[str], Path], few_chats: Path, tmp_path: Path
) -> None:
    class Stops(Heard):
        def send(self, record: Record) -> None:
            super().send(record)
            if isinstance(record, PhaseChanged) and record.detail.startswith(during):
                self.wishes.stop.set()

    stopping = Stops()
    with pytest.raises(Halted):
        _rehearse(tmp_path / "tried", _spec(models("llama"), few_chats, {}), stopping)
    assert not (tmp_path / "tried").exists()
    assert not stopping.of(Done)
    stopping.close()


# ---------------------------------------------------------------- the meter


def test_the_meter_tells_moments_apart() -> None:
    with Meter("cpu") as metered:
        metered.enter("train")
        kept = torch.zeros(1 << 20) + 1
        metered.enter("save")
        more = torch.zeros(1 << 18) + 1
        del kept
        metered.enter("train")
        some = more + 1
        del some
    tensors = _pools(metered.pools())["tensors"]
    # One of 4 MiB is made from another; beside the one that is left come two of 1 MiB.
    assert tensors.by_moment["train"] == 8 << 20
    assert tensors.by_moment["save"] == (4 << 20) + (2 << 20)
    assert (tensors.moment, tensors.measured_bytes) == ("train", 8 << 20)
    assert tensors.limit_bytes


def test_resident_memory_is_that_of_the_process_and_sees_spikes() -> None:
    gc.collect()  # What other tests left is not given back in the middle.
    with Meter("cpu") as metered:
        before = metered.pools()
        metered.enter("train")
        torch.ones(1 << 24)  # 64 MiB, gone at once.
        metered.enter("save")
    base = _pools(before)["ram"].measured_bytes
    ram = _pools(metered.pools())["ram"]
    assert base > 100 << 20
    assert ram.by_moment["train"] >= base + (60 << 20)
    assert ram.by_moment["save"] < base + (45 << 20)


def test_nothing_is_counted_once_it_is_closed() -> None:
    with Meter("cpu") as metered:
        metered.let_tensors_be()
        kept = torch.zeros(1 << 20) + 1
    assert _pools(metered.pools())["tensors"].measured_bytes < kept.nbytes


def test_a_run_is_not_metered_unasked(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    done = run_here(tmp_path / "run", make_spec(models("llama"), few_chats, max_steps=1), report)
    assert done.data == {}
