"""Rows that do not fit: what is wrong with several in the same way is told once, with them all."""

from __future__ import annotations

import time

import msgspec

from engine.contract.messages import Complaint
from engine.formats import registry
from engine.formats.example import DatasetError, Format, Row

MAX_KINDS = 5
"""Complaints about rows; more of them help nobody."""
COUNTED_SECONDS = 0.25
"""How long rows are counted once enough is known of what is wrong."""
_ENOUGH = 5
_MOST_NAMED = 5
"""Rows that are called by number where they do not follow one another."""

_VERBS = {" is ": " are ", " has ": " have "}


class _Kind(msgspec.Struct):
    """Rows with the same thing wrong."""

    complaint: Complaint
    where: str
    """Of the first of them, as the complaint names it."""
    rows: list[int]
    lines: list[int]


class BadRows:
    """The rows of a dataset that do not fit."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], _Kind] = {}
        self._count = 0
        self.is_full = False
        """Whether there is one more kind than are told."""

    def note(self, row: Row, error: DatasetError, module: Format, deadline: float) -> float:
        """Take a row in; when to stop reading, which is soon once enough is known."""
        complaint = _told(error, row, module) if self._count < _ENOUGH else error.complaint
        named = f"line {row.line}" if row.error and row.line else row.where
        head, where, tail = complaint.problem.partition(named)
        key = (head, where and tail, complaint.field)
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) == MAX_KINDS:
            self.is_full = True
            return deadline
        if kind is None:
            kind = self._kinds[key] = _Kind(complaint, named, [], [])
        kind.rows.append(row.number)
        kind.lines += [row.line] if row.line else []
        self._count += 1
        if self._count == _ENOUGH:
            return min(deadline, time.monotonic() + COUNTED_SECONDS)
        return deadline

    def told(self, *, is_all: bool) -> list[Complaint]:
        """The complaints; ``is_all`` if every row was read, so that there are no more of them."""
        return [_of_rows(kind, is_all) for kind in self._kinds.values()]


def _told(error: DatasetError, row: Row, module: Format) -> Complaint:
    """The complaint about a row, with a better remedy where it is of another shape."""
    other = registry.detect([row.value])
    if row.error or registry.FORMATS.get(other.format, module) is module:
        return error.complaint
    remedy = f"This row looks like {other.format}; keep rows of one shape in a file."
    return DatasetError(error.problem, remedy, error.field).complaint


def _of_rows(kind: _Kind, is_all: bool) -> Complaint:
    if len(kind.rows) == 1:
        return kind.complaint
    lines = f"lines {_numbers(kind.lines, is_all)}"
    where = f"rows {_numbers(kind.rows, is_all)}" + (f" ({lines})" if kind.lines else "")
    head, named, tail = kind.complaint.problem.partition(kind.where)
    if named.startswith("line"):
        where = lines
    for verb, of_many in _VERBS.items():
        if tail.startswith(verb):
            tail = of_many + tail.removeprefix(verb)
    remedy = kind.complaint.remedy.replace("that line", "those lines")
    return msgspec.structs.replace(kind.complaint, problem=head + where + tail, remedy=remedy)


def _numbers(found: list[int], is_all: bool) -> str:
    """``1 to 5``, ``1, 3 and 4``, or ``1, 3, 5, 7, 9 and 15 others``; else ``1 to 5 and more``."""
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]} to {found[-1]}" + ("" if is_all else " and more")
    *named, last = map(str, found[:_MOST_NAMED])
    rest = len(found) - _MOST_NAMED
    if is_all and rest <= 0:
        return f"{', '.join(named)} and {last}"
    others = f"{rest} other{'s' if rest > 1 else ''}" if is_all else "more"
    return f"{', '.join([*named, last])} and {others}"
