"""Windows in processes of their own, for tests that end them without mercy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from app.endpoint import Place
from app.preferences import Preferences
from tests.e2e.host_driver import ROOT, HostUnderTest, until

PROCESS = Path(__file__).with_name("window_process.py")


class WindowUnderTest:
    """One window process and what it says of itself."""

    def __init__(self, hosts: HostUnderTest, name: str, *arguments: str) -> None:
        self._state_file = hosts.home / f"window-{name}.json"
        self._log = (hosts.home / f"window-{name}.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, str(PROCESS), str(self._state_file), *arguments],
            cwd=ROOT,
            env={**os.environ, **hosts.environment, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def state(self) -> dict[str, Any]:
        """What the window last said of itself; empty if nothing yet."""
        if self.process.poll() is not None:
            raise AssertionError(f"the window ended: {Path(self._log.name).read_text()}")
        try:
            found: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            return {}
        return found

    def wait(self, holds: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """Wait until the window's state is such."""

        def look() -> dict[str, Any] | None:
            state = self.state
            return state if state and holds(state) else None

        try:
            found: dict[str, Any] = until(look, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {self.state}") from None
        return found

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def close(self) -> None:
        """Close the window as its cross does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        self._log.close()

    def relays(self) -> list[psutil.Process]:
        """The relays that the window runs."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.cmdline()[-2:] == ["engine", "attach"]:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


def live_at(place: Place) -> None:
    """What the person has chosen in Settings."""
    Preferences().set_place(place)


def stand_in(folder: Path, name: str, script: str) -> None:
    """A command of that name, first on PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ["PATH"]])
