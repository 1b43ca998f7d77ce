"""Replacing files: by several at once, and where Windows lets nobody."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.store import files, manifest
from engine.store.files import write_atomic
from engine.store.manifest import verify
from engine.store.staging import CheckpointError, publish, stage


def test_two_who_replace_a_file_at_once_do_not_share_what_they_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have written before either renames."""
    both, real = threading.Barrier(2), os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        both.wait(10)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "sync_folder", lambda _folder: None)
    texts = [b"a" * 100_000, b"b" * 50_000]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda text: write_atomic(tmp_path / "report.zip", text), texts))
    assert (tmp_path / "report.zip").read_bytes() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["report.zip"]


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "status.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


# ---------------------------------------------------------------- Windows


class Clock:
    """Time that passes only by waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(files.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(files.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def _held(number: int) -> PermissionError:
    error = PermissionError(errno.EACCES, "held")
    error.winerror = number
    return error


def _hold(monkeypatch: pytest.MonkeyPatch, clock: Clock, number: int, until_s: float) -> None:
    """As if another program held everything until then."""
    real = Path.replace

    def replace(old: Path, new: Path) -> Path:
        if clock.now < until_s:
            raise _held(number)
        return real(old, new)

    monkeypatch.setattr(Path, "replace", replace)


def _saved(run: Path) -> Path:
    staging = stage(run, 1)
    (staging / "weights").write_bytes(b"w")
    return publish(staging, step=1, fields={})


@pytest.mark.parametrize("number", [5, 32])
def test_a_save_outlasts_a_scanner_that_takes_most_of_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, number: int
) -> None:
    _hold(monkeypatch, clock, number, until_s=50.0)
    assert _saved(tmp_path).name == "step-00000001"
    assert 50.0 <= clock.now < 52.0


@pytest.mark.parametrize(("number", "sure"), [(5, False), (32, True)])
def test_a_save_that_stays_held_says_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, number: int, sure: bool
) -> None:
    _hold(monkeypatch, clock, number, until_s=1e9)
    with pytest.raises(CheckpointError, match="another program holds it") as caught:
        _saved(tmp_path)
    assert ("permission" not in str(caught.value)) == sure
    assert "out of the virus scanner" in str(caught.value)
    assert files.HELD_SECONDS <= clock.now < files.HELD_SECONDS + 3


def test_what_is_no_save_waits_for_moments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    _hold(monkeypatch, clock, 32, until_s=1e9)
    with pytest.raises(PermissionError):
        write_atomic(tmp_path / "status.json", b"{}")
    assert clock.now == pytest.approx(2.5)
    assert list(tmp_path.iterdir()) == []


def test_no_permission_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def replace(_old: Path, _new: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(CheckpointError, match=r"no permission\. Check who owns"):
        _saved(tmp_path)
    assert clock.now == 0.0


def test_a_file_that_is_held_is_read_back_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    real = manifest.hash_of

    def hash_of(path: Path) -> str:
        if clock.now < 30.0:
            raise _held(32)
        return real(path)

    folder = _saved(tmp_path)
    monkeypatch.setattr(manifest, "hash_of", hash_of)
    assert verify(folder) == []
    assert 30.0 <= clock.now < 32.0
