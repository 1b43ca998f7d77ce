"""All dataset formats, and which of them some rows are in.

A new format is one module with ``sniff`` and ``to_example``, one line in :data:`FORMATS`, and its
name in :class:`engine.contract.spec.DatasetSpec`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.formats import (
    alpaca,
    mapping,
    messages,
    preference,
    prompt_completion,
    prompt_only,
    sharegpt,
    text,
    unpaired_preference,
)
from engine.formats.example import Format, Guess

FORMATS: dict[str, Format] = {
    "preference": preference,
    "unpaired_preference": unpaired_preference,
    "messages": messages,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "prompt_completion": prompt_completion,
    "prompt_only": prompt_only,
    "text": text,
}
"""Name in the spec to module; of two that fit equally well the first wins."""

COMPARING = ("preference", "unpaired_preference")
"""They win over everything else that fits: a comparison must not be taken for plain answers."""

METHOD_FORMATS: dict[str, tuple[str, ...]] = {
    "sft": ("messages", "sharegpt", "alpaca", "prompt_completion", *COMPARING),
    "pretrain": ("text",),
}
"""Formats that a method can learn from; see :data:`engine.formats.learnt.ASKED_FOR`."""

NONE = "unknown"
SAMPLE_ROWS = 50
"""Rows looked at to tell a format."""


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """The format some rows are in."""

    format: str
    """A key of FORMATS, or ``unknown``."""
    guess: Guess


def detect(rows: Sequence[object], method: str | None = None) -> Detected:
    """The best format for the rows; formats that the method can use go first. Never raises."""
    for name in COMPARING:
        if (guess := FORMATS[name].sniff(rows)).score > 0.5:
            return Detected(format=name, guess=guess)
    usable = METHOD_FORMATS.get(method or "", ())
    best = best_of(rows, usable)
    return best if best.guess.score > 0 else best_of(rows, tuple(FORMATS))


def best_of(rows: Sequence[object], names: Sequence[str]) -> Detected:
    """The best of these formats for the rows. Never raises."""
    best = Detected(format=NONE, guess=Guess(score=0.0, reason=_no_format(rows)))
    for name in FORMATS:
        if name in names and (guess := FORMATS[name].sniff(rows)).score > best.guess.score:
            best = Detected(format=name, guess=guess)
    return best


def fitting(rows: Sequence[object]) -> list[str]:
    """All formats that the rows look like, the best first. Never raises."""
    scores = {name: FORMATS[name].sniff(rows).score for name in FORMATS}
    return sorted((n for n in FORMATS if scores[n] > 0.5), key=lambda n: -scores[n])


def _no_format(rows: Sequence[object]) -> str:
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return "The rows are not objects with named fields."
    known = mapping.listed([str(key) for key in first])
    inside = [str(key)[:40] for key, held in first.items() if isinstance(held, list)]
    hint = f" Are the rows inside `{inside[0]}`?" if len(rows) == 1 and inside else ""
    return f"No known format has these columns: {known}.{hint}"


def remedy_of(rows: Sequence[object]) -> str:
    """What to do where no format fits."""
    named = mapping.suggested(rows)
    if not named and len(mapping.texts_in(rows)) > 1:
        return "Say which column is the question and which is the answer."
    if not named:
        return "Write rows with, for example, `instruction` and `output`."
    return f"Say which column is which: {mapping.as_words(named)}."
