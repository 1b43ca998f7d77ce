"""From when on steps take longer for good, and until when.

Ordinary steps teach the tempo. Steps that may be slow are kept apart until it is clear what they
are, so that a slow time never teaches that it is ordinary. To become slow takes many slow steps; to
be over takes many that are well below the bar: what swings around it is one slow-down, not ten.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Literal

import msgspec

from engine.diagnosis.pace.change import Evidence
from engine.diagnosis.pace.tempo import Tempo

FIRST_STEPS = 3
"""Of an attempt, which compile, load and warm up."""
LEARN_STEPS = 24
LEARN_SECONDS = 15.0
"""So many steps, over so long, are learnt from before anything is called slow."""
_SLOW_SHARE, _FINE_SHARE = 0.75, 0.85
_REMEMBERED = 400
_RECENT = 6
_MOST_OF_THEM = 0.7
_HALF_WAY = 0.35
"""Of the way back to the ordinary (in logarithms) that steps may still be off when it is over."""

State = Literal["learning", "ordinary", "suspected", "slow"]


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One step, as far as it matters here."""

    step: int
    at: float
    """When it ended, UNIX time."""
    tokens: float
    seconds: float
    wait_seconds: float | None = None
    reserved_bytes: float | None = None


class Slowdown:
    """Fed with steps. While :attr:`state` is ``suspected`` its owner looks for a cause, and says
    with :meth:`confirm` that it is slow."""

    def __init__(self) -> None:
        self.tempo = Tempo()
        self.state: State = "learning"
        self.before: deque[Beat] = deque(maxlen=_REMEMBERED)
        """The last ordinary steps."""
        self.apart: deque[Beat] = deque(maxlen=_REMEMBERED)
        """The last steps since it may have become slow."""
        self.since: Beat | None = None
        """The first of them."""
        self._seen = 0
        self._began_at = 0.0
        self._evidence = Evidence(0.1, _SLOW_SHARE)
        self._relief = Evidence(0.15, _FINE_SHARE)
        self._lost_seconds = 0.0
        self._bar_of_relief = 0.0

    def note(self, beat: Beat) -> bool:
        """Take in a step; True if a slow time is over with it."""
        self._seen += 1
        if self._seen <= FIRST_STEPS:
            self._began_at = beat.at
        elif self.state == "learning":
            self._learn(beat)
        elif self.state == "slow":
            return self._endure(beat)
        else:
            self._watch(beat)
        return False

    def sharpen(self) -> None:
        """Leave out what only happened to come just before: steps that are not half as slow, in
        logarithms, as the last ones."""
        apart = [self.tempo.excess(beat.tokens, beat.seconds) for beat in self.apart]
        bar, hits, first = median(apart[-_RECENT:]) / 2, 0, len(apart) - 1
        for count, excess in enumerate(reversed(apart), start=1):
            hits += excess > bar
            if excess > bar and hits >= _MOST_OF_THEM * count:
                first = len(apart) - count
        for _ in range(first):
            self.apart.popleft()
        self.since = self.since if first == 0 else self.apart[0]

    def confirm(self) -> None:
        """It is slow, since :attr:`since`."""
        self.state = "slow"
        excess = math.log(self.factor)
        self._bar_of_relief = max(0.6 * self.tempo.bar, _HALF_WAY * excess)
        self._relief = Evidence(0.15, _FINE_SHARE)
        self._lost_seconds = sum(b.seconds - self.tempo.expected(b.tokens) for b in self.apart)

    def accept(self) -> None:
        """It is as it is: these steps are ordinary ones."""
        self.state = "ordinary"
        self._ordinary(self.apart)
        self._forget()

    @property
    def factor(self) -> float:
        """Times as long as ordinary, in the middle of the slow steps."""
        return math.exp(median(self.tempo.excess(b.tokens, b.seconds) for b in self.apart))

    @property
    def lost_seconds(self) -> float:
        """What the slow time has cost so far."""
        return max(self._lost_seconds, 0.0)

    # ------------------------------------------------------------ inside

    def _learn(self, beat: Beat) -> None:
        self._ordinary([beat])
        if self.tempo.count >= LEARN_STEPS and beat.at - self._began_at >= LEARN_SECONDS:
            self.state = "ordinary"
            self._evidence = Evidence(self.tempo.common, _SLOW_SHARE)

    def _watch(self, beat: Beat) -> None:
        slow = self.tempo.excess(beat.tokens, beat.seconds) > self.tempo.bar
        self._evidence.add(slow)
        self.apart.append(beat)
        self.since = self.since or beat
        if self._evidence.count == 0:
            self._ordinary(self.apart)
            self._forget()
        self.state = "suspected" if self._evidence.is_enough else "ordinary"

    def _ordinary(self, beats: Iterable[Beat]) -> None:
        for beat in beats:
            self.tempo.learn(beat.tokens, beat.seconds)
            self.before.append(beat)

    def _forget(self) -> None:
        self.apart.clear()
        self.since = None
        self._evidence = Evidence(self.tempo.common, _SLOW_SHARE)

    def _endure(self, beat: Beat) -> bool:
        self._lost_seconds += beat.seconds - self.tempo.expected(beat.tokens)
        self._relief.add(self.tempo.excess(beat.tokens, beat.seconds) < self._bar_of_relief)
        if not self._relief.is_enough:
            return False
        self.state = "ordinary"
        self._forget()
        return True
