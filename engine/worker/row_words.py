"""Rows in words."""

from __future__ import annotations

from collections.abc import Sequence

from engine.contract.row_places import FileRows, names_of

_NAMED = 12


def sentence(number: int, of_one: str, of_many: str) -> str:
    """``1 row has …``, ``7 rows have …``."""
    return f"1 row {of_one}." if number == 1 else f"{number} rows {of_many}."


def named(rows: Sequence[int], count: int, files: Sequence[FileRows] = ()) -> str:
    """``Rows 3, 7 and 9.``, or of several files ``In a.jsonl rows 3, 7; b.jsonl row 9.``: of
    ``count`` rows the first; the first row of a dataset is 0."""
    if not rows:
        return ""
    if len(files) > 1:
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        return f"In {names_of(files, rows[:_NAMED])}{more}."
    shown = [str(row + 1) for row in rows[:_NAMED]]
    if count > len(shown):
        return f"Rows {', '.join(shown)} and {count - len(shown)} more."
    if len(shown) == 1:
        return f"Row {shown[0]}."
    return f"Rows {', '.join(shown[:-1])} and {shown[-1]}."
