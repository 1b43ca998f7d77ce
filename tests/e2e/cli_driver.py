"""Runs ``fettle`` as a user's shell would: a process, its exit code and what it printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
_FETTLE = "import sys; from engine.cli import main; sys.exit(main())"


def _hear_ctrl_c() -> None:
    """A test that was started in the background by a shell would hand on its deafness."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str
    seconds: float
    cpu_seconds: float
    """Of the processor, which the command and the host used: others on the machine change little of
    that."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout of a ``--json`` command, a line each."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        """The last of :attr:`lines`."""
        return self.lines[-1]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The messages of a type."""
        return [line for line in self.lines if line.get("type") == kind]


class Fettle:
    """The command line, at one home."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "FETTLE_HOME": str(home),
            # Most tests look at how an attempt ends, and not at what comes after it.
            "FETTLE_RESUME_AUTOMATICALLY": "off",
            **environment,
        }

    @property
    def store(self) -> Path:
        """The folder of runs."""
        return self.home / "runs"

    def runs_on_disk(self) -> list[str]:
        """Names of all that lies in the store, hidden leftovers included."""
        return sorted(path.name for path in self.store.iterdir()) if self.store.is_dir() else []

    def __call__(self, *arguments: str | Path, timeout: float = 60) -> Result:
        """Run a command to its end."""
        began, used = time.monotonic(), self._used()
        done = subprocess.run(
            [sys.executable, "-c", _FETTLE, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        seconds = time.monotonic() - began
        return Result(done.returncode, done.stdout, done.stderr, seconds, self._used() - used)

    def _used(self) -> float:
        """Seconds of the processor that all commands and the host used so far."""
        ours = os.times()
        used = ours.children_user + ours.children_system
        try:
            host = psutil.Process(int((self.home / "host" / "lock").read_text(encoding="utf-8")))
            return used + sum(host.cpu_times()[:2])
        except (OSError, ValueError, psutil.Error):  # There is none.
            return used

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Run a command beside the test."""
        return subprocess.Popen(
            [sys.executable, "-c", _FETTLE, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            preexec_fn=_hear_ctrl_c if os.name == "posix" else None,
        )
