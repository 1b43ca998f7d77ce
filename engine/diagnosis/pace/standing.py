"""What slows a run down from its beginning, so that nothing changes: seen without a before."""

from __future__ import annotations

from collections import deque

from engine.contract.messages import Telemetry
from engine.diagnosis.pace.slowdown import FIRST_STEPS, Beat

_STEPS = 32
_BEGINS, _ENDS = 0.25, 0.12
"""Share of the time that is worth a word, and that is none any more."""
_SAMPLES = 20
_OVER_STEPS = 12
"""Longer than a change of pace takes to be seen, which says what it costs."""
_OVER_BYTES = 256 << 20
_OVER_SHARE = 0.02


class Waiting:
    """Steps wait for their data: a good part of their time, in the middle of the last 32."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float]] = deque(maxlen=_STEPS)
        self._seen = 0
        self.is_found = False

    def note(self, beat: Beat) -> bool:
        """Take in a step; True if with it the state of :attr:`is_found` changes."""
        self._seen += 1
        if beat.wait_seconds is None or self._seen <= FIRST_STEPS:
            return False
        self._beats.append((beat.wait_seconds, beat.seconds))
        if len(self._beats) < _STEPS:
            return False
        waits, were = self._count(), self.is_found
        # Most steps must wait: one that waits long is a pause.
        self.is_found = waits > _STEPS * (0.3 if were else 0.7)
        return were != self.is_found

    def _count(self) -> int:
        bar = _ENDS if self.is_found else _BEGINS
        return sum(wait > bar * seconds for wait, seconds in self._beats)

    @property
    def share(self) -> float:
        """Of the last steps' time."""
        whole = sum(seconds for _, seconds in self._beats)
        return sum(wait for wait, _ in self._beats) / whole if whole else 0.0


class Overfull:
    """torch holds more of the card than all programs together use of it: the rest is in RAM."""

    def __init__(self) -> None:
        self._samples = self._since = 0
        self._gap = 0.0
        self.is_found = False

    def note(self, sample: Telemetry, reserved_bytes: float | None, step: int) -> bool:
        """Take in a sample, during the step after ``step``; True if with it the state of
        :attr:`is_found` changes."""
        used, whole = sample.vram_used_bytes, sample.vram_total_bytes
        if used is None or not whole or reserved_bytes is None:
            return False
        self._gap = reserved_bytes - used
        bar = max(_OVER_BYTES, _OVER_SHARE * whole) * (0.5 if self.is_found else 1.0)
        says_change = (self._gap > bar) != self.is_found
        self._samples = self._samples + 1 if says_change else 0
        if self._samples <= 1:
            self._since = step
        if self._samples < _SAMPLES or step - self._since < _OVER_STEPS:
            return False
        self._samples, self.is_found = 0, not self.is_found
        return True

    @property
    def spilled_bytes(self) -> int:
        """At least so much is in RAM."""
        return max(round(self._gap), 0)
