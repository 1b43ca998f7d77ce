"""What grows so slowly that no step stands out: the time of a step, or memory that leaks."""

from __future__ import annotations

import math
from statistics import median

import msgspec

from engine.diagnosis.pace.robust import greatest_jump, rising
from engine.diagnosis.pace.slowdown import Beat
from engine.diagnosis.pace.tempo import Tempo

MOST_BLOCKS = 64
_LEAST_BLOCKS = 8
_BLOCK_STEPS = 24
_BLOCK_SECONDS = 20.0
_RISES = 0.6
"""Least trend (Kendall's tau) of a creep."""
_ONE_JUMP = 0.6
"""Share of the rise that may come at once: more is a change, not a creep."""
CREPT = math.log(1.15)


class Trend:
    """Middles of equally long stretches, oldest first; when there are many, two become one."""

    def __init__(self) -> None:
        self.middles: list[float] = []
        self.stretch = 1
        """Blocks that one middle stands for."""
        self._waiting: list[float] = []

    def add(self, middle: float) -> bool:
        """Take in the middle of a block; True if there is a new one."""
        self._waiting.append(middle)
        if len(self._waiting) < self.stretch:
            return False
        self.middles.append(median(self._waiting))
        self._waiting = []
        if len(self.middles) >= MOST_BLOCKS:
            pairs = zip(self.middles[::2], self.middles[1::2], strict=False)
            self.middles = [(first + second) / 2 for first, second in pairs]
            self.stretch *= 2
        return True

    @property
    def rise(self) -> float:
        """From the first three to the last three."""
        return median(self.middles[-3:]) - median(self.middles[:3])

    @property
    def creeps(self) -> bool:
        """Whether it rises little by little, and not at once."""
        return (
            greatest_jump(_in_pairs(self.middles)) < _ONE_JUMP * self.rise
            and rising(self.middles) >= _RISES
        )


def _in_pairs(values: list[float]) -> list[float]:
    """Means of neighbours, so that noise is no jump."""
    return [(values[n] + values[n + 1]) / 2 for n in range(0, len(values) - 1, 2)]


class SlowCreep:
    """Steps that take longer little by little, beside those at the beginning of the attempt."""

    def __init__(self, tempo: Tempo) -> None:
        self._tempo = tempo
        self.trend = Trend()
        self.first: Beat | None = None
        self.is_found = False
        self._block: list[float] = []
        self._block_at = 0.0

    def note(self, beat: Beat) -> bool:
        """Take in a step; True if with it the state of :attr:`is_found` changes."""
        self.first = self.first or beat
        self._block_at = self._block_at or beat.at
        self._block.append(self._tempo.excess(beat.tokens, beat.seconds))
        is_long = beat.at - self._block_at >= _BLOCK_SECONDS
        if len(self._block) < _BLOCK_STEPS or not is_long:
            return False
        middle = median(self._block)
        self._block, self._block_at = [], 0.0
        return self.trend.add(middle) and self._judge()

    @property
    def factor(self) -> float:
        """Times as long as at the beginning."""
        return math.exp(self.trend.rise)

    def _judge(self) -> bool:
        if len(self.trend.middles) < _LEAST_BLOCKS:
            return False
        rise = self.trend.rise
        was = self.is_found
        if was:
            self.is_found = rise > CREPT / 2
        else:
            self.is_found = rise > CREPT and self.trend.creeps
        return was != self.is_found


# ---------------------------------------------------------------- memory


_BUCKET_SECONDS = 20.0
_SETTLE_SECONDS = 120.0
"""Caches fill in the first minutes."""
_LEAST_SECONDS = 900.0
_LEAST_BUCKETS = 12
_STEADY = 0.9


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Memory that grows steadily."""

    grown_bytes: float
    seconds: float
    used_bytes: float

    @property
    def bytes_an_hour(self) -> float:
        """How fast."""
        return 3600 * self.grown_bytes / self.seconds


class MemoryCreep:
    """One kind of memory over time. What fills up and then stays is no leak: it must grow in the
    last third of the time about as much as in the first."""

    def __init__(self, least_bytes: float, least_share: float) -> None:
        self._least_bytes = least_bytes
        self._least_share = least_share
        self._trend = Trend()
        self._bucket: list[float] = []
        self._bucket_at = 0.0
        self._began_at = 0.0
        self._ended_at = 0.0
        self.growth: Growth | None = None
        """What was found, until it is given back."""

    def note(self, at: float, size_bytes: float | None) -> bool:
        """Take in a measurement; True if with it :attr:`growth` comes or goes."""
        if size_bytes is None:
            return False
        self._began_at = self._began_at or at + _SETTLE_SECONDS
        if at < self._began_at:
            return False
        self._bucket_at = self._bucket_at or at
        self._bucket.append(size_bytes)
        if at - self._bucket_at < _BUCKET_SECONDS:
            return False
        middle = median(self._bucket)
        self._bucket, self._bucket_at, self._ended_at = [], 0.0, at
        if self.growth:
            return self._look_for_end(middle)
        return self._trend.add(middle) and self._judge()

    def _judge(self) -> bool:
        middles, seconds = self._trend.middles, self._ended_at - self._began_at
        if len(middles) < _LEAST_BUCKETS or seconds < _LEAST_SECONDS:
            return False
        grown = self._trend.rise
        if grown < max(self._least_bytes, self._least_share * middles[0]) or not self._is_steady():
            return False
        # From the middle of the first three to that of the last three.
        apart = seconds * (len(middles) - 3) / len(middles)
        self.growth = Growth(grown_bytes=grown, seconds=apart, used_bytes=middles[-1])
        return True

    def _is_steady(self) -> bool:
        middles = self._trend.middles
        third = len(middles) // 3
        late = middles[-1] - middles[-1 - third]
        early = middles[third] - middles[0]
        return (
            rising(middles) >= _STEADY
            and late > 0.6 * early
            and greatest_jump(middles) < 0.3 * self._trend.rise
        )

    def _look_for_end(self, size_bytes: float) -> bool:
        assert self.growth is not None
        if size_bytes > self.growth.used_bytes - self.growth.grown_bytes / 2:
            return False
        self.growth, self._trend = None, Trend()
        self._began_at = self._ended_at
        return True
