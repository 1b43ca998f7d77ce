"""A worker process as the host sees it: messages out of it, wishes into it, and how it ended.

Whatever a worker prints, however it ends and whoever it leaves behind, this ends in one call of
``on_end``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

import engine
from engine.contract.messages import Heartbeat, Message, Ready
from engine.contract.wire import Garbage, LineReader, frame
from engine.host.settings import Settings
from engine.planning.facts import is_wsl
from engine.planning.platforms import wsl_settings

log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUTF8": "1",
}
_SAME_SUMS = {"MKL_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
"""Without these MKL may share a sum out among threads in another way each time, and a run on the
processor is then another in its last digits. On others than Intel's processors the second would
cost most of their speed, and is left out."""
_PIPE_SECONDS = 3.0
"""How long children of a dead worker may hold its stdout open."""
_LOGGED_GARBAGE = 20
_SAME_START_SECONDS = 0.005

Listener = Callable[[Message], None]


class Worker(asyncio.SubprocessProtocol):
    """One worker process. Use :func:`spawn`."""

    def __init__(self) -> None:
        self.pid = 0
        self.started_at = 0.0
        """See :func:`start_time_of`; pids are used again."""
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Exit code; negative is a signal. Set after the last message."""
        self.listener: Listener | None = None
        self.on_beat: Callable[[Heartbeat], None] | None = None
        self.heard_at = time.monotonic()
        """Monotonic time of the last message of any kind."""
        self.log_start = 0
        """How long the log was when the worker began to write to it."""
        self._lines = LineReader()
        self._transport: asyncio.SubprocessTransport | None = None

    # ------------------------------------------------------------ called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self.pid = transport.get_pid()
        self.started_at = start_time_of(self.pid) or 0.0

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.heard_at = time.monotonic()
        for message in self._lines.feed(data):
            if isinstance(message, Garbage):
                self._note_garbage(message)
            else:
                self._take(message)

    def process_exited(self) -> None:
        # A child of the worker may hold the pipe open for ever; nothing of it is wanted any more.
        asyncio.get_running_loop().call_later(_PIPE_SECONDS, self._end_family)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        code = self._transport.get_returncode()
        self._transport.close()
        if not self.ready.done():
            self.ready.cancel()
        if not self.ended.done():
            self.ended.set_result(code if code is not None else -1)

    # ------------------------------------------------------------ called by the host

    @property
    def garbage_count(self) -> int:
        """Lines that were no messages."""
        return self._lines.garbage_count

    @property
    def has_job(self) -> bool:
        """Whether somebody listens to what comes of a job."""
        return self.listener is not None

    def send(self, message: Message) -> None:
        """Queue a message; never waits. A worker that is gone hears nothing."""
        pipe: Any = self._transport.get_pipe_transport(0) if self._transport else None
        if pipe is not None and not pipe.is_closing():
            pipe.write(frame(message))

    def close_stdin(self) -> None:
        """End the stream: the worker saves, if it has anything to save, and leaves."""
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if pipe is not None:
            pipe.close()

    def kill(self) -> None:
        """End the worker and everything it started, at once."""
        kill_family(self.pid)

    # ------------------------------------------------------------ inside

    def _take(self, message: Message) -> None:
        if isinstance(message, Ready):
            if not self.ready.done():
                self.ready.set_result(message)
        elif isinstance(message, Heartbeat):
            if self.on_beat:
                self.on_beat(message)
        elif self.listener:
            self.listener(message)

    def _note_garbage(self, garbage: Garbage) -> None:
        count = self._lines.garbage_count
        if count <= _LOGGED_GARBAGE or count & (count - 1) == 0:
            log.warning("Worker %d: line %d skipped, %s", self.pid, count, garbage)

    def _end_family(self) -> None:
        if not self.ended.done():
            log.warning("Worker %d is dead but its children are not; they are ended", self.pid)
            kill_family(self.pid)
            assert self._transport is not None
            self._transport.close()


async def spawn(
    settings: Settings, *, cwd: Path, log_path: Path, environment: Mapping[str, str] | None = None
) -> Worker:
    """Start a worker in its own session; its stderr goes to the end of ``log_path``, and what is
    in ``environment`` stands before what it has from this process.

    Raises ``OSError`` if the program cannot be started.
    """
    loop = asyncio.get_running_loop()
    with log_path.open("ab") as stderr:
        log_start = stderr.tell()
        _, worker = await loop.subprocess_exec(
            Worker,
            *settings.worker_command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env={**_environment(), **(environment or {})},
            **_own_group(),
        )
    worker.log_start = log_start
    log.info("Worker %d started", worker.pid)
    return worker


def _environment() -> dict[str, str]:
    root = str(Path(engine.__file__).parents[1])
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, given]) if given else root
    wsl = wsl_settings(os.environ) if is_wsl() else {}
    return {**same_sums(), **os.environ, **_ENVIRONMENT, **wsl, "PYTHONPATH": path}


def same_sums(cpu_info: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What has MKL sum in the same way each time, as far as that is cheap on this processor."""
    maker = os.environ.get("PROCESSOR_IDENTIFIER", "")
    with contextlib.suppress(OSError):
        maker += cpu_info.read_text("utf-8", "replace")
    is_intel = "GenuineIntel" in maker
    return {name: value for name, value in _SAME_SUMS.items() if is_intel or name != "MKL_CBWR"}


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    else:  # noqa: RET505  (mypy reads only one branch)
        return {"start_new_session": True}


def start_time_of(pid: int) -> float | None:
    """When a living process began, in seconds; None if there is none, or only its remains.

    Good for nothing but to be compared with itself. On Linux it counts from boot: a clock that is
    set, as after a laptop's sleep under WSL, must not turn a process into another one.
    """
    return _start_since_boot(pid) if Path("/proc/self/stat").exists() else _start_time(pid)


def _start_time(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _start_since_boot(pid: int) -> float | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # Behind the name, which may hold anything: state first, start time as the 20th.
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18]) / os.sysconf("SC_CLK_TCK")


def is_alive(pid: int, started_at: float) -> bool:
    """Whether this very process still lives, and not another one under the same number."""
    found = start_time_of(pid)
    return found is not None and abs(found - started_at) < _SAME_START_SECONDS


def kill_family(pid: int) -> None:
    """Kill a worker, its process group and whatever it started."""
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        family = []
    if sys.platform != "win32":
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            log.info("Worker group %d is gone already", pid)
    for process in [*family, *_process(pid)]:
        try:
            process.kill()
        except psutil.Error:
            continue


def _process(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.Error:
        return []


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"was ended by signal {-code}"
    words = {"SIGKILL": "killed", "SIGSEGV": "memory fault", "SIGABRT": "aborted",
             "SIGTERM": "asked to end", "SIGBUS": "memory fault"}  # fmt: skip
    return f"was ended by signal {-code} ({words.get(name, name)})"
