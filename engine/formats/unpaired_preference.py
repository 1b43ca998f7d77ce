"""Unpaired preference (KTO): a question, an answer, and a verdict on it, ``label`` or ``kto_tag``.

Question and answer are ``prompt`` and ``completion``, or one conversation in ``messages`` or
``conversations`` that ends with the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.formats import columns
from engine.formats.example import Guess, RawRow, RowError, Said, Verdict
from engine.formats.said import TURNS, must_answer, parted, question, said, same_kind, turns_of

LABEL = ("label", "kto_tag")
_ANSWER = ("completion", "output")
_WORDS = {"true": True, "false": False, "1": True, "0": False}


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "an answer and a verdict on it")


def _fits(row: RawRow) -> bool:
    has_answer = any(name in row for name in (*TURNS, *_ANSWER))
    name = columns.first_present(row, LABEL)
    return has_answer and name is not None and _is_verdict(row[name])


def _is_verdict(value: object) -> bool:
    """What can only be a verdict: 0 and 1 may be classes."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "false")
    return isinstance(value, bool)


def to_example(row: object) -> Verdict:
    """The row as a question with one answer. Raises RowError."""
    row = columns.as_row(row)
    label = _label(row, columns.column(row, LABEL))
    asked, answer = _parts(row)
    asked, answer = same_kind(asked, answer)
    must_answer(answer, "completion")
    return Verdict(prompt=asked, completion=answer, label=label, tools=columns.tools_of(row))


def _label(row: RawRow, name: str) -> bool:
    value = row[name]
    if isinstance(value, bool):
        return value
    found = _WORDS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if found is None:
        raise RowError(
            f"`{name}` is {columns.kind_of(value)}, not a verdict.", "Write true or false."
        )
    return found


def _parts(row: RawRow) -> tuple[Said, Said]:
    name = columns.first_present(row, _ANSWER)
    if name is not None:
        asked = question(row)
        if asked is None:
            columns.column(row, ("prompt",))
        return asked or "", said(row[name], f"`{name}`")
    name = columns.column(row, TURNS)
    return parted(turns_of(row[name], f"`{name}`"))
