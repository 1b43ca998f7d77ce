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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

HELD_SECONDS = 60.0
"""A virus scanner may take so long over files of several GiB."""
_SHORT_SECONDS = 2.5
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
_DENIED = 5
_HELD = (32, 33)
"""What Windows says of a file that another program has open (a sharing or lock violation). Of a
folder with such a file in it, it says only that access is denied."""
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


def write_atomic(
    path: Path, data: bytes | Iterable[memoryview], *, durable: bool = True
) -> None:  # fmt: skip
    """Replace the file at ``path``: a reader sees the old or the new content, never a mixture.

    ``data`` may come in pieces. ``durable`` also forces it to the disk, so that a power cut cannot
    take it back.
    """
    # Threads may replace the same file at the same time: each writes one of its own beside it.
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{next(_NUMBERS)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
    try:
        for piece in [data] if isinstance(data, bytes) else data:
            write_all(descriptor, piece)
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
    descriptor = _while_held(lambda: os.open(path, os.O_RDWR | _BINARY), _HELD, HELD_SECONDS)
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


def rename(old: Path, new: Path, *, patience_s: float = _SHORT_SECONDS) -> None:
    """Put ``old`` in the place of ``new``; tried again for so many seconds while another program
    holds it (Windows)."""
    _while_held(lambda: old.replace(new), (_DENIED, *_HELD), patience_s)


def read_patiently(read: Callable[[], T]) -> T:
    """What ``read`` gives; tried again for a moment where the disk refuses, and for
    :data:`HELD_SECONDS` while another program holds the file. Raises ``OSError``."""
    for wait in _READ_WAITS_SECONDS:
        try:
            return _while_held(read, _HELD, HELD_SECONDS)
        except _GONE:
            raise
        except OSError as error:
            if _said_by_windows(error) in _HELD:
                raise
            time.sleep(wait)
    return _while_held(read, _HELD, HELD_SECONDS)


def _while_held(work: Callable[[], T], reasons: tuple[int, ...], patience_s: float) -> T:
    wait, give_up_at = _FIRST_WAIT_SECONDS, time.monotonic() + patience_s
    while True:
        try:
            return work()
        except PermissionError as error:
            left = give_up_at - time.monotonic()
            if _said_by_windows(error) not in reasons or left <= 0:
                raise
        time.sleep(min(wait, left))
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _said_by_windows(error: OSError) -> int | None:
    """Windows's own number of an error; None on other systems."""
    found: int | None = getattr(error, "winerror", None)
    return found


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


def is_full(error: OSError) -> bool:
    """Whether it says that there is no room, and nothing worse."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_sentence(error: OSError, path: Path) -> str:
    """Why writing at ``path`` failed and what to do, for people."""
    if is_full(error):
        free = _free_gib(path)
        return f"The disk with {path} is full{free}. Free some space there."
    if error.errno == errno.EROFS:
        return f"{path} is on a disk that cannot be written to."
    if _said_by_windows(error) in _HELD:
        return f"{path} cannot be written: another program holds it. {_LEAVE_OUT}"
    if _said_by_windows(error) == _DENIED:
        return (
            f"{path} cannot be written: another program holds it, or there is no permission. "
            f"{_LEAVE_OUT} Or check who owns the folder."
        )
    if isinstance(error, PermissionError):
        return f"{path} cannot be written: no permission. Check who owns the folder."
    return f"{path} cannot be written: {error.strerror or error}."


def _free_gib(path: Path) -> str:
    try:
        return f" ({shutil.disk_usage(path.parent).free / 2**30:.2f} GiB free)"
    except OSError:
        return ""


_LEAVE_OUT = "Leave Fettle's folder out of the virus scanner and the indexer."
_BINARY: int = getattr(os, "O_BINARY", 0)
