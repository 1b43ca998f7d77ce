"""A finished run teaches how far its plan was off, so that the next plan on this machine is nearer:
its memory on a card, and the time of its steps.
"""

from __future__ import annotations

import logging
import statistics
from collections import deque
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.contract.messages import Done, Finding, Message, Step, Telemetry
from engine.paths import home
from engine.planning import learnt
from engine.planning.learnt import Expected
from engine.store.runs import read_run
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)

FIRST_STEPS = 3
"""Of an attempt, which compile and warm up."""
LEAST_STEPS = 20
"""After them; the time of fewer is more of a chance."""
FULL = 0.9
"""Share of a planned step's tokens that a run learns at a time where its rows are full."""
_MOST_STEPS = 2000
"""The newest that are looked at."""
MOST_TIMES = 8.0
"""That a bare estimate may be off, either way: beyond it something else had the machine."""
_TROUBLE = frozenset({"spill", "throttled", "starved", "card_shared", "slower", "slow_creep"})
"""Findings after which a run's time says little of the machine."""


class _Timed(NamedTuple):
    seconds: float
    tokens: int


class Lesson:
    """Notes the greatest memory of an attempt and the time of its steps. Sizes in bytes."""

    def __init__(self) -> None:
        self._reserved = 0
        self._process = 0
        self._step_count = 0
        self._most_learnt = 0
        self._steps: deque[_Timed] = deque(maxlen=_MOST_STEPS)
        self._is_troubled = False
        self._is_finished = False

    def note(self, message: Message) -> None:
        """Take from a record what it says of memory and time, and how the run ended."""
        if isinstance(message, Step):
            self._reserved = max(self._reserved, message.vram_peak_bytes or 0)
            self._step_count += 1
            self._most_learnt = max(self._most_learnt, message.target_tokens)
            if self._step_count > FIRST_STEPS:
                tokens = message.padded_tokens or message.tokens
                self._steps.append(_Timed(message.step_ms / 1000, tokens))
        elif isinstance(message, Telemetry):
            self._process = max(self._process, message.vram_process_bytes or 0)
        elif isinstance(message, Finding):
            self._is_troubled = self._is_troubled or message.code in _TROUBLE
        elif isinstance(message, Done):
            self._is_finished = message.outcome == "finished"

    @property
    def has_something(self) -> bool:
        """Whether the attempt finished and teaches of a card's memory, or of time."""
        return self._is_finished and (self._reserved > 0 or self._tells_time)

    @property
    def _tells_time(self) -> bool:
        return len(self._steps) >= LEAST_STEPS and not self._is_troubled

    def learn(self, folder: Path) -> None:
        """Compare with the plan in the run's folder, if it has one. A failure is only logged."""
        try:
            raw = read_run(folder).plan
            if raw:
                expected = msgspec.convert(raw, Expected)
                size, ratio = self.measured_bytes(expected), self.time_ratio(expected)
                if size or ratio:
                    learnt.record(home(), expected, size, ratio)
        except (StoreError, msgspec.ValidationError, OSError) as error:
            log.warning("%s: nothing is learnt from it: %s", folder.name, error)

    def measured_bytes(self, expected: Expected) -> int | None:
        """What the run took of the card at its peak; None without one, and where it was less than
        planned because there was less to learn. The driver knows best, where
        it tells; it is asked once a second, so what torch says is the least that it was."""
        if not (self._reserved and expected.peak_bytes):
            return None
        known = self._process >= self._reserved
        size = self._process if known else self._reserved + expected.context_bytes
        # A plan counts every token as one that is learnt. A run with fewer takes less, and says
        # nothing of one that fills its rows.
        is_full = self._most_learnt >= FULL * expected.step_tokens
        return size if is_full or size > expected.peak_bytes else None

    def time_ratio(self, expected: Expected) -> float | None:
        """What a step took, as a multiple of the bare estimate for as many tokens as it had, so
        that it says how quick the machine is and not how full the rows were; the median. None
        where it would say something else."""
        if not (self._tells_time and expected.step_tokens and expected.step_seconds > 0):
            return None
        known = [step for step in self._steps if step.tokens and step.seconds > 0]
        if not known:
            return None
        times = statistics.median(s.seconds / expected.seconds_at(s.tokens) for s in known)
        ratio = times * expected.time_ratio
        return ratio if 1 / MOST_TIMES <= ratio <= MOST_TIMES else None
