"""Looks at this machine and judges it: what ``fettle doctor`` and the request ``Facts`` have in
common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.paths import home
from engine.planning import doctor, hardware
from engine.planning.checkup import Check
from engine.planning.facts import MachineFacts, gather


def examine_this(store: Path) -> tuple[MachineFacts, list[Check]]:
    """Facts and checks of this machine. May take seconds where a driver is in trouble."""
    facts = gather(store, home())
    return facts, doctor.examine(facts, hardware.problems())


def examine_machine(store: Path) -> dict[str, Any]:
    """The same as it goes over the wire, see :func:`engine.planning.doctor.to_wire`."""
    return doctor.to_wire(*examine_this(store))
