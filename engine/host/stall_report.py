"""What can be seen of a worker that does not get on, written to a file of its run folder.

Slow, and may hang on a driver in trouble: for a thread of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from engine.contract.messages import Step, Telemetry
from engine.diagnosis.watchdog import Stall
from engine.store.records import newest_metrics
from engine.store.runs import STACKS

STALLS = "stall-*.txt"
"""In the run folder: what was seen, each time that a worker stood still."""
_STACK_SECONDS = 1.5
_PY_SPY_SECONDS = 15.0
_NEWEST = 30
_DETAIL_CHARACTERS = 8000
_STATES = {
    psutil.STATUS_STOPPED: "stopped by a signal",
    psutil.STATUS_DISK_SLEEP: "waits in the kernel, for a disk or a driver",
    psutil.STATUS_ZOMBIE: "dead",
    psutil.STATUS_RUNNING: "computing",
    psutil.STATUS_SLEEPING: "waiting",
}


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a stall."""

    state: str = ""
    """Of the worker, as psutil calls it; empty if it could not be seen."""
    dead_children: int = 0
    stacks: str = ""
    path: Path | None = None
    """The file that holds all of it; None if it could not be written."""


def look_at_stall(pid: int, folder: Path, attempt: int, stall: Stall) -> Sighting:
    """Gather it, and write it down."""
    processes = _family(pid)
    states = [(process, _status(process)) for process in processes]
    state = next((status for process, status in states if process.pid == pid), "")
    stacks = _stacks(pid, folder)
    parts = {
        "What": f"{stall.kind} for {stall.silent_seconds:.0f} s while {stall.phase.value}; "
        f"{stall.budget_seconds:.0f} s were allowed",
        "Stacks": stacks or "(none could be had)",
        "py-spy": _py_spy(pid),
        "Processes": "\n".join(_told(process, status) for process, status in states),
        "Newest numbers": "\n".join(_numbers(folder, attempt)),
    }
    text = "\n\n".join(f"== {name}\n{content}" for name, content in parts.items() if content)
    dead = sum(status == psutil.STATUS_ZOMBIE for process, status in states if process.pid != pid)
    return Sighting(
        state=state, dead_children=dead, stacks=stacks[-_DETAIL_CHARACTERS:],
        path=_write(folder / f"stall-{attempt}-{time.strftime('%Y%m%d-%H%M%S')}.txt", text),
    )  # fmt: skip


def _write(path: Path, text: str) -> Path | None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError:
        return None
    return path


# ---------------------------------------------------------------- stacks


def _stacks(pid: int, folder: Path) -> str:
    """What the worker leaves at SIGUSR1; a stopped one leaves nothing."""
    path = folder / STACKS
    if sys.platform == "win32" or not path.exists():
        return ""  # Without the file nobody takes the signal, and it would end the process.
    start = path.stat().st_size
    try:
        os.kill(pid, signal.SIGUSR1)
    except OSError:
        return ""
    deadline, size = time.monotonic() + _STACK_SECONDS, start
    while time.monotonic() < deadline:
        time.sleep(0.1)
        before, size = size, path.stat().st_size
        if size > start and size == before:
            break
    return path.read_bytes()[start:].decode("utf-8", "replace").strip()


def _py_spy(pid: int) -> str:
    """The stacks with those of compiled code, where that tool is installed and allowed."""
    beside = Path(sys.executable).with_name("py-spy")
    tool = str(beside) if beside.exists() else shutil.which("py-spy")
    if not tool:
        return ""
    try:
        done = subprocess.run(
            [tool, "dump", "--native", "--pid", str(pid)],
            capture_output=True, text=True, timeout=_PY_SPY_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()


# ---------------------------------------------------------------- processes


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.Error:
        return ""


def _told(process: psutil.Process, status: str) -> str:
    lines = [f"{process.pid} {_STATES.get(status, status)}"]
    for task in sorted(Path(f"/proc/{process.pid}/task").glob("*")):
        name, where = _read(task / "comm"), _read(task / "wchan")
        state = next((s for s in _read(task / "status").splitlines() if s[:6] == "State:"), "")
        lines.append(f"  {task.name} {name}: {state[6:].strip()} {where} {_read(task / 'stack')}")
    return "\n".join(lines)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


# ---------------------------------------------------------------- numbers


def _numbers(folder: Path, attempt: int) -> Iterator[str]:
    for record in newest_metrics(folder, attempt, _NEWEST):
        if isinstance(record, Step | Telemetry):
            yield msgspec.json.encode(record).decode()
