"""The watch over a run's pace, on this machine."""

from __future__ import annotations

import sys
from typing import Any

import psutil

from engine.diagnosis.pace.causes import Platform
from engine.diagnosis.pace.watch import PaceWatch
from engine.diagnosis.pace.words import Machine
from engine.planning.facts import is_wsl


def begin_watch(spec: dict[str, Any]) -> PaceWatch:
    """A fresh watch for an attempt with this raw spec."""
    ram = int(psutil.virtual_memory().total)
    return PaceWatch(Machine(platform=spills(), ram_bytes=ram), spec)


def spills() -> Platform:
    """Whether a full card's memory is moved to RAM here."""
    if sys.platform == "win32":
        return "possible"
    return "always" if is_wsl() else "never"
