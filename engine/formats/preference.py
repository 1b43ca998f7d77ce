"""Paired preference: a question with a better answer (``chosen``) and a worse one (``rejected``).

The question is ``prompt``, or ``conversations``, ``messages``, ``instruction`` with ``input``, or
``question``; where there is none, it is what both answers begin with. All parts may be text, which
then stays as it is, or turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from engine.formats import columns
from engine.formats.example import Guess, Preference, RawRow, RowError, Said, Turn
from engine.formats.said import must_answer, question, said, same_kind

_NAMES = ("chosen", "rejected")


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "chosen and rejected answers")


def _fits(row: RawRow) -> bool:
    return all(name in row for name in _NAMES)


def to_example(row: object) -> Preference:
    """The row as a question with two answers. Raises RowError."""
    row = columns.as_row(row)
    for name in _NAMES:
        columns.column(row, (name,))
    chosen, rejected = (said(row[name], f"`{name}`") for name in _NAMES)
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RowError(
            "One of `chosen` and `rejected` is text, the other is not.",
            "Make both text, or both a list of messages.",
        )
    asked = question(row)
    if asked is None or _is_whole(chosen):
        asked, chosen, rejected = _apart(chosen, rejected)
    asked, chosen, rejected = same_kind(asked, chosen, rejected)
    must_answer(chosen, "chosen")
    must_answer(rejected, "rejected")
    return Preference(prompt=asked, chosen=chosen, rejected=rejected, tools=columns.tools_of(row))


def _is_whole(answer: Said) -> bool:
    """Whether it holds the question as well."""
    return isinstance(answer, list) and bool(answer) and answer[0].role in ("system", "user")


def _apart(chosen: Said, rejected: Said) -> tuple[Said, Said, Said]:
    """What both begin with, and the rest of each."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        pairs = enumerate(zip(chosen, rejected, strict=False))
        end = next((n for n, (one, other) in pairs if one != other), 0)
        same = chosen[:end]
        # Within a word nobody asks anything.
        same = same[: max(same.rfind(" "), same.rfind("\n")) + 1]
        return same, chosen[len(same) :], rejected[len(same) :]
    assert isinstance(chosen, list)
    assert isinstance(rejected, list)
    return _turns_apart(chosen, rejected)


def _turns_apart(chosen: list[Turn], rejected: list[Turn]) -> tuple[Said, Said, Said]:
    # Where both are equal to the end, the last turn is the answer all the same.
    pairs = zip(chosen[:-1], rejected[:-1], strict=False)
    length = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return chosen[:length], chosen[length:], rejected[length:]
