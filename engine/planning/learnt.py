"""What finished runs teach of a card: how far their peaks were from their plans.

One small JSON file of this home, by card, driver and torch. It is a help and never needed: one that
cannot be read counts as empty.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

from engine.store.files import write_atomic

FILE = "learnt.json"
FORMAT = 1
KEPT = 50
"""Newest runs kept of a card."""
ERROR_SHARE = 0.05
"""How far off a plan may be where nothing was measured."""
_LEAST_SHARE, _MOST_SHARE = 0.01, 0.25


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan foretold of a run, to be compared with what it took. Sizes in bytes."""

    card: str
    driver: str
    torch: str
    peak_bytes: int
    """On the card at the peak of training, without what was learnt before."""
    context_bytes: int
    """Of it what is not torch's."""
    step_seconds: float = 0.0
    """Of a step; 0 where nothing was foretold of it."""
    parts: dict[str, float] = {}
    """What they go into, see :class:`engine.planning.plan.Timing`."""

    @property
    def key(self) -> str:
        """What its lessons are kept under."""
        return key(self.card, self.driver, self.torch)


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a card. ``runs`` is how many it was learnt from."""

    offset_bytes: int = 0
    error_share: float = ERROR_SHARE
    runs: int = 0


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    planned: int
    measured: int


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    cards: dict[str, list[_Pair]] = {}


def key(card: str, driver: str | None, torch: str | None) -> str:
    """Under which a card's lessons are kept."""
    return f"{card} · driver {driver or 'unknown'} · torch {torch or 'unknown'}"


def read(home: Path) -> dict[str, Lesson]:
    """What is known of each card, by :func:`key`."""
    return {name: _lesson(pairs) for name, pairs in _load(home / FILE).cards.items()}


def record(home: Path, expected: Expected, measured_bytes: int) -> Lesson:
    """Take in a finished run; returns what is known now. Raises OSError if it cannot be written."""
    known = _load(home / FILE)
    pair = _Pair(planned=expected.peak_bytes, measured=measured_bytes)
    pairs = [*known.cards.get(expected.key, []), pair][-KEPT:]
    content = _File(cards={**known.cards, expected.key: pairs})
    write_atomic(home / FILE, msgspec.json.format(msgspec.json.encode(content), indent=1))
    return _lesson(pairs)


def _lesson(pairs: list[_Pair]) -> Lesson:
    if not pairs:
        return Lesson()
    offset = round(statistics.median(p.measured - p.planned for p in pairs))
    worst = max(abs(p.measured - p.planned - offset) / max(p.measured, 1) for p in pairs)
    # One run says where the middle is and nothing of how runs scatter; each further one does.
    share = max(worst, ERROR_SHARE / (len(pairs) + 1), _LEAST_SHARE)
    return Lesson(offset_bytes=offset, error_share=min(share, _MOST_SHARE), runs=len(pairs))


def _load(path: Path) -> _File:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError):
        return _File()
    return found if found.format == FORMAT else _File()
