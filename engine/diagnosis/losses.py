"""What the last losses and gradient norms say: a spike, a model in ruins, a rate that is too high.

Pure. One wild sample is no spike of the run: all is measured against the middle of what came
before, and against how far that usually lies apart.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from engine.diagnosis.pace.robust import spread

_KEPT = 64
_LEAST = 20
"""Steps before anything is called a spike."""
_SPIKE_SIGMAS = 10.0
_SPIKE_TIMES = 2.0
_SPIKE_NATS = 1.0
_RECENT = 8
_FEW = 3
_RUINED_TIMES = 2.5
_RUINED_NATS = 1.5
_OF_CHANCE = 0.55
"""Share of the loss of plain guessing, below which no model is in ruins."""
GROWN = 5.0
"""Times that gradients grow where the learning rate is too high."""


class Losses:
    """Fed with every step whose loss is a number. ``chance`` is the loss of guessing among all
    tokens: the logarithm of their number."""

    def __init__(self, chance: float) -> None:
        self._chance = chance
        self._losses: deque[float] = deque(maxlen=_KEPT)
        self._norms: deque[float] = deque(maxlen=_KEPT)
        self.best: float | None = None
        """The first loss, or the best middle of eight since."""
        self.had_gradient = False
        """Whether any step had a gradient other than 0."""

    def note(self, loss: float, grad_norm: float | None) -> None:
        """Take in a step."""
        self._losses.append(loss)
        if grad_norm is not None:
            self.note_norm(grad_norm)
        recent = self.recent
        if self.best is None:
            self.best = loss
        elif recent is not None:
            self.best = min(self.best, recent)

    def note_norm(self, grad_norm: float) -> None:
        """Take in the gradient norm of a step that had no loss."""
        if math.isfinite(grad_norm):
            self._norms.append(grad_norm)
            self.had_gradient = self.had_gradient or grad_norm > 0

    @property
    def recent(self) -> float | None:
        """The middle of the last eight losses."""
        return median([*self._losses][-_RECENT:]) if len(self._losses) >= _RECENT else None

    @property
    def usual(self) -> float | None:
        """The middle of all that are kept."""
        return median(self._losses) if self._losses else None

    def is_spike(self, loss: float) -> bool:
        """Whether this loss, not yet taken in, is out of all proportion."""
        if len(self._losses) < _LEAST:
            return False
        middle = median(self._losses)
        apart = max(spread(self._losses, middle), 0.02 + 0.05 * middle)
        bar = max(middle + _SPIKE_SIGMAS * apart, _SPIKE_TIMES * middle, middle + _SPIKE_NATS)
        return loss > bar

    @property
    def seems_ruined(self) -> bool:
        """Whether the last losses are far above what they were, and near guessing or worse. Hard
        data can look so too: ask the model for what it knew at first."""
        recent, best = self.recent, self.best
        if recent is None or best is None:
            return False
        return recent > self._bar(best)

    @property
    def may_be_ruined(self) -> bool:
        """As :attr:`seems_ruined`, of the last three losses: a save must not wait for eight."""
        if self.best is None or not self._losses:
            return False
        return median([*self._losses][-_FEW:]) > self._bar(self.best)

    def _bar(self, best: float) -> float:
        return max(_RUINED_TIMES * best, best + _RUINED_NATS, _OF_CHANCE * self._chance)

    @property
    def norm_growth(self) -> float:
        """The greatest of the last eight gradient norms, as a multiple of the middle of those
        before; 1 where too little is known."""
        norms = [*self._norms]
        if len(norms) < 2:
            return 1.0
        split = max(len(norms) - _RECENT, (len(norms) + 1) // 2)
        before = median(norms[:split])
        return max(norms[split:]) / before if before > 0 else 1.0


def gentler(learning_rate: float, usual: float) -> float:
    """A rate to try instead, with one figure: the usual one where this is far above it, else a
    quarter."""
    wanted = usual if learning_rate > 8 * usual else learning_rate / 4
    digits = -math.floor(math.log10(wanted))
    return round(wanted, digits)
