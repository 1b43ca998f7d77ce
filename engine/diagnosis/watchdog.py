"""When a worker counts as stuck: a time budget for each phase, from what was seen of it. Pure.

Time is what the caller says, in seconds of a clock that only goes forward. A worker that gets on
says so: with records, progress, or the count in its heartbeats. One that only beats is alive, and
stuck all the same; one that does not even beat is frozen.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Literal

import msgspec

from engine.contract.lifecycle import Phase
from engine.contract.messages import Message, PhaseChanged, Step, Telemetry

Kind = Literal["stuck", "frozen"]

STEP_SECONDS = 90.0
"""The least that a step may take without a sign, and:"""
STEP_FACTOR = 6.0
"""times the usual one."""
_USUAL_OF = 20
_FROZEN_SECONDS = 10.0
"""Without a beat for so long, a worker whose time is up counts as frozen."""
_GAP_SECONDS = 20.0
"""Between two looks: then the machine slept, and it is not the worker that was slow."""

GENEROUS_SECONDS: dict[Phase, float] = {
    Phase.WAITING: 900.0,
    Phase.LOADING_MODEL: 3600.0,
    Phase.TOKENISING: 1800.0,
    Phase.FIRST_STEP: 3600.0,
    Phase.EVALUATING: 900.0,
    Phase.SAVING: 1800.0,
}
"""How long each phase may go without a sign of getting on: a cold disk, a hub far away, a kernel
that is compiled."""
_BETWEEN_STEPS = (Phase.EVALUATING, Phase.SAVING)
"""A worker that no longer beats in one of these may be at the next step: what froze it came before
it could say so. Neither keeps a living one from beating: torch computes, and safetensors from 0.8
on writes, without Python's lock (tests/worker/test_seams.py)."""


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose time is up."""

    kind: Kind
    phase: Phase
    silent_seconds: float
    """Since it got on last."""
    budget_seconds: float
    may_be_stepping: bool = False
    """It froze in what comes between two steps, or after it: its last word is not known."""


class Watch:
    """Watches one attempt. ``scale`` shortens the fixed times, for tests."""

    def __init__(self, now: float, scale: float = 1.0) -> None:
        self.phase = Phase.WAITING
        self._scale = scale
        self._moved_at = now
        self._beat_at = now
        self._looked_at = now
        self._moves = 0
        self._step_seconds: deque[float] = deque(maxlen=_USUAL_OF)

    def note(self, message: Message, now: float) -> None:
        """The worker said something that is no heartbeat."""
        if isinstance(message, Telemetry):
            return  # That is the host's own.
        self._moved_at = self._beat_at = now
        if isinstance(message, PhaseChanged):
            self.phase = message.phase
        elif isinstance(message, Step):
            self._step_seconds.append(message.step_ms / 1000)
            self.phase = Phase.TRAINING

    def beat(self, moves: int, now: float) -> None:
        """A heartbeat came; ``moves`` counts what the worker got done."""
        self._beat_at = now
        if moves != self._moves:
            self._moves, self._moved_at = moves, now

    def look(self, now: float) -> Stall | None:
        """Whether the worker's time is up. To be called every second or so."""
        if now - self._looked_at > _GAP_SECONDS * max(self._scale, 0.1):
            self.forgive(now)
        self._looked_at = now
        silent, budget = now - self._moved_at, self._budget_seconds(now)
        if silent <= budget:
            return None
        frozen = now - self._beat_at > min(_FROZEN_SECONDS, budget / 2)
        return Stall(
            kind="frozen" if frozen else "stuck", phase=self.phase, silent_seconds=silent,
            budget_seconds=budget, may_be_stepping=self._may_be_stepping(now),
        )  # fmt: skip

    def is_over(self, now: float) -> bool:
        """Whether its time is up at this moment. Unlike a look, asking changes nothing, and may
        come late: what is examined takes its time."""
        return now - self._moved_at > self._budget_seconds(now)

    def forgive(self, now: float) -> None:
        """Begin to count anew."""
        self._moved_at = self._beat_at = now

    def _budget_seconds(self, now: float) -> float:
        """How long the worker may go without a sign of getting on, as things are."""
        if self.phase not in GENEROUS_SECONDS or self._may_be_stepping(now):
            return self._step_budget
        return max(GENEROUS_SECONDS[self.phase] * self._scale, self._usual_seconds * 10)

    def _may_be_stepping(self, now: float) -> bool:
        silent = now - self._beat_at
        return self.phase in _BETWEEN_STEPS and silent > max(self._step_budget, _FROZEN_SECONDS)

    @property
    def _step_budget(self) -> float:
        return max(STEP_SECONDS * self._scale, STEP_FACTOR * self._usual_seconds)

    @property
    def _usual_seconds(self) -> float:
        return statistics.median(self._step_seconds) if self._step_seconds else 0.0
