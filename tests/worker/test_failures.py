"""What goes wrong is said in words, with the exception folded away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.contract.messages import CheckpointSaved, Finding, Step
from engine.formats.example import DatasetError
from engine.store.checkpoints import CheckpointError
from engine.worker.failures import DETAIL_CHARACTERS, JobError, explain
from engine.worker.loading import show_only_card
from engine.worker.prepared import must_fit_vocabulary
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
    assert [finding.step for finding in found] == [2, 4, 4]


def test_a_foreign_tokenizer_is_found_out_before_training() -> None:
    samples = Samples.of([([1, 700], [True, True])])
    must_fit_vocabulary(samples, 701)
    with pytest.raises(JobError, match="token 700"):
        must_fit_vocabulary(samples, 700)
