"""A resumed run is compared with its save before the first new step, and told what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.contract.messages import CertificateLine, Finding, ResumeCertificate, Step
from engine.contract.patching import patched
from engine.store.checkpoints import name_of, newest_verified
from engine.worker import witness
from engine.worker.failures import JobError
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SAVED = 3


class Saved:
    """A run of 6 steps with a save at step 3."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder, self.spec = folder, spec
        report = Heard()
        run_here(folder, spec, report)
        self.losses = [step.loss for step in report.of(Step)]
        report.close()
        self.checkpoint = folder / "checkpoints" / name_of(SAVED)
        assert newest_verified(folder).folder is not None

    def resumed(
        self, folder: Path, patch: dict[str, Any] | None = None
    ) -> tuple[ResumeCertificate, Heard]:
        """The certificate of a resume with other settings, and what else was told."""
        report = Heard()
        spec = patched(self.spec, [patch or {}])
        try:
            run_here(folder, spec, report, checkpoint=str(self.checkpoint), attempt=2)
        finally:
            report.close()
        (found,) = report.of(ResumeCertificate)
        return found, report


@pytest.fixture(scope="module")
def saved(
    models: Callable[[str], Path], chats: Path, tmp_path_factory: pytest.TempPathFactory
) -> Saved:
    """With dropout, so that the random state counts, and no rows held back."""
    spec = make_spec(models("llama"), chats, max_steps=6, save_steps=SAVED)
    spec["lora"]["lora_dropout"] = 0.2
    spec["dataset"]["eval_fraction"] = 0.0
    return Saved(tmp_path_factory.mktemp("saved"), spec)


def _different(found: ResumeCertificate) -> dict[str, CertificateLine]:
    return {line.subject: line for line in found.lines if line.standing == "differs"}


def test_an_untouched_run_is_certified_with_an_equal_loss_before_its_first_step(
    saved: Saved, tmp_path: Path
) -> None:
    found, report = saved.resumed(tmp_path)
    assert (found.verdict, found.step) == ("same", SAVED)
    assert [line.subject for line in found.lines] == [
        "files", "data", "order", "cursor", "random", "optimizer", "schedule", "batch", "spec",
        "trained", "versions", "device", "replay",
    ]  # fmt: skip
    assert {line.standing for line in found.lines} == {"same"}
    assert found.loss is not None
    assert found.loss == found.loss_before
    kinds = [type(record) for record in report.records]
    assert kinds.index(ResumeCertificate) < kinds.index(Step)
    assert [step.loss for step in report.of(Step)] == saved.losses[SAVED:]


PATCHES: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    # patch: (subject, matters, before, now)
    "learning rate": (
        {"training.learning_rate": 1e-3}, "training.learning_rate", "yes", "0.002", "0.001"
    ),
    "halved batch": (
        {"training.per_device_train_batch_size": 1, "training.gradient_accumulation_steps": 4},
        "batch", "last_digits", "2 × 2 = 4", "1 × 4 = 4",
    ),
    "other batch": (
        {"training.gradient_accumulation_steps": 1}, "batch", "yes", "2 × 2 = 4", "2 × 1 = 2"
    ),
    "checkpointing": (
        {"training.gradient_checkpointing": "full"},
        "training.gradient_checkpointing", "no", "none", "full",
    ),
    "precision": ({"training.precision": "bf16"}, "device", "yes", "fp32", "bf16"),
    "dropout": ({"lora.lora_dropout": 0.0}, "lora.lora_dropout", "yes", "0.2", "0"),
}  # fmt: skip


@pytest.mark.parametrize("name", PATCHES)
def test_a_changed_setting_is_named(name: str, saved: Saved, tmp_path: Path) -> None:
    patch, subject, matters, before, now = PATCHES[name]
    found, _ = saved.resumed(tmp_path, patch)
    line = _different(found)[subject]
    assert (line.matters, line.before, line.now) == (matters, before, now)
    verdicts = {"no": "same", "last_digits": "last_digits", "yes": "other"}
    assert found.verdict == verdicts[matters]
    # What keeps the numbers leaves the replay alone as well.
    if matters != "yes" or name in ("learning rate", "other batch"):
        assert found.loss == found.loss_before


def test_another_rate_is_the_rate_of_the_next_step(saved: Saved, tmp_path: Path) -> None:
    plain, _ = saved.resumed(tmp_path / "plain")
    _, report = saved.resumed(tmp_path / "patched", {"training.learning_rate": 1e-3})
    calm = Heard()
    run_here(tmp_path / "calm", patched(saved.spec, [{"training.learning_rate": 1e-3}]), calm)
    rates = [step.learning_rate for step in calm.of(Step)][SAVED:]
    calm.close()
    assert plain.verdict == "same"
    assert [step.learning_rate for step in report.of(Step)] == rates


def test_another_seed_is_named(saved: Saved, tmp_path: Path) -> None:
    found, _ = saved.resumed(tmp_path, {"training.seed": 7})
    line = _different(found)["order"]
    assert (found.verdict, line.matters) == ("other", "yes")
    assert line.before.startswith("seed 42, 60 rows")
    assert line.now.startswith("seed 7, 60 rows")
    assert "training.seed changed" in line.sentence


def test_another_package_is_named(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = witness.versions()
    monkeypatch.setattr(witness, "versions", lambda: {**real, "torch": "9.9.9"})
    found, _ = saved.resumed(tmp_path)
    line = _different(found)["versions"]
    assert (line.before, line.now) == (f"torch {real['torch']}", "torch 9.9.9")
    assert (found.verdict, line.matters) == ("last_digits", "last_digits")


def test_another_base_model_is_seen_by_the_replay(
    saved: Saved, models: Callable[[str], Path], tmp_path: Path
) -> None:
    from engine.worker.sample_model import write_sample_model

    other = tmp_path / "other"
    write_sample_model(other, family="llama", hidden=32, vocab=600, layers=1, seed=5)
    found, _ = saved.resumed(tmp_path / "run", {"model.path": str(other)})
    assert found.verdict == "other"
    assert _different(found)["replay"].matters == "yes"
    assert "model.path" in _different(found)


@pytest.mark.parametrize("blamed", ["file", "seed"])
def test_other_data_is_named_before_it_is_refused(
    blamed: str, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    data = tmp_path / "chats.json"
    data.write_bytes(chats.read_bytes())
    saved = Saved(tmp_path / "run", make_spec(models("llama"), data, max_steps=4, save_steps=SAVED))
    patch: dict[str, Any] = {}
    if blamed == "file":
        rows = json.loads(chats.read_text())
        data.write_text(json.dumps([*rows, {"instruction": "a", "output": "b"}]))
    else:
        patch = {"training.seed": 7}
    report = Heard()
    title = (
        "The data has changed" if blamed == "file" else "With these settings the data is another"
    )
    with pytest.raises(JobError, match=title) as refused:
        run_here(
            tmp_path / "again", patched(saved.spec, [patch]), report,
            checkpoint=str(saved.checkpoint), attempt=2,
        )  # fmt: skip
    report.close()
    (found,) = report.of(ResumeCertificate)
    line = _different(found)["data"]
    assert (found.verdict, line.matters) == ("refused", "yes")
    assert line.before.startswith("54 samples")
    assert ("training.seed changed" in line.sentence) == (blamed == "seed")
    assert ("training.seed = 42, as it was" in refused.value.remedy) == (blamed == "seed")
    assert refused.value.cause in line.sentence
    assert not report.of(Finding)


def test_an_adapter_of_another_size_is_named_before_it_is_refused(
    saved: Saved, tmp_path: Path
) -> None:
    report = Heard()
    with pytest.raises(JobError, match="other weights are trained") as refused:
        run_here(
            tmp_path, patched(saved.spec, [{"lora.r": 8}]), report,
            checkpoint=str(saved.checkpoint), attempt=2,
        )  # fmt: skip
    report.close()
    (found,) = report.of(ResumeCertificate)
    assert found.verdict == "refused"
    line = _different(found)["lora.r"]
    assert (line.before, line.now, line.matters) == ("4", "8", "yes")
    assert "lora.r 4 → 8" in refused.value.cause
    assert "lora.r = 4, as it was" in refused.value.remedy
    assert refused.value.patch == {"lora.r": 4}


def test_a_save_without_facts_says_what_it_does_not_tell(saved: Saved, tmp_path: Path) -> None:
    (saved.checkpoint / witness.FILE).rename(tmp_path / "kept")
    try:
        found, report = saved.resumed(tmp_path / "run")
    finally:
        (tmp_path / "kept").rename(saved.checkpoint / witness.FILE)
    standings = {line.subject: line.standing for line in found.lines}
    assert found.verdict == "unknown"
    assert {s for s, standing in standings.items() if standing == "same"} == {
        "files", "data", "cursor", "versions"
    }  # fmt: skip
    assert [step.loss for step in report.of(Step)] == saved.losses[SAVED:]


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "packed": {"training.packing": True},
    "full": {"lora": None, "training.optim": "adamw_8bit"},
    "4-bit": {"quantization": {"bits": 4}},
    "8-bit": {"quantization": {"bits": 8}},
    "offload": {"training.gradient_checkpointing": "offload"},
    "bf16": {"training.precision": "bf16", "training.gradient_checkpointing": "full"},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_kind_of_run_is_certified_and_not_disturbed(
    name: str, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=6, save_steps=SAVED)
    spec["lora"]["lora_dropout"] = 0.2
    saved = Saved(tmp_path / "run", patched(spec, [CONFIGURATIONS[name]]))
    found, report = saved.resumed(tmp_path / "again")
    assert found.verdict == "same", [msgspec.to_builtins(line) for line in found.lines]
    assert found.loss is not None
    assert [step.loss for step in report.of(Step)] == saved.losses[SAVED:]
    bare = Heard()
    run_here(tmp_path / "bare", patched(saved.spec, [{"training.save_steps": 0}]), bare)
    assert [step.loss for step in bare.of(Step)] == saved.losses
    bare.close()
