"""Looks at this machine and judges it: what ``fettle doctor`` and the request ``Facts`` have in
common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.paths import home
from engine.planning import doctor, hardware
from engine.planning.checkup import Check
from engine.planning.facts import MachineFacts, judge
from engine.planning.look import look, machine_key
from engine.planning.pinned_probe import measure


def examine_this(store: Path, *, may_measure: bool = True) -> tuple[MachineFacts, list[Check]]:
    """Facts and checks of this machine. May take seconds where a driver is in trouble.

    ``may_measure``: find out how much memory can be pinned, if that is not known yet; it takes a
    quarter of the computer's memory for a second.
    """
    seen = look(store, home())
    if may_measure and seen.nvml.cards and seen.pinned is None:
        key, memory = machine_key(seen.nvml), seen.memory
        measured = measure(home(), key, memory.total_bytes, memory.available_bytes)
        seen = msgspec.structs.replace(seen, pinned=measured)
    facts = judge(seen)
    return facts, doctor.examine(facts, hardware.problems())


def examine_machine(store: Path, *, may_measure: bool = True) -> dict[str, Any]:
    """The same as it goes over the wire, see :func:`engine.planning.doctor.to_wire`."""
    return doctor.to_wire(*examine_this(store, may_measure=may_measure))
