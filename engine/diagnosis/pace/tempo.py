"""How long a step of so many tokens takes here, learnt from ordinary steps of the run itself."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from engine.diagnosis.pace.robust import spread

KEPT = 160
"""Steps that are remembered."""
_REFIT_EVERY = 16
_LEAST_SCATTER = 0.01
_EVEN = 1.25
"""Steps whose token counts differ by less than this tell nothing of what a token costs."""
LEAST_EXCESS = math.log(1.12)
"""Less than this is not worth a word."""


class Tempo:
    """A line over the tokens of a step, through the middles of its ends so that no wild step bends
    it, and how far ordinary steps lie around it.

    All distances are logarithms of "times as long as expected": twice as long is 0.69.
    """

    def __init__(self) -> None:
        self._known: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._since_fit = 0
        self._fixed, self._each = 0.0, 0.0
        self._middle = 0.0
        self.bar = LEAST_EXCESS
        """A step above this is a slow one; so are a few of all steps."""
        self.common = 0.1
        """The share of ordinary steps above the bar."""

    @property
    def count(self) -> int:
        """Steps that were learnt from, up to those that are kept."""
        return len(self._known)

    def learn(self, tokens: float, seconds: float) -> None:
        """Take in an ordinary step."""
        self._known.append((tokens, seconds))
        self._since_fit += 1
        if self._since_fit >= _REFIT_EVERY or self.count < 2 * _REFIT_EVERY:
            self._fit()

    def expected(self, tokens: float) -> float:
        """Seconds of an ordinary step with so many tokens."""
        return math.exp(self._middle) * self._line(tokens)

    def excess(self, tokens: float, seconds: float) -> float:
        """How much longer than expected a step took; below 0 for a quicker one."""
        return math.log(max(seconds, 1e-6) / self._line(tokens)) - self._middle

    def frozen(self) -> Tempo:
        """The same as it is now, for good."""
        copy = Tempo()
        copy._known = self._known.copy()
        copy._fit()
        return copy

    def _line(self, tokens: float) -> float:
        return max(self._fixed + self._each * tokens, 1e-6)

    def _fit(self) -> None:
        self._since_fit = 0
        points = sorted(self._known)
        self._fixed, self._each = _line_through(points)
        apart = [math.log(max(s, 1e-6) / self._line(n)) for n, s in points]
        self._middle = median(apart)
        scatter = max(spread(apart, self._middle), _LEAST_SCATTER)
        self.bar = max(LEAST_EXCESS, 2 * scatter)
        above = sum(x - self._middle > self.bar for x in apart)
        self.common = (above + 1) / (len(apart) + 4)


def _line_through(points: list[tuple[float, float]]) -> tuple[float, float]:
    """``(seconds without any token, seconds a token)``, neither below 0; ``points`` by tokens."""
    third = len(points) // 3
    few, many = points[: max(third, 1)], points[-max(third, 1) :]
    low, high = median(n for n, _ in few), median(n for n, _ in many)
    if high < _EVEN * low or third < 4:
        return 0.0, median(s / n for n, s in points)
    each = (median(s for _, s in many) - median(s for _, s in few)) / (high - low)
    each = max(each, 0.0)
    fixed = median(s - each * n for n, s in points)
    if fixed < 0:
        return 0.0, median(s / n for n, s in points)
    return fixed, each
