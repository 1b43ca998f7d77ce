"""The watch over a run's pace, on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import psutil

from engine.contract.messages import Finding, Record
from engine.diagnosis.pace.causes import Platform
from engine.diagnosis.pace.watch import PaceWatch
from engine.diagnosis.pace.words import Machine
from engine.host.course import Course
from engine.planning.facts import is_wsl


class PaceKeeper:
    """Shows an attempt's records to the watch, records what it finds and tells ``hears`` of it."""

    def __init__(self, course: Course, hears: Callable[[Finding], None] | None = None) -> None:
        self._course = course
        self._hears = hears
        self.begin({})

    def begin(self, spec: dict[str, Any]) -> None:
        """The attempt begins, with this raw spec."""
        ram = int(psutil.virtual_memory().total)
        self._watch = PaceWatch(Machine(platform=spills(), ram_bytes=ram), spec)

    def note(self, record: Record) -> None:
        """A record of the attempt was taken."""
        for finding in self._watch.note(record):
            if not self._course.is_over:
                self._course.take(finding)
            if self._hears is not None:
                self._hears(finding)


def spills() -> Platform:
    """Whether a full card's memory is moved to RAM here."""
    if sys.platform == "win32":
        return "possible"
    return "always" if is_wsl() else "never"
