"""The host's private folder: lock, token, address; and who may talk to it.

One host a home: whoever holds the lock is it. The lock goes away with the process, however that
ends, so that nothing has to be cleaned up after a crash.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from engine import paths
from engine.store.files import disk_sentence, write_atomic

log = logging.getLogger(__name__)

_TOKEN_BYTES = 32


class PlaceError(Exception):
    """The private folder cannot be used; the text is a sentence."""


def prepare_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter. Raises :class:`PlaceError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if sys.platform != "win32":
            found = folder.lstat()
            if folder.is_symlink() or found.st_uid != os.getuid():
                raise PlaceError(f"{folder} belongs to somebody else; Fettle does not use it.")
            folder.chmod(0o700)
    except OSError as error:
        raise PlaceError(f"{folder} cannot be used: {error.strerror}.") from error


def take_lock() -> BinaryIO | None:
    """The lock of this home, held while the file is open; None if another host has it."""
    file = (paths.host_folder() / "lock").open("a+b", buffering=0)
    if _lock(file):
        # Only people read the pid: a full disk keeps nobody from the lock.
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        return file
    file.close()
    return None


def _lock(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # A byte far behind the text, which others may then still read.
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make_token() -> str:
    """A fresh token, in a file that only the owner can read. On a disk that takes nothing it is the
    one of the host before, so that runs can be removed there. Raises :class:`PlaceError`."""
    token = secrets.token_hex(_TOKEN_BYTES)
    path = paths.token_file()
    try:
        # The umask of the host is 077, and the folder is closed to others before this is called.
        write_atomic(path, token.encode(), durable=False)
        path.chmod(0o600)
    except OSError as error:
        if earlier := _private_token(path):
            log.warning("The token of the host before is used again: %s", error)
            return earlier
        raise PlaceError(disk_sentence(error, path)) from error
    return token


def _private_token(path: Path) -> str:
    """The token in a file that nobody but its owner could read; empty if there is none."""
    try:
        found = path.lstat()
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    is_token = re.fullmatch(f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}", text) is not None
    if sys.platform != "win32" and (
        not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077
    ):
        return ""
    return text if is_token else ""


def is_answered(address: str) -> bool:
    """Whether somebody listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


def peer_is_owner(connection: socket.socket | None) -> bool:
    """Whether the other end of a Unix socket is a process of this very user.

    Where the system cannot tell (Windows, macOS), the folder and the token have to do.
    """
    if connection is None or not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", credentials)
    return bool(uid == os.getuid())
