"""Preference data (DPO, KTO): recognised, so that it is taken for nothing else, and refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.formats.example import Example, Guess, RawRow, RowError

REFUSAL = "This is preference data, which sft and pretrain cannot learn from."
REMEDY = "Choose data with one good answer a row."


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    hits = [shape for row in rows if isinstance(row, Mapping) and (shape := _shape(row))]
    if not hits:
        return Guess(score=0.0, reason="No row compares answers.")
    return Guess(
        score=len(hits) / len(rows),
        reason=f"This is preference data: rows have {hits[0]}.",
    )


def _shape(row: RawRow) -> str:
    if "chosen" in row and "rejected" in row:
        return "chosen and rejected answers"
    talk = any(name in row for name in ("messages", "conversations", "completion"))
    verdict = next((n for n in ("label", "kto_tag") if isinstance(row.get(n), bool)), None)
    return f"an answer and a verdict on it (`{verdict}`)" if talk and verdict else ""


def to_example(row: object) -> Example:
    """Always raises RowError."""
    raise RowError(REFUSAL, REMEDY)
