"""All dataset formats, and which of them some rows are in.

A new format is one module with ``sniff`` and ``to_example``, one line in :data:`FORMATS`, and its
name in :class:`engine.contract.spec.DatasetSpec`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.formats import alpaca, messages, preference, prompt_completion, sharegpt, text
from engine.formats.example import Format, Guess

FORMATS: dict[str, Format] = {
    "messages": messages,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "prompt_completion": prompt_completion,
    "text": text,
}
"""Name in the spec to module; of two that fit equally well the first wins."""

REFUSED: dict[str, Format] = {"preference": preference}
"""Shapes that are known but cannot be trained on yet. They win over everything."""

METHOD_FORMATS: dict[str, tuple[str, ...]] = {
    "sft": ("messages", "sharegpt", "alpaca", "prompt_completion"),
    "pretrain": ("text",),
}
"""Formats that a method can learn from."""

REMEDIES = {"preference": preference.REMEDY}
"""What to do about a refused shape."""
RENAME = "Write rows with, for example, `instruction` and `output`."
NONE = "unknown"
SAMPLE_ROWS = 50
"""Rows looked at to tell a format."""


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """The format some rows are in."""

    format: str
    """A key of FORMATS or REFUSED, or ``unknown``."""
    guess: Guess


def detect(rows: Sequence[object], method: str | None = None) -> Detected:
    """The best format for the rows; formats that the method can use go first. Never raises."""
    for name, module in REFUSED.items():
        if (guess := module.sniff(rows)).score > 0.5:
            return Detected(format=name, guess=guess)
    usable = METHOD_FORMATS.get(method or "", ())
    best = _best(rows, usable)
    return best if best.guess.score > 0 else _best(rows, tuple(FORMATS))


def _best(rows: Sequence[object], names: Sequence[str]) -> Detected:
    best = Detected(format=NONE, guess=Guess(score=0.0, reason=_no_format(rows)))
    for name in FORMATS:
        if name in names and (guess := FORMATS[name].sniff(rows)).score > best.guess.score:
            best = Detected(format=name, guess=guess)
    return best


def _no_format(rows: Sequence[object]) -> str:
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return "The rows are not objects with named fields."
    known = ", ".join(f"`{str(key)[:40]}`" for key in list(first)[:12]) or "no fields at all"
    inside = [str(key)[:40] for key, held in first.items() if isinstance(held, list)]
    hint = f" Are the rows inside `{inside[0]}`?" if len(rows) == 1 and inside else ""
    return f"No known format has these columns: {known}.{hint}"
