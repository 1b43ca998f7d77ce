"""Time and smoothing for :mod:`app.series`.

The *elapsed* time of a run counts only while a worker had it: the attempts follow each other
without a gap. Past attempts may arrive in any order (steps first, telemetry after), so places are
worked out from what is known of each attempt, and again when that changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.pyramid import Column, Floats

if TYPE_CHECKING:
    from app.series import Axis, Table

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss; the first 10 values are a plain mean."""
_CHUNK = 1024
_POWERS = SMOOTHING ** np.arange(1, _CHUNK + 1)
_PIECE_ROWS = 1 << 16
"""Worked out at once: the numbers in between stay in the processor's cache."""


def smooth(values: Floats, last: float, rows_before: int) -> Floats:
    """The exponential moving average of ``values``, going on from ``last``.

    NaN carries the average over. ``rows_before`` is how many values went into ``last``.
    """
    out = np.empty_like(values)
    done = 0
    warm = round(1 / (1 - SMOOTHING))
    while done < len(values):
        chunk = values[done : done + _CHUNK]
        if rows_before + done >= warm and np.isfinite(last) and np.isfinite(chunk).all():
            powers = _POWERS[: len(chunk)]
            sums = np.cumsum(chunk / powers) * (1 - SMOOTHING)
            out[done : done + len(chunk)] = powers * (last + sums)
        else:
            out[done : done + len(chunk)] = _smooth_slowly(chunk, last, rows_before + done)
        done += len(chunk)
        last = float(out[done - 1])
    return out


def _smooth_slowly(values: Floats, last: float, rows_before: int) -> list[float]:
    out = []
    for row, value in enumerate(values.tolist(), start=rows_before):
        if not np.isfinite(last):
            last = value
        elif np.isfinite(value):
            last += max(1 - SMOOTHING, 1 / (row + 1)) * (value - last)
        out.append(last)
    return out


class _Places:
    """Elapsed time and step of the rows of one table, kept as long as nothing behind them moves."""

    def __init__(self) -> None:
        self.elapsed = Column()
        self.step = Column()
        self.generation = 0
        self.step_generation = 0
        self.fixed_steps = 0
        """Rows whose step can no longer change."""


class Clock:
    """Places rows and events on the axes."""

    def __init__(self, steps: Table, telemetry: Table) -> None:
        self._steps = steps
        self._spans: dict[int, tuple[float, float]] = {}
        self._places = {id(steps): _Places(), id(telemetry): _Places()}

    def note(self, attempts: Floats, ats: Floats) -> None:
        """Something was measured at these times, in these attempts."""
        newest = max(self._spans, default=0)
        is_one = len(attempts) > 0 and bool((attempts == attempts[0]).all())
        for attempt in attempts[:1] if is_one else np.unique(attempts[np.isfinite(attempts)]):
            inside = ats if is_one else ats[attempts == attempt]
            old = self._spans.get(int(attempt), (np.inf, -np.inf))
            new = (min(old[0], float(inside.min())), max(old[1], float(inside.max())))
            self._spans[int(attempt)] = new
            if new[0] != old[0] or (new[1] != old[1] and attempt < newest):
                self._forget()

    def elapsed(self, table: Table) -> Floats:
        """Seconds in workers up to each row, ascending."""
        places = self._places[id(table)]
        self._drop_stale(places, table)
        at, attempt = table["at"], table["attempt"]
        for begin in range(len(places.elapsed), len(table), _PIECE_ROWS):
            piece = slice(begin, begin + _PIECE_ROWS)
            new = at[piece] - self._shifts(attempt[piece])
            # A clock that was set back must not turn a curve round.
            new[0] = max(new[0], places.elapsed.values[-1] if begin else 0.0)
            places.elapsed.extend(np.maximum.accumulate(new, out=new))
        return places.elapsed.values

    def reserve(self, table: Table, length: int) -> None:
        """So many rows are to be expected."""
        self._places[id(table)].elapsed.reserve(length)

    def settle(self, table: Table) -> None:
        """Place the newest rows now, unless all would have to be placed again with each piece."""
        if len(self._places[id(table)].elapsed) or len(table) <= _PIECE_ROWS:
            self.elapsed(table)

    def step(self, table: Table) -> Floats:
        """Step at the time of each row, ascending, between steps in proportion to time.

        Rows from before the first step lie one step before it, to be told from those in it.
        """
        if table is self._steps:
            return table["step"]
        elapsed, at_steps = self.elapsed(table), self.elapsed(self._steps)
        places = self._places[id(table)]
        if places.step_generation != self._steps.generation:
            places.step_generation, places.fixed_steps = self._steps.generation, 0
        places.step.truncate(places.fixed_steps)
        begin = places.fixed_steps
        if not len(at_steps):
            places.step.extend(np.zeros(len(elapsed) - begin))
            return places.step.values
        numbers = self._steps["step"]
        places.step.extend(np.interp(elapsed[begin:], at_steps, numbers, left=numbers[0] - 1))
        places.fixed_steps = int(np.searchsorted(elapsed, at_steps[-1]))
        return places.step.values

    def place(self, attempt: int, at: float, axis: Axis) -> float:
        """Where a moment of an attempt lies on an axis."""
        first, last = self._spans.get(attempt, (at, at))
        x = float(np.clip(at, first, last) - self._shift(attempt))
        if axis == "time":
            return x
        at_steps = self.elapsed(self._steps)
        return float(np.interp(x, at_steps, self._steps["step"])) if len(at_steps) else 0.0

    def places(self, attempts: Floats, ats: Floats) -> Floats:
        """Elapsed time of moments, each of an attempt; before its first measurement: its start."""
        out = np.empty(len(ats))
        for attempt in np.unique(attempts):
            where = attempts == attempt
            shift = self._shift(int(attempt))
            first, last = self._spans.get(int(attempt), (0.0, 0.0))
            out[where] = np.clip(ats[where], first, last) - shift
        return out

    def attempt_starts(self, axis: Axis) -> list[float]:
        """Where each attempt began."""
        return [self.place(attempt, span[0], axis) for attempt, span in sorted(self._spans.items())]

    def _shift(self, attempt: int) -> float:
        """What to take from a UNIX time of an attempt to get the run's elapsed time."""
        before = sum(last - first for n, (first, last) in self._spans.items() if n < attempt)
        return self._spans.get(attempt, (0.0, 0.0))[0] - before

    def _shifts(self, attempts: Floats) -> Floats:
        known = sorted(self._spans)
        shifts = np.array([self._shift(attempt) for attempt in known])
        if len(known) == 1:
            return shifts
        return shifts[np.clip(np.searchsorted(known, attempts), 0, len(known) - 1)]

    def _drop_stale(self, places: _Places, table: Table) -> None:
        if places.generation == table.generation:
            return
        # Rows were dropped: everything is worked out again, which takes milliseconds.
        places.generation = table.generation
        self._forget()

    def _forget(self) -> None:
        for places in self._places.values():
            places.elapsed.truncate(0)
            places.step.truncate(0)
            places.fixed_steps = 0
