"""Plain text: one document a row in a ``text`` column. A text file's documents arrive so too."""

from __future__ import annotations

from collections.abc import Sequence

from engine.formats import columns
from engine.formats.example import Guess, RawRow, Text


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit. Below 1, since files of other shapes may carry a text column too."""
    return columns.guess(rows, _fits, to_example, "text", full_score=0.9)


def _fits(row: RawRow) -> bool:
    return "text" in row


def to_example(row: object) -> Text:
    """The row as a document. Raises RowError."""
    row = columns.as_row(row)
    return Text(text=columns.text_at(row, columns.column(row, ("text",))))
