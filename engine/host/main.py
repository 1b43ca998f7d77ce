"""``python -m engine host``: become this home's host, or see that there is one and leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

import engine
from engine import failpoints, paths
from engine.host.place import (
    PlaceError,
    is_answered,
    make_token,
    prepare_folder,
    take_lock,
)
from engine.host.server import Host
from engine.host.settings import Settings, read_settings
from engine.launch import log_file
from engine.own_secrets import MaskedFormatter
from engine.store.files import disk_sentence

log = logging.getLogger(__name__)

_LOCK_SECONDS = 10.0
"""How long the host before this one may take to be gone."""
_LOG_BYTES = 4 << 20


def main() -> int:
    """Serve until nobody needs this host any more. Exit code 0, also if another one serves; 1 if
    there can be none, and the log says why."""
    if sys.platform != "win32":
        os.umask(0o077)
        _open_many_files()
    try:
        settings = read_settings()
        failpoints.arm()
        prepare_folder(paths.host_folder())
        _log_to_file()
        if sys.platform != "win32":
            prepare_folder(Path(paths.socket_address()).parent)
        lock = _wait_for_lock()
        # It is there before anybody can connect.
        token = make_token() if lock else ""
    except OSError as error:
        return _give_up(disk_sentence(error, Path(error.filename or paths.host_folder())))
    except (PlaceError, ValueError) as error:
        return _give_up(str(error))
    if lock is None:
        log.info("Another host serves this home")
        return 0
    with lock:
        _shorten_log()
        os.chdir(paths.host_folder())
        log.info("Fettle %s, Python %s, pid %d", engine.__version__, sys.version, os.getpid())
        try:
            with asyncio.Runner() as runner:
                runner.run(_serve(settings, token))
        except PlaceError as error:
            return _give_up(str(error))
    log.info("Gone")
    return 0


def _give_up(sentence: str) -> int:
    # On a full disk not even the log takes it.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"The host cannot start: {sentence}\n")
    return 1


async def _serve(settings: Settings, token: str) -> None:
    try:
        host = Host(settings, token)
    except OSError as error:
        raise PlaceError(disk_sentence(error, Path(error.filename or paths.store()))) from error
    await host.run()


def _open_many_files() -> None:
    """Have as many descriptors as this user may: the usual 1024 are few for a host that serves many
    clients."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS calls it unlimited, and takes no such number.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _wait_for_lock() -> BinaryIO | None:
    """The lock; None as soon as it is clear that another host serves."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        lock = take_lock()
        if lock is not None or time.monotonic() > deadline:
            return lock
        if sys.platform != "win32" and is_answered(paths.socket_address()):
            return None
        time.sleep(0.05)


def _log_to_file() -> None:
    """Write to ``host.log``, whoever started this process and with whatever descriptors."""
    path = log_file()
    if not sys.stderr.isatty():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)


def _shorten_log() -> None:
    """Keep the end of a long log in ``host.log.1`` and begin it anew. Only for the host that holds
    the lock: another one would take its log from it. Windows renames no file that is open, so the
    lines are copied; where that cannot be done, the log stays as it is."""
    path = log_file()
    try:
        if path.stat().st_size > _LOG_BYTES:
            with path.open("rb") as file:
                file.seek(-_LOG_BYTES, os.SEEK_END)
                path.with_suffix(".log.1").write_bytes(file.read())
            os.truncate(path, 0)
    except OSError as error:
        log.warning("%s is long and cannot be shortened: %s", path, error)
