"""Faults on demand, for tests: ``FETTLE_FAILPOINTS="worker.step:11=hang;save.write:3=enospc"``.

Each entry is ``name[:number]=action``. Without a number the action comes every time the point is
reached; with one, when it is reached for the n-th time in that process, or, at the points that
count something themselves, such as ``worker.step``, at that number. An attempt that is resumed runs
into the same fault again, unless ``FETTLE_FAILPOINTS_ONCE`` names a file: what has struck is noted
there and does not strike again, in whatever process.

Unset, a point costs one look at a module's attribute.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.faults import FAULTS, strike

VARIABLE = "FETTLE_FAILPOINTS"
ONCE = "FETTLE_FAILPOINTS_ONCE"

POINTS = {
    "worker.load": "before the model is loaded",
    "worker.tokenise": "before the data is tokenised",
    "worker.step": "before a step is computed; the number is that of the step",
    "worker.evaluate": "before an evaluation",
    "worker.output": "before the result is written",
    "save.snapshot": "before a save notes what it is to hold",
    "save.copy": "before the state is copied, beside the next step",
    "save.stage": "before the hidden folder of a save is made",
    "save.write": "before a piece of a file is written",
    "save.sync": "before a file of a save is forced to the disk",
    "save.seal": "before the manifest is written",
    "save.verify": "before a file is read back",
    "save.publish": "before the save gets its name",
    "save.published": "after the save got its name, before anybody hears of it",
    "save.rotate": "before an older save is removed",
    "host.launch": "before a run gets its worker",
    "host.open": "before a file of a run's history is opened to write to it",
    "host.journal": "before a record is written",
    "host.status": "before a status file is replaced",
}
"""Every point, and where it lies."""

_ENTRY = re.compile(r"([a-z.]+)(?::(\d+))?=([a-z_]+)(?:\(([^()]*)\))?")


class Failpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the variable."""

    name: str
    number: int | None
    """None: every time."""
    fault: str
    argument: str

    @property
    def text(self) -> str:
        """As it is written in the variable."""
        number = "" if self.number is None else f":{self.number}"
        return f"{self.name}{number}={self.fault}" + (f"({self.argument})" if self.argument else "")


class _Armed:
    """The failpoints of this process, and how often each point was reached."""

    def __init__(self, failpoints: list[Failpoint], once: Path | None) -> None:
        self._failpoints = failpoints
        self._once = once
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, name: str, number: int | None) -> None:
        with self._lock:
            self._reached[name] += 1
            at = self._reached[name] if number is None else number
            due = [each for each in self._failpoints if _is_due(each, name, at)]
            due = [each for each in due if not self._has_struck(each)]
        for each in due:
            strike(each.fault, each.argument, f"{each.name}:{at}")

    def _has_struck(self, failpoint: Failpoint) -> bool:
        """Whether it struck before; from now on it did."""
        if self._once is None:
            return False
        line = f"{failpoint.text}\n"
        with self._once.open("a+", encoding="utf-8") as file:
            file.seek(0)
            if line in file.readlines():
                return True
            file.write(line)
        return False


def _is_due(failpoint: Failpoint, name: str, at: int) -> bool:
    return failpoint.name == name and failpoint.number in (None, at)


_armed: _Armed | None = None


def arm(environment: Mapping[str, str] = os.environ) -> None:
    """Take what the environment asks for; nothing, if it asks for nothing.

    Raises ``ValueError`` with a sentence if it cannot be understood.
    """
    global _armed
    found = read(environment.get(VARIABLE, ""))
    once = environment.get(ONCE)
    _armed = _Armed(found, Path(once) if once else None) if found else None


def reach(name: str, number: int | None = None) -> None:
    """This point of the program is reached; ``number`` where it counts something itself."""
    if _armed is not None:
        _armed.reach(name, number)


def read(text: str) -> list[Failpoint]:
    """The entries of the variable. Raises ``ValueError`` with a sentence."""
    return [_read_entry(entry.strip()) for entry in text.split(";") if entry.strip()]


def _read_entry(entry: str) -> Failpoint:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(f"{VARIABLE}: {entry!r} is not of the form name[:number]=action.")
    name, number, fault, argument = match[1], match[2], match[3], match[4] or ""
    if name not in POINTS:
        raise ValueError(f"{VARIABLE}: there is no point {name!r}. There are: {_all(POINTS)}.")
    if fault not in FAULTS:
        raise ValueError(f"{VARIABLE}: there is no action {fault!r}. There are: {_all(FAULTS)}.")
    if complaint := FAULTS[fault].complaint(argument):
        raise ValueError(f"{VARIABLE}: {entry!r} {complaint}.")
    return Failpoint(
        name=name, number=int(number) if number else None, fault=fault, argument=argument
    )


def _all(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names))
