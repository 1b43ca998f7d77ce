"""What goes wrong is said in words, with the exception folded away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from engine import own_secrets
from engine.contract.lifecycle import Phase
from engine.contract.messages import CheckpointSaved, Finding, Job, Step
from engine.contract.validate import check
from engine.formats.example import DatasetError
from engine.store.staging import CheckpointError
from engine.worker.evidence import gather
from engine.worker.failures import DETAIL_CHARACTERS, JobError, explain
from engine.worker.loading import show_only_card
from engine.worker.preflight import must_fit_vocabulary
from engine.worker.samples import Samples
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

OOM = "CUDA out of memory. Tried to allocate 2.00 GiB."
NO_RAM = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobError("mine", "Mine."), "mine"),
        (DatasetError("x is empty."), "bad_data"),
        (CheckpointError("full"), "save_failed"),
        (torch.OutOfMemoryError(OOM), "out_of_memory"),
        (RuntimeError(OOM), "out_of_memory"),
        (RuntimeError(NO_RAM), "out_of_ram"),
        (MemoryError(), "out_of_ram"),
        (ModuleNotFoundError("No module named 'peft'"), "broken_install"),
        (OSError("Can't load it from https://huggingface.co/x"), "missing_model"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "disk_full"),
        (OSError(errno.EACCES, "Permission denied", "/a/b"), "file_error"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "file_error"),
        (ZeroDivisionError("division by zero"), "unknown"),
    ],
)
def test_an_exception_becomes_words(error: Exception, code: str) -> None:
    failure = explain(error)
    assert failure.code == code
    assert failure.title.endswith((".", "…"))
    assert type(error).__name__ in failure.detail


def test_a_long_detail_is_cut_to_its_end() -> None:
    failure = explain(RuntimeError("x" * 50_000 + "the end"))
    assert len(failure.detail) == DETAIL_CHARACTERS
    assert failure.detail.rstrip().endswith("the end")
    assert len(failure.cause) <= 500


def raised(error: Exception, cause: Exception) -> Exception:
    """The error as it is when it was raised from another."""
    try:
        raise error from cause
    except type(error) as found:
        return found


def test_what_a_failure_was_raised_from_is_said_more_finely() -> None:
    own = JobError("missing_model", "The model x cannot be loaded.", cause="401", remedy="Look.")
    failure = explain(raised(own, OSError("Cannot access gated repo for url https://hf.co/x.")))
    assert (failure.code, failure.problem) == ("missing_model", "hf_gated")
    assert "Cannot access gated repo" in failure.why
    assert "licence" in failure.cause
    other = explain(raised(own, ValueError("something of its own")))
    assert (other.title, other.cause, other.remedy) == (own.title, own.cause, own.remedy)
    assert other.problem == ""


def test_a_save_that_failed_says_what_can_be_done() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    failure = explain(raised(CheckpointError("Step 5 could not be written."), full))
    assert (failure.code, failure.problem) == ("save_failed", "disk_full")
    assert failure.cause == "Step 5 could not be written."
    assert "Make room" in failure.remedy


def test_what_is_known_of_the_job_decides_which_problem_it_was(
    tmp_path: Path, chats: Path, report: Heard
) -> None:
    spec = make_spec(Path("/models/x"), chats)
    job = Job(kind="train", folder=str(tmp_path), log=str(tmp_path / "worker.log"), spec=spec)
    (tmp_path / "worker.log").write_text("of an attempt before\nof this one\n")
    report.enter(Phase.LOADING_MODEL)
    around = gather(job, report, log_start=len("of an attempt before\n"))
    assert around.log == "of this one\n"
    assert (around.phase, around.is_resumed, around.saved_step) == ("loading model", False, 0)
    assert around.machine is not None
    assert explain(RuntimeError(OOM), around).problem == "base_does_not_fit"
    report.enter(Phase.TRAINING)
    failure = explain(RuntimeError(OOM), gather(job, report))
    assert failure.problem == "oom_cuda_alloc"
    assert failure.patch["training.per_device_train_batch_size"] == 1


def test_a_loss_that_is_no_number_can_be_begun_again_more_gently(
    tmp_path: Path, chats: Path, report: Heard
) -> None:
    spec = make_spec(Path("/models/x"), chats)
    job = Job(kind="train", folder=str(tmp_path), spec=spec)
    report.send(Step(at=1.0, step=1, loss=None, learning_rate=1e-3, step_ms=5.0))
    failure = explain(JobError("nan_loss", "The loss is no number."), gather(job, report))
    assert (failure.code, failure.title) == ("nan_loss", "The loss is no number.")
    assert (failure.problem, failure.changes_result) == ("nan_loss", True)
    assert list(failure.patch) == ["training.learning_rate"]


def test_no_token_is_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a-token-that-looks-like-nothing"
    monkeypatch.setattr(own_secrets, "known", lambda: (secret,))
    words = f"401 for {secret}, hf_{'x' * 30} and https://ada:{'p' * 9}@example.org/x"
    failure = explain(RuntimeError(words))
    said = " ".join(str(value) for value in msgspec.structs.astuple(failure))
    assert "401 for [removed]" in failure.cause
    for part in (secret, "x" * 30, "p" * 9):
        assert part not in said


def test_a_missing_model_says_so(tmp_path: Path, chats: Path, report: Heard) -> None:
    with pytest.raises(JobError, match="nobody/nowhere") as caught:
        run_here(tmp_path, make_spec(Path("nobody/nowhere"), chats), report)
    assert explain(caught.value).code == "missing_model"


def test_a_folder_that_is_no_model_says_so(tmp_path: Path, chats: Path, report: Heard) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match=r"model\.safetensors") as caught:
        run_here(tmp_path / "run", make_spec(tmp_path / "empty", chats), report)
    assert explain(caught.value).code == "missing_model"


@pytest.mark.parametrize("targets", [["no_such_layer"], ["q_proj", "lm_head"]])
def test_an_adapter_that_does_not_fit_says_so(
    targets: list[str], tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats)
    spec["lora"]["target_modules"] = targets
    with pytest.raises(JobError, match="does not fit"):
        run_here(tmp_path, spec, report)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there may be such a card")
def test_a_card_that_is_not_there_is_no_reason_to_train_on_the_processor(
    tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats) | {"hardware": {"gpu": 3}}
    with pytest.raises(JobError, match="no card number 3"):
        run_here(tmp_path, spec, report)


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [(None, 2, "2"), ("1", 0, "1"), ("3, GPU-a1", 1, "GPU-a1"), ("", 0, ""), ("-1", 0, "-1")],
)
def test_a_card_is_counted_among_those_that_are_left(
    monkeypatch: pytest.MonkeyPatch, before: str | None, number: int, after: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before or "")
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    show_only_card(number)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after


def test_a_card_that_is_hidden_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(JobError, match="no card number 2") as raised:
        show_only_card(2)
    assert "CUDA_VISIBLE_DEVICES=1,2" in raised.value.cause
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_a_pickled_model_is_refused(
    tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(models("llama"), folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(JobError, match=r"no file named model\.safetensors"):
        run_here(tmp_path / "run", make_spec(folder, chats), report)


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(
    tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(models("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] = float("inf")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    spec = make_spec(folder, chats, save_steps=1)
    with pytest.raises(JobError, match="no number") as caught:
        run_here(tmp_path / "run", spec, report)
    assert explain(caught.value).code == "nan_loss"
    (step,) = report.of(Step)
    assert step.loss is None
    assert not report.of(CheckpointSaved)


def test_a_save_that_fails_is_told_and_training_goes_on(
    tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    spec = make_spec(models("llama"), chats, save_steps=2)
    done = run_here(tmp_path, spec, report)
    assert (done.outcome, done.sentence) == ("finished", "")
    found = [finding for finding in report.of(Finding) if finding.code == "save_failed"]
    # Once for those that fail one after the other; the last one is tried and told again.
    assert [finding.step for finding in found] == [2, 4]


def test_a_foreign_tokenizer_is_found_out_before_training(chats: Path) -> None:
    spec, _ = check(make_spec(Path("some/model"), chats))
    assert spec is not None
    ids = np.array([5, 6, 1, 700], np.int32)
    starts, rows = np.array([0, 2, 4]), np.array([3, 8])
    samples = Samples.adjoining(ids, ids > 0, starts, rows)
    must_fit_vocabulary(spec, samples, 701)
    with pytest.raises(JobError, match=r"token 700.*row 9.*chats\.json") as raised:
        must_fit_vocabulary(spec, samples, 700)
    assert raised.value.remedy


def test_a_remedy_of_fettles_own_says_whether_it_changes_the_result() -> None:
    rate = JobError("diverged", "It is ruined.", why="So.", patch={"training.learning_rate": 1e-5})
    kept = JobError("no_gradient", "No.", patch={"training.gradient_checkpointing": "none"})
    found = [explain(error).changes_result for error in (rate, kept, JobError("bad_model", "No."))]
    assert found == [True, False, False]
