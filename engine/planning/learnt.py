"""What finished runs teach of a card: how far their peaks and times were from their plans.

One small JSON file of this home, by card (or processor), driver and torch. It is a help and never
needed: one that cannot be read counts as empty.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated

import msgspec

from engine.store.files import write_atomic

FILE = "learnt.json"
FORMAT = 1
KEPT = 50
"""Newest runs kept of a card."""
ERROR_SHARE = 0.05
"""How far off a plan may be where nothing was measured."""
_LEAST_SHARE, _MOST_SHARE = 0.01, 0.25
_TIME_SHARE, _LEAST_TIME_SHARE = 0.3, 0.05
"""How far a run's time may be from what few runs say, and from what any number of them says."""
_OUTER = 10
"""Of so many runs the quickest and the slowest say nothing of what is usual."""
_WHATEVER_THE_TOKENS = ("kernel launches", "optimizer")
_TRAFFIC = "memory traffic"
_WORK = ("compute", _TRAFFIC)
"""What launches are hidden behind."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan foretold of a run, to be compared with what it took. Sizes in bytes."""

    card: str
    driver: str
    torch: str
    peak_bytes: int
    """On the card at the peak of training, without what was learnt before; 0 without a card."""
    context_bytes: int
    """Of it what is not torch's."""
    step_seconds: float = 0.0
    """Of a step; 0 where nothing was foretold of it."""
    parts: dict[str, float] = {}
    """What they go into, see :class:`engine.planning.plan.Timing`."""
    step_tokens: int = 0
    """That the step was foretold for, all rows full; 0 where an older version wrote this."""
    hidden_seconds: float = 0.0
    fixed_seconds: float = 0.0
    """These two: see :class:`engine.planning.plan.Timing`."""
    time_ratio: float = 1.0
    """What earlier runs had taught by then, and these seconds hold."""

    def seconds_at(self, tokens: int) -> float:
        """What was foretold of a step of so many tokens, padding counted: rows of data are seldom
        full. Attention is taken to grow with its tokens, as all else does."""
        if not self.step_tokens:
            return self.step_seconds
        share = tokens / self.step_tokens
        parts = {
            name: seconds if name in _WHATEVER_THE_TOKENS else share * seconds
            for name, seconds in self.parts.items()
        }
        if _TRAFFIC in parts:
            parts[_TRAFFIC] += (1 - share) * self.fixed_seconds
        work = sum(parts.get(name, 0.0) for name in _WORK)
        return sum(parts.values()) + max(self.hidden_seconds - work, 0.0)

    @property
    def key(self) -> str:
        """What its lessons are kept under."""
        return key(self.card, self.driver, self.torch)


class TimeLesson(msgspec.Struct, frozen=True, kw_only=True):
    """How long steps take on a card, beside the estimate from its rates."""

    ratio: float = 1.0
    """What runs took, as a multiple of the bare estimate: their median."""
    least: float = 1.0
    most: float = 1.0
    """Between which multiples of the median they lie."""
    runs: int = 0
    """That it was learnt from; without any, nothing says how far off the estimate is."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a card. ``runs`` is how many its memory was learnt from."""

    offset_bytes: int = 0
    error_share: float = ERROR_SHARE
    runs: int = 0
    time: TimeLesson = TimeLesson()


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    planned: int
    measured: int


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    cards: dict[str, list[_Pair]] = {}
    times: dict[str, list[Annotated[float, msgspec.Meta(gt=0)]]] = {}
    """Ratios of runs, see :class:`TimeLesson`; older files have none."""


def key(card: str, driver: str | None, torch: str | None) -> str:
    """Under which a card's lessons are kept."""
    return f"{card} · driver {driver or 'unknown'} · torch {torch or 'unknown'}"


def read(home: Path) -> dict[str, Lesson]:
    """What is known of each card, by :func:`key`."""
    known = _load(home / FILE)
    return {name: _lesson(known, name) for name in {**known.cards, **known.times}}


def record(
    home: Path, expected: Expected, measured_bytes: int | None = None, ratio: float | None = None
) -> Lesson:
    """Take in a finished run: its peak and what its steps took beside the bare estimate, as far as
    they are known; returns what is known now. Raises OSError if it cannot be written."""
    known, name = _load(home / FILE), expected.key
    cards, times = dict(known.cards), dict(known.times)
    if measured_bytes is not None:
        pair = _Pair(planned=expected.peak_bytes, measured=measured_bytes)
        cards[name] = [*cards.get(name, []), pair][-KEPT:]
    if ratio is not None:
        times[name] = [*times.get(name, []), round(ratio, 4)][-KEPT:]
    content = _File(cards=cards, times=times)
    write_atomic(home / FILE, msgspec.json.format(msgspec.json.encode(content), indent=1))
    return _lesson(content, name)


def _lesson(known: _File, name: str) -> Lesson:
    time = _time_lesson(known.times.get(name, []))
    pairs = known.cards.get(name, [])
    if not pairs:
        return Lesson(time=time)
    offset = round(statistics.median(p.measured - p.planned for p in pairs))
    worst = max(abs(p.measured - p.planned - offset) / max(p.measured, 1) for p in pairs)
    # One run says where the middle is and nothing of how runs scatter; each further one does.
    share = max(worst, ERROR_SHARE / (len(pairs) + 1), _LEAST_SHARE)
    share = min(share, _MOST_SHARE)
    return Lesson(offset_bytes=offset, error_share=share, runs=len(pairs), time=time)


def _time_lesson(ratios: list[float]) -> TimeLesson:
    if not ratios:
        return TimeLesson()
    number, middle = len(ratios), statistics.median(ratios)
    usual = sorted(ratios)[number // _OUTER : number - number // _OUTER]
    share = max(_TIME_SHARE / (number + 1), _LEAST_TIME_SHARE)
    return TimeLesson(
        ratio=middle,
        least=min(usual[0] / middle, 1 - share),
        most=max(usual[-1] / middle, 1 + share),
        runs=number,
    )


def _load(path: Path) -> _File:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError):
        return _File()
    return found if found.format == FORMAT else _File()
