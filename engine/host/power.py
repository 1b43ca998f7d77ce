"""Keeps the computer awake while a run is at work, and notices when it slept all the same."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from engine.host import threads
from engine.planning.facts import is_wsl

log = logging.getLogger(__name__)

_WHO = "Fettle"
_END_SECONDS = 1.0
_TICKS = 1e7
"""Of Windows' clock that stands still in sleep, a second."""
_CONTINUOUS, _SYSTEM_REQUIRED = 0x80000000, 0x00000001
"""Of SetThreadExecutionState, https://learn.microsoft.com/windows/win32/api/winbase."""
_SLEPT_SECONDS = 5.0
"""Clocks that drift apart by less only drift."""


class Inhibitor(Protocol):
    """Something that keeps this computer awake."""

    def hold(self, why: str) -> None:
        """Keep it awake from now on. Raises ``OSError`` if that cannot be had."""

    def release(self) -> None:
        """Let it sleep again."""


class Nothing:
    """Where nobody can be asked."""

    def hold(self, why: str) -> None:
        log.info("Nothing here keeps the computer awake")

    def release(self) -> None:
        return


class Helper:
    """A program that keeps it awake as long as its stdin is open.

    So it ends with the host, however that ends: a lock that outlived it would drain a battery.
    """

    def __init__(self, command: Callable[[str], list[str]]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, why: str) -> None:
        self._process = subprocess.Popen(
            self._command(why), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def release(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            log.info("What was to keep the computer awake had ended (%s)", process.returncode)
        assert process.stdin is not None
        process.stdin.close()
        # Windows' programs can hang where the bridge from WSL does.
        threads.begin(_see_off, process)


def _see_off(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ExecutionState:
    """Windows' own; ``call`` is SetThreadExecutionState. Holds for the thread that calls."""

    def __init__(self, call: Callable[[int], int]) -> None:
        self._call = call

    def hold(self, why: str) -> None:
        if not self._call(_CONTINUOUS | _SYSTEM_REQUIRED):
            raise OSError("Windows refused to stay awake.")

    def release(self) -> None:
        self._call(_CONTINUOUS)


def logind(why: str) -> list[str]:
    """The command that takes logind's lock."""
    what = "--what=sleep:idle:handle-lid-switch"
    return ["systemd-inhibit", what, f"--who={_WHO}", f"--why={why}", "--mode=block", "cat"]


def windows_from_wsl(why: str) -> list[str]:
    """The command that keeps the Windows around a WSL awake: only a process of its own can."""
    define = (
        "Add-Type -Namespace Fettle -Name Power -MemberDefinition "
        "'[DllImport(\"kernel32.dll\")] public static extern uint SetThreadExecutionState(uint s);'"
    )
    call = f"[Fettle.Power]::SetThreadExecutionState({_CONTINUOUS | _SYSTEM_REQUIRED}) | Out-Null"
    script = f"{define}; {call}; [Console]::In.ReadToEnd() | Out-Null"
    return ["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", script]


def choose_inhibitor() -> Inhibitor:
    """What keeps this computer awake."""
    if sys.platform == "win32":
        return ExecutionState(ctypes.windll.kernel32.SetThreadExecutionState)
    if is_wsl():
        return Helper(windows_from_wsl) if shutil.which("powershell.exe") else Nothing()
    return Helper(logind) if shutil.which("systemd-inhibit") else Nothing()


class SleepGuard:
    """Keeps the computer awake for as long as something is held."""

    def __init__(self, inhibitor: Inhibitor) -> None:
        self._inhibitor = inhibitor

    @contextlib.contextmanager
    def held(self, why: str) -> Iterator[None]:
        """Awake within the block. That it cannot be had is only logged."""
        try:
            self._inhibitor.hold(why)
        except OSError as error:
            log.warning("The computer may go to sleep while a run trains: %s", error)
        try:
            yield
        finally:
            self._inhibitor.release()


# ---------------------------------------------------------------- it slept all the same


def awake_seconds() -> float:
    """A clock that stands still while the computer sleeps, for limits on what a process does;
    only differences mean something."""
    if sys.platform == "win32":
        awake = ctypes.c_ulonglong()
        ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(awake))
        return awake.value / _TICKS
    else:  # noqa: RET505  (mypy reads only one branch)
        return time.monotonic()


def _asleep_seconds() -> float:
    """How long this computer has slept since some moment; only differences mean something."""
    if sys.platform == "win32":
        return time.monotonic() - awake_seconds()
    elif sys.platform == "linux":  # noqa: RET505  (mypy reads only one branch)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    else:
        return 0.0


class SleepMeter:
    """Tells how long the computer has slept since the last look."""

    def __init__(self, asleep_seconds: Callable[[], float] = _asleep_seconds) -> None:
        self._asleep_seconds = asleep_seconds
        self._before = asleep_seconds()

    def slept_seconds(self) -> float:
        """0 if it was awake."""
        now = self._asleep_seconds()
        slept, self._before = now - self._before, now
        return slept if slept > _SLEPT_SECONDS else 0.0
