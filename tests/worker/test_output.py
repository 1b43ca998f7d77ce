"""The result of a run, where the disk refuses it: a sentence, and what was there before."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.contract.messages import Finding
from engine.contract.spec import DatasetSpec, ModelSpec, Spec
from engine.store.staging import CheckpointError, NoRoom
from engine.worker import output, result_room
from tests.worker.conftest import Heard, make_spec, run_here

FACTS = output.Facts(
    steps=1, train_loss=1.0, eval_loss=None, train_samples=1, eval_samples=0, data="0" * 64,
    versions={},
)  # fmt: skip
SPEC = Spec(name="x", model=ModelSpec(path="m"), dataset=DatasetSpec(path="d"))


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind are not there")
def test_weights_that_the_disk_refuses_are_told_in_a_sentence(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(models("llama"))
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    with files_up_to(4096), pytest.raises(CheckpointError, match="cannot be written: File too"):
        output.write(tmp_path, SPEC, model, tokenizer, FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("is_stopped", [False, True])
def test_finished_weights_wait_for_room(
    is_stopped: bool, models: Callable[[str], Path], few_chats: Path, tmp_path: Path,
    report: Heard, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tries: list[int] = []
    real = output._fill

    def full(*parts: Any) -> None:
        tries.append(1)
        if len(tries) < 4:
            if is_stopped:
                report.wishes.stop.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*parts)

    monkeypatch.setattr(output, "_fill", full)
    monkeypatch.setattr(result_room, "TRY_EVERY_SECONDS", 0.01)
    spec = make_spec(models("llama"), few_chats, max_steps=2)
    if is_stopped:
        with pytest.raises(NoRoom):
            run_here(tmp_path, spec, report)
        assert len(tries) == 1
        return
    done = run_here(tmp_path, spec, report)
    assert done.outcome == "finished"
    assert (Path(done.output or "") / "adapter_model.safetensors").exists()
    told = [found.code for found in report.of(Finding)]
    assert told == ["result_waits", "result_written"]
    # An error would be taken for the reason of whatever ends it meanwhile.
    assert [found.severity for found in report.of(Finding)] == ["warning", "info"]


def test_the_result_before_is_put_back_if_the_new_one_cannot_take_its_place(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(models("llama"))
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    final = output.write(tmp_path, SPEC, model, tokenizer, FACTS)
    (final / "mine.txt").write_text("kept")
    rename = output.rename

    def refused(source: Path, target: Path, **patience: float) -> None:
        if source.name.startswith(".output-") and source.name != ".output-before":
            raise PermissionError(13, "Permission denied")
        rename(source, target, **patience)

    monkeypatch.setattr(output, "rename", refused)
    with pytest.raises(CheckpointError, match="no permission"):
        output.write(tmp_path, SPEC, model, tokenizer, FACTS)
    assert (final / "mine.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def _folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "adapter.safetensors").write_text(content)
    return path


def test_what_a_killed_worker_left_of_a_result_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    reused = _folder(tmp_path / f".output-{os.getppid()}", "of an earlier process of that number")
    os.utime(reused, (0, 0))
    living = _folder(tmp_path / ".output-1", "just being written")
    _folder(tmp_path / f".output-{process.pid}", "half")
    _folder(tmp_path / f".output-{os.getpid()}", "of an earlier try")
    output.clear(tmp_path)
    assert list(tmp_path.iterdir()) == [living]


@pytest.mark.parametrize("has_new", [True, False])
def test_a_result_that_was_to_be_replaced_is_not_lost(tmp_path: Path, has_new: bool) -> None:
    _folder(tmp_path / ".output-before", "older")
    if has_new:
        _folder(tmp_path / "output", "newer")
    output.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    kept = (tmp_path / "output" / "adapter.safetensors").read_text()
    assert kept == ("newer" if has_new else "older")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_adapter_names_the_revision_that_it_was_trained_on(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), few_chats, max_steps=1)
    spec["model"]["revision"] = "v0.3"
    done = run_here(tmp_path / "run", spec, report)
    config = json.loads((Path(str(done.output)) / "adapter_config.json").read_text())
    assert config["revision"] == "v0.3"
