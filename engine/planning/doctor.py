"""What is well with a machine, what is not, why it matters and what to do. Pure.

The window's Doctor page is built from the reply to ``Facts``: ``facts["checks"]`` is a list of
:class:`Check` objects in the order to show them, grouped by ``group``. The report to copy is
:func:`report` of that list; it needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from engine.contract.masking import masked
from engine.contract.redaction import without_homes
from engine.planning import doctor_cards, doctor_safe, doctor_system
from engine.planning.checkup import Check, State
from engine.planning.facts import MachineFacts

GROUPS: tuple[str, ...] = ("Card", "Memory", "Disk", "Software", "System", "Safe mode")
"""In the order to show them."""

_ORDER: tuple[State, ...] = ("ok", "note", "warning", "problem")
_MARKS: dict[State, str] = {"ok": "ok", "note": "note", "warning": "warning", "problem": "PROBLEM"}

_CHECKS: tuple[Callable[[MachineFacts], Iterator[Check]], ...] = (
    doctor_cards.checks,
    doctor_system.checks,
    doctor_safe.checks,
)


def examine(facts: MachineFacts, own_profile_problems: Iterable[str] = ()) -> list[Check]:
    """All checks of a machine, in the order to show them."""
    found = [check for make in _CHECKS for check in make(facts)]
    found += [
        Check(
            id=f"profiles-{number}", group="System", name="Own hardware profiles", state="warning",
            value=problem, why="A plan cannot be made for a card of this file.",
            remedy="Mend the file; the README of the bundled ones tells its shape.",
        )
        for number, problem in enumerate(own_profile_problems, 1)
    ]  # fmt: skip
    return sorted(found, key=lambda check: GROUPS.index(check.group))


def to_wire(facts: MachineFacts, checks: list[Check]) -> dict[str, Any]:
    """The reply to ``Facts``: the facts with ``checks`` beside them.

    Each check: ``id`` (stable name, unique), ``group`` (one of :data:`GROUPS`), ``name`` (what is
    looked at), ``state`` (``ok``, ``note``, ``warning``, ``problem``), ``value`` (what was seen),
    ``why`` (why it matters), ``remedy`` (what to do; empty if nothing is to be done).
    """
    return {**msgspec.to_builtins(facts), "checks": [msgspec.to_builtins(c) for c in checks]}


def verdict(checks: list[Check]) -> State:
    """The worst state of all."""
    return max((check.state for check in checks), key=_ORDER.index, default="ok")


def headline(checks: list[Check]) -> str:
    """The whole in a sentence."""
    counts = {state: sum(check.state == state for check in checks) for state in _ORDER}
    problems, warnings = counts["problem"], counts["warning"]
    if problems:
        rest = f" and {_count(warnings, 'warning')}" if warnings else ""
        return f"{_count(problems, 'problem')}{rest}: see what to do below."
    if warnings:
        return f"Ready to train, with {_count(warnings, 'warning')}."
    return "Ready to train."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def report(checks: list[Check]) -> str:
    """All checks as text to copy into a bug report: no secrets, and no name of a user."""
    lines = ["Fettle doctor", headline(checks)]
    for group in GROUPS:
        members = [check for check in checks if check.group == group]
        if members:
            lines += ["", group]
            lines += [line for check in members for line in _lines(check)]
    return without_names("\n".join(lines)) + "\n"


def _lines(check: Check) -> list[str]:
    lines = [f"  {_MARKS[check.state]:<8} {check.name}: {check.value}"]
    if check.state in ("warning", "problem"):
        lines += [f"           {text}" for text in (check.why, check.remedy) if text]
    return lines


def without_names(text: str) -> str:
    """The text with users' folders written as ``~``, and nothing that could be a secret."""
    return without_homes(masked(text))
