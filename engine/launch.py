"""Finding the host of this home, or starting one: the stream to it, and its token.

Light, standard library only. :mod:`engine.client` and :mod:`engine.attach` talk over what is opened
here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import engine
from engine import paths, transport
from engine.transport import Stream

START_SECONDS = 15.0
"""How long a host may take from its start to its first answer."""

_LOG_TAIL_LINES = 8
_LOG_TAIL_BYTES = 4096


class ClientError(Exception):
    """Base of what goes wrong here; ``sentence`` is for people."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class HostFailed(ClientError):
    """No host could be started or reached."""


def open_stream(deadline: float) -> Stream:
    """A stream to the host's socket, before any greeting; starts the host if nobody listens.

    ``deadline`` is a time of ``time.monotonic()``. Raises :class:`HostFailed`.
    """
    process: subprocess.Popen[bytes] | None = None
    wait_s = 0.02
    while True:
        try:
            return transport.connect(paths.socket_address())
        except transport.NOBODY_THERE:
            pass
        except OSError as error:
            if transport.is_busy(error) and time.monotonic() < deadline:
                # A host is there, and takes others at this very moment.
                time.sleep(wait_s)
                continue
            raise HostFailed(
                f"The host's socket {paths.socket_address()} cannot be opened: {error.strerror}."
            ) from None
        if process is not None and process.returncode not in (None, 0):
            raise HostFailed(f"The host could not be started. {log_tail()}")
        if time.monotonic() > deadline:
            raise HostFailed(_why_nobody_answers(process))
        if process is None or process.returncode == 0:
            # 0 without a listener: it left the place to another one, which has gone since.
            process = _spawn_host()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            wait_s = min(0.2, wait_s * 1.5)


def start_host() -> None:
    """Start a host without waiting for it. Raises :class:`HostFailed`."""
    _spawn_host()


def _why_nobody_answers(process: subprocess.Popen[bytes] | None) -> str:
    if process is not None and process.returncode == 0:
        return (
            "The host before this one is still ending: its worker saves. Try again in a minute. "
            f"What it does is in {log_file()}."
        )
    return f"The host does not answer. {log_tail()}"


def _spawn_host() -> subprocess.Popen[bytes]:
    """Start a host that outlives us. If two are started at once, one sees the other and leaves."""
    folder = paths.host_folder()
    try:
        paths.make_home()
        folder.mkdir(exist_ok=True, mode=0o700)
        log = log_file().open("ab")
    except OSError as error:
        raise HostFailed(
            f"{folder} cannot be written: {error.strerror}. Set FETTLE_HOME to a folder of yours."
        ) from None
    # Started from the folder of this very package, so that client and host are the same Fettle.
    root = Path(engine.__file__).parents[1]
    with log:
        process = _popen({"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": root})
    # Takes the exit status when it comes: a client that lives long leaves no zombie behind.
    threading.Thread(target=process.wait, name="host-reaper", daemon=True).start()
    return process


def _popen(options: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the host's program in the best way that the system allows. Raises HostFailed."""
    why = ""
    for way in _detached_ways():
        try:
            return subprocess.Popen([sys.executable, "-m", "engine", "host"], **options, **way)
        except OSError as error:
            why = error.strerror or str(error)
    raise HostFailed(
        f"The host could not be started: {sys.executable} cannot be run ({why}). "
        "Install Fettle anew, or allow this program to start others."
    )


def _detached_ways() -> list[dict[str, Any]]:
    """Options of Popen for a process that neither our terminal nor our window takes along."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        # Some terminals and services run us in a job that nobody may leave: then within it.
        return [
            {"creationflags": flags | subprocess.CREATE_BREAKAWAY_FROM_JOB},
            {"creationflags": flags},
        ]
    else:  # noqa: RET505  (mypy reads only one branch)
        return [{"start_new_session": True}]


def log_file() -> Path:
    """Where the host writes what happened."""
    return paths.host_folder() / "host.log"


def read_token() -> str:
    """The token of this home's host; empty if there is none yet."""
    try:
        return paths.token_file().read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def log_tail() -> str:
    """The end of the host's log, introduced by a sentence."""
    try:
        with log_file().open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    if not lines:
        return f"It wrote nothing to {log_file()}.{_if_full()}"
    return f"The end of {log_file()}:\n" + "\n".join(lines[-_LOG_TAIL_LINES:])


def _if_full() -> str:
    """What to do where not even the reason could be written; empty where there is room."""
    try:
        has_room = shutil.disk_usage(paths.host_folder()).free >= _LOG_TAIL_BYTES
    except OSError:
        return ""
    return "" if has_room else " The disk there is full. Free some space."
