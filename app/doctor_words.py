"""What the Doctor page says of a machine, from the engine's checks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.words import counted
from engine.planning import doctor
from engine.planning.checkup import Check, State

ICONS: dict[State, str] = {
    "ok": "circle-check",
    "note": "info",
    "warning": "triangle-alert",
    "problem": "octagon-x",
}
TONES: dict[State, str] = {"ok": "good", "note": "muted", "warning": "warning", "problem": "danger"}
WORDS: dict[State, str] = {
    "ok": "well",
    "note": "to know",
    "warning": "warning",
    "problem": "problem",
}


def read_checks(facts: dict[str, Any]) -> list[Check]:
    """The checks in a reply to Facts. Raises ``msgspec.ValidationError`` for another shape."""
    return msgspec.convert(facts.get("checks") or [], list[Check])


def to_mend(checks: Sequence[Check]) -> list[Check]:
    """What is not well, worst first."""
    found = [check for check in checks if check.state in ("warning", "problem")]
    return sorted(found, key=lambda check: check.state != "problem")


def headline(checks: Sequence[Check]) -> str:
    """The whole in a few words."""
    return doctor.headline(list(checks)).rstrip(".") if checks else "Nothing was checked"


def tone(checks: Sequence[Check]) -> str:
    """The colour of the whole."""
    due = to_mend(checks)
    return TONES[due[0].state] if due else "good"


def explanation(checks: Sequence[Check]) -> str:
    """What follows from it."""
    due = to_mend(checks)
    if any(check.state == "problem" for check in due):
        return "Runs fail or are refused until the problems are mended; each says how."
    if due:
        return "Runs start. What is marked costs speed or safety; each says what to do."
    return f"{counted(len(checks), 'check')}, all well."


def groups(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """The checks by group, in the order they came."""
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.group, []).append(check)
    return list(found.items())


def group_remark(checks: Sequence[Check]) -> str:
    """How a group stands: ``all well``, ``1 warning``."""
    parts = [
        counted(number, word)
        for state, word in (("problem", "problem"), ("warning", "warning"))
        if (number := sum(check.state == state for check in checks))
    ]
    return " · ".join(parts) or "all well"
