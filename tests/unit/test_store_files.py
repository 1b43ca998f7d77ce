"""Replacing files: by several at once, and where Windows lets nobody."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.store import files
from engine.store.files import write_atomic


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
