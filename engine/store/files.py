"""Writing that survives crashes, full disks and power cuts, and says in a sentence when it cannot.

Windows has no fsync of a folder, and its virus scanners hold files open for moments; both are dealt
with here and nowhere else.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_RENAME_TRIES = 8
_FIRST_WAIT_SECONDS = 0.02
_READ_WAITS_SECONDS = (0.1, 0.3, 0.9)
"""Before a read that failed is given up: a bus or a network drive may need a moment."""
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""No trouble with reading: what is looked for is not there."""
_NUMBERS = itertools.count()


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte. A short write is tried again; ``OSError`` when nothing more goes in."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.write(descriptor, rest)
        if written <= 0:
            raise OSError(errno.EIO, "the disk took no more bytes")
        rest = rest[written:]


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file at ``path``: a reader sees the old or the new content, never a mixture.

    ``durable`` also forces it to the disk, so that a power cut cannot take it back.
    """
    # Threads may replace the same file at the same time: each writes one of its own beside it.
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{next(_NUMBERS)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
    try:
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
        raise
    os.close(descriptor)
    try:
        rename(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    # Windows flushes only through a writable handle.
    descriptor = os.open(path, os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to the disk; does nothing on Windows, which cannot."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Put ``old`` in the place of ``new``; tried again while another program holds it (Windows)."""
    wait = _FIRST_WAIT_SECONDS
    for tries_left in range(_RENAME_TRIES - 1, -1, -1):
        try:
            old.replace(new)
            return
        except PermissionError:
            if os.name != "nt" or not tries_left:
                raise
        time.sleep(wait)
        wait *= 2


def read_patiently(read: Callable[[], T]) -> T:
    """What ``read`` gives; tried again for a moment where the disk refuses. Raises ``OSError``."""
    for wait in _READ_WAITS_SECONDS:
        try:
            return read()
        except _GONE:
            raise
        except OSError:
            time.sleep(wait)
    return read()


def remove_tree(folder: Path) -> None:
    """Delete a folder. It first gets a hidden name, so that half of it is never taken for whole.

    A file that another program holds (Windows) stays below that name; whoever next looks after the
    folder around it deletes what is named so. Raises ``OSError`` if nothing was changed.
    """
    shutil.rmtree(hide_tree(folder), ignore_errors=True)


def hide_tree(folder: Path) -> Path:
    """Give a folder the hidden name of what is to be deleted. Raises ``OSError``."""
    number = 1
    while (hidden := folder.with_name(f".removed-{folder.name}-{os.getpid()}-{number}")).exists():
        number += 1
    rename(folder, hidden)
    return hidden


def disk_sentence(error: OSError, path: Path) -> str:
    """Why writing at ``path`` failed and what to do, for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = _free_gib(path)
        return f"The disk with {path} is full{free}. Free some space there."
    if error.errno == errno.EROFS:
        return f"{path} is on a disk that cannot be written to."
    if isinstance(error, PermissionError):
        return f"{path} cannot be written: no permission. Check who owns the folder."
    return f"{path} cannot be written: {error.strerror or error}."


def _free_gib(path: Path) -> str:
    try:
        return f" ({shutil.disk_usage(path.parent).free / 2**30:.2f} GiB free)"
    except OSError:
        return ""


_BINARY: int = getattr(os, "O_BINARY", 0)
