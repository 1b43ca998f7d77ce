"""Prompt only: a question in ``prompt`` and no answer, for methods that make their own answers."""

from __future__ import annotations

from collections.abc import Sequence

from engine.formats import columns
from engine.formats.example import Guess, Prompt, RawRow, RowError
from engine.formats.said import said

_ANSWERS = (
    "completion", "completions", "chosen", "rejected", "label", "output", "response", "answer",
)  # fmt: skip


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit. Below 1: an answer may stand in a column of another name."""
    return columns.guess(
        rows, _fits, to_example, "a prompt and no answer that is known as one", full_score=0.9
    )


def _fits(row: RawRow) -> bool:
    return "prompt" in row and columns.first_present(row, _ANSWERS) is None


def to_example(row: object) -> Prompt:
    """The row as a question. Raises RowError."""
    row = columns.as_row(row)
    asked = said(row[columns.column(row, ("prompt",))], "`prompt`")
    if not asked:
        raise RowError("`prompt` is empty.", "Write a question, or remove the row.")
    return Prompt(prompt=asked)
