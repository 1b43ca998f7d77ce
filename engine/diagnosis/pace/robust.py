"""Statistics that a few wild values do not move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

_TO_SIGMA = 1.4826
"""Of a normal distribution, times the median distance from its middle."""


def spread(values: Iterable[float], middle: float) -> float:
    """Standard deviation without the wild ones: from the median distance to the middle."""
    return _TO_SIGMA * median(abs(value - middle) for value in values)


def middle_of(values: Iterable[float | None]) -> float | None:
    """The median of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def rising(values: Sequence[float]) -> float:
    """Kendall's tau against the order: 1 if they only rise, 0 without a trend, -1 if they fall."""
    pairs = len(values) * (len(values) - 1) // 2
    if not pairs:
        return 0.0
    signs = 0
    for place, later in enumerate(values):
        signs += sum((later > earlier) - (later < earlier) for earlier in values[:place])
    return signs / pairs


def greatest_jump(values: Sequence[float]) -> float:
    """The most that one value is above the one before it."""
    return max((later - earlier for earlier, later in pairwise(values)), default=0.0)


def line_through(values: Sequence[float], group: int) -> list[float]:
    """A straight line along evenly spaced values, by the middle of all slopes between the middles
    of groups."""
    starts = range(0, len(values) - group + 1, group)
    middles = [(start + (group - 1) / 2, median(values[start : start + group])) for start in starts]
    slopes = [
        (high - low) / (right - left)
        for place, (right, high) in enumerate(middles)
        for left, low in middles[:place]
    ]
    slope = median(slopes) if slopes else 0.0
    offset = median(value - slope * place for place, value in enumerate(values))
    return [offset + slope * place for place in range(len(values))]


def misfit(values: Sequence[float], fit: Sequence[float]) -> float:
    """Sum of the distances between values and a fit."""
    return sum(abs(value - other) for value, other in zip(values, fit, strict=True))
