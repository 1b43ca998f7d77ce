"""A run that goes on with what mends its failure: the save is taken, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import ResumeCertificate, Step
from engine.contract.patching import patched
from engine.store.checkpoints import newest_verified
from engine.worker.failures import JobError
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

HALVED = {"training.per_device_train_batch_size": 1, "training.gradient_accumulation_steps": 4}
PATCHES: dict[str, dict[str, Any]] = {
    "batch": HALVED,
    "checkpointing": {"training.gradient_checkpointing": "full"},
    "offload": {"training.gradient_checkpointing": "offload"},
    "safe mode": {"hardware.safe_mode": "on"},
    "attention": {"model.attn_implementation": "auto"},
    "precision": {"training.precision": "auto"},
    "fused": {"training.optim": "adamw_torch_fused"},
    "no evaluations": {"training.eval_steps": 0},
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_save_is_taken_up_with_other_settings(
    name: str, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=6, save_steps=3, eval_steps=2)
    calm = Heard()
    run_here(tmp_path, spec, calm)
    losses = [step.loss for step in calm.of(Step)]
    calm.close()
    saved = newest_of(tmp_path, 3)
    report = Heard()
    changed = patched(spec, [PATCHES[name]])
    done = run_here(tmp_path / "again", changed, report, checkpoint=str(saved), attempt=2)
    steps = report.of(Step)
    report.close()
    assert (done.outcome, [step.step for step in steps]) == ("finished", [4, 5, 6])
    assert [step.loss for step in steps] == pytest.approx(losses[3:], rel=1e-3)


def test_a_save_is_not_taken_up_by_an_optimizer_that_would_forget(
    models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=4, save_steps=3)
    calm = Heard()
    run_here(tmp_path, spec, calm)
    calm.close()
    report = Heard()
    changed = patched(spec, [{"training.optim": "adamw_8bit"}])
    with pytest.raises(JobError, match="another optimizer") as caught:
        run_here(tmp_path / "again", changed, report, checkpoint=str(newest_of(tmp_path, 3)))
    assert caught.value.patch == {"training.optim": "adamw_torch"}
    assert caught.value.remedy.startswith("Go on with training.optim = adamw_torch, or start")
    (told,) = report.of(ResumeCertificate)
    report.close()
    assert told.verdict == "refused"
    assert "training.optim" in [line.subject for line in told.lines if line.matters == "yes"]


def newest_of(folder: Path, step: int) -> Path:
    found = folder / "checkpoints" / f"step-{step:08d}"
    assert newest_verified(folder).folder is not None
    assert found.is_dir()
    return found
