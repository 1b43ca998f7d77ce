"""What a run measured, ready to be drawn: columns of steps and of telemetry on one axis.

Fed with :class:`~engine.contract.messages.Columns` (the past) and records (the present). A step
that is done again after a resume replaces the older one: each step has exactly one point, and
points behind the step that a run went back to are dropped. Telemetry is a matter of time and stays.

The axis is either the run's *elapsed* time in seconds, in which the nights between attempts take no
room, or its *step*; every measurement has a place on both.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Literal

import numpy as np

from app.pyramid import FIRST_ROOM, MAX_POINTS, Column, Floats, Pyramid
from app.series_events import Moments
from app.series_time import Clock, smooth
from engine.contract.messages import (
    CheckpointSaved,
    Columns,
    Evaluated,
    Record,
    ResumeCertificate,
    Step,
    Telemetry,
)

Axis = Literal["time", "step"]

STEP_FIELDS = (
    "at", "attempt", "step", "loss", "learning_rate", "grad_norm", "epoch", "step_ms",
    "tokens", "vram_allocated_bytes", "vram_reserved_bytes", "vram_peak_bytes",
)  # fmt: skip
TELEMETRY_FIELDS = (
    "at", "attempt", "ram_used_bytes", "cpu_percent", "vram_used_bytes",
    "vram_total_bytes", "vram_process_bytes", "gpu_busy_percent",
)  # fmt: skip
DRAWN = frozenset({
    "loss", "smoothed", "learning_rate", "grad_norm", "step_ms", "vram_allocated_bytes",
    "vram_reserved_bytes", "ram_used_bytes", "cpu_percent", "vram_used_bytes", "gpu_busy_percent",
})  # fmt: skip
EXACT = {"at", "step"}
"""Kept in double precision. The rest is for the eye, and a night is a million rows."""
_NEEDED = {"seq", "at", "attempt"}
"""Without these a piece of the past has no place."""
TREND_STEPS = 50
RATE_STEPS = 20
SETTLED_ROWS = 1 << 15
"""Blocks are built for so many rows at once: a call for fewer costs as much."""


class Table:
    """Columns of equal length, some with a pyramid over them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        # Rooms of different size, so that not all columns are moved at the same moment.
        self.columns = {
            name: Column(FIRST_ROOM + 64 * place, np.float64 if name in EXACT else np.float32)
            for place, name in enumerate(names)
        }
        self.pyramids = {name: Pyramid(self.columns[name]) for name in DRAWN & set(names)}
        self.generation = 0
        """Goes up when rows are dropped, for those who keep something about them."""
        self.newest_seq = 0.0

    def __len__(self) -> int:
        return len(self.columns["at"])

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name].values

    def append(self, row: Mapping[str, float]) -> None:
        """Add one row; every column must be named."""
        for name, column in self.columns.items():
            column.append(row[name])

    def extend(self, rows: Mapping[str, Floats]) -> None:
        """Add many rows; columns that are not named get NaN."""
        count = len(rows["at"])
        for name, column in self.columns.items():
            if name in rows:
                column.extend(rows[name])
            else:
                column.extend_void(count)

    def settle(self) -> None:
        """Do now what the next view would have to: after each piece it is little."""
        for pyramid in self.pyramids.values():
            if pyramid.arrears >= SETTLED_ROWS:
                pyramid.catch_up()

    def reserve(self, length: int) -> None:
        """Make room for ``length`` rows in all."""
        for column in self.columns.values():
            column.reserve(length)

    def truncate(self, length: int) -> None:
        """Drop the rows behind the first ``length``."""
        if length >= len(self):
            return
        self.generation += 1
        for column in self.columns.values():
            column.truncate(length)
        for pyramid in self.pyramids.values():
            pyramid.truncate(length)

    def last(self, name: str) -> float | None:
        """The newest value that is a number, if there is one among the last few rows."""
        recent = self[name][-RATE_STEPS:]
        known = recent[np.isfinite(recent)]
        return float(known[-1]) if len(known) else None

    def peak(self, name: str) -> float | None:
        """The greatest value of all rows."""
        values = self[name]
        if not len(values) or self.columns[name].is_void:
            return None
        top = float(np.fmax.reduce(values))
        return top if np.isfinite(top) else None


class RunSeries:
    """All that is known of one run's measurements and events."""

    def __init__(self) -> None:
        self.steps = Table((*STEP_FIELDS, "smoothed"))
        self.telemetry = Table(TELEMETRY_FIELDS)
        self.events: list[Record] = []
        """Everything that is neither step nor telemetry, in order of ``seq``."""
        self.certificate: ResumeCertificate | None = None
        """Of the newest resume that came so far."""
        self._saves, self._evaluations = Moments(), Moments()
        self._clock = Clock(self.steps, self.telemetry)

    # ------------------------------------------------------------ feeding

    def add(self, record: Record) -> bool:
        """Take one record; False if it was known already."""
        if isinstance(record, Step):
            return self._add_rows(self.steps, _row(record, STEP_FIELDS))
        if isinstance(record, Telemetry):
            return self._add_rows(self.telemetry, _row(record, TELEMETRY_FIELDS))
        if self.events and record.seq and record.seq <= self.events[-1].seq:
            return False
        self.events.append(record)
        if isinstance(record, ResumeCertificate):
            self.certificate = record
        if isinstance(record, CheckpointSaved | Evaluated):
            (self._saves if isinstance(record, CheckpointSaved) else self._evaluations).add(record)
        return True

    def add_columns(self, columns: Columns) -> None:
        """Take a piece of the past."""
        table, fields = (
            (self.steps, STEP_FIELDS)
            if columns.kind == "step"
            else (self.telemetry, TELEMETRY_FIELDS)
        )
        wanted = ("seq", *fields)
        given = {name: _decode(columns.data[name]) for name in wanted if name in columns.data}
        length = len(given["at"]) if set(given) >= _NEEDED else 0
        if not length:
            return
        if columns.left:
            # With some room beyond, so that what follows live does not move it all at once.
            table.reserve(len(table) + length + columns.left + FIRST_ROOM)
            self._clock.reserve(table, len(table) + length + columns.left + FIRST_ROOM)
        self._add_rows(table, given)
        table.settle()
        self._clock.settle(table)

    def _add_rows(self, table: Table, rows: dict[str, Floats]) -> bool:
        rows = _newer(table, rows)
        if not len(rows["at"]):
            return False
        # Also what is about to be replaced took its time.
        self._clock.note(rows["attempt"], rows["at"])
        if table is self.steps:
            for piece in _rising_pieces(rows):
                self._extend_steps(piece)
        else:
            table.extend(rows)
        return True

    def _extend_steps(self, rows: dict[str, Floats]) -> None:
        """Rows of rising step; those on record from the first of them on are replaced."""
        self.steps.truncate(int(np.searchsorted(self.steps["step"], rows["step"][0])))
        before = self.steps["smoothed"]
        last = float(before[-1]) if len(before) else float("nan")
        loss = rows.get("loss")
        if loss is None:  # Not one of the steps has any.
            loss = np.broadcast_to(np.nan, len(rows["at"]))
        self.steps.extend(rows | {"smoothed": smooth(loss, last, len(before))})

    # ------------------------------------------------------------ reading

    def table_of(self, name: str) -> Table:
        """The table that a curve is in."""
        return self.steps if name in self.steps.columns else self.telemetry

    def axis(self, table: Table, axis: Axis) -> Floats:
        """Place of every row of a table on an axis, ascending."""
        return self._clock.elapsed(table) if axis == "time" else self._clock.step(table)

    def view(
        self, name: str, axis: Axis, x0: float, x1: float, max_points: int = MAX_POINTS
    ) -> tuple[Floats, Floats]:
        """The points of a curve to draw between two places on an axis."""
        table = self.table_of(name)
        first = self._first_on(table, axis)
        xs, ys = table.pyramids[name].view(self.axis(table, axis), max(x0, first), x1, max_points)
        seen = xs >= first
        return xs[seen], ys[seen]

    def _first_on(self, table: Table, axis: Axis) -> float:
        """Least place on an axis that counts: what was measured before the first step has none."""
        if axis == "time" or table is self.steps:
            return -np.inf
        return float(self.steps["step"][0]) if len(self.steps) else np.inf

    def value_at(self, name: str, axis: Axis, x: float) -> float | None:
        """The value of a curve nearest to a place on an axis."""
        table = self.table_of(name)
        xs = self.axis(table, axis)
        if not len(xs):
            return None
        right = min(int(np.searchsorted(xs, x)), len(xs) - 1)
        left = max(0, right - 1)
        value = table[name][left if x - xs[left] < xs[right] - x else right]
        return float(value) if np.isfinite(value) else None

    def end(self, axis: Axis) -> float:
        """Greatest place on an axis that anything was measured at."""
        ends = [xs[-1] for t in (self.steps, self.telemetry) if len(xs := self.axis(t, axis))]
        return float(max(ends, default=0.0))

    def save_places(self, axis: Axis) -> Floats:
        """Where the checkpoints lie on an axis."""
        saves = self._saves
        if axis == "step":
            return saves["step"]
        return self._clock.places(saves["attempt"], saves["at"])

    def evaluation_places(self, axis: Axis) -> tuple[Floats, Floats]:
        """Place and loss of each evaluation that was not undone since."""
        made = self._evaluations
        rows = made.that_count(self.steps["step"], self.steps["attempt"])
        if axis == "step":
            return made["step"][rows], made["loss"][rows]
        return self._clock.places(made["attempt"][rows], made["at"][rows]), made["loss"][rows]

    def resumes(self, axis: Axis) -> list[float]:
        """Where each attempt after the first went on."""
        return self._clock.attempt_starts(axis)[1:]

    def last_save(self) -> CheckpointSaved | None:
        """The newest checkpoint."""
        saves = (e for e in reversed(self.events) if isinstance(e, CheckpointSaved))
        return next(saves, None)

    @property
    def has_gpu(self) -> bool:
        """Whether anything was ever measured on a card."""
        return not self.telemetry.columns["vram_total_bytes"].is_void

    def loss_trend(self) -> float | None:
        """Change of the smoothed loss over the last 50 steps."""
        smoothed = self.steps["smoothed"]
        if len(smoothed) <= TREND_STEPS:
            return None
        change = float(smoothed[-1] - smoothed[-1 - TREND_STEPS])
        return change if np.isfinite(change) else None

    def speed(self) -> tuple[float | None, float | None]:
        """Tokens a second and seconds a step, over the last 20 steps."""
        recent = self.steps["step_ms"][-RATE_STEPS:]
        tokens = self.steps["tokens"][-RATE_STEPS:]
        busy_seconds = float(np.nansum(recent)) / 1000
        if busy_seconds <= 0:
            return None, None
        tokens_a_second = float(np.nansum(tokens)) / busy_seconds
        return tokens_a_second or None, float(np.nanmedian(recent)) / 1000

    def mean_speed(self) -> tuple[float | None, float | None]:
        """Tokens a second and seconds a step, over all steps that count."""
        spent, tokens = self.steps["step_ms"], self.steps["tokens"]
        known = np.isfinite(spent)
        busy_seconds = float(np.sum(spent[known], dtype=np.float64)) / 1000
        if busy_seconds <= 0:
            return None, None
        tokens_a_second = float(np.nansum(tokens, dtype=np.float64)) / busy_seconds
        return tokens_a_second or None, busy_seconds / int(known.sum())


def _row(record: Record, fields: Iterable[str]) -> dict[str, Floats]:
    values = ((name, getattr(record, name)) for name in ("seq", *fields))
    return {n: np.array([np.nan if v is None else v], dtype=np.float64) for n, v in values}


def _decode(text: str) -> Floats:
    return np.frombuffer(binascii.a2b_base64(text), dtype="<f8").astype(np.float64, copy=False)


def _newer(table: Table, rows: dict[str, Floats]) -> dict[str, Floats]:
    """The rows whose ``seq`` the table has not seen. Rows without one (0 or NaN) always are new."""
    seq, newest = rows["seq"], table.newest_seq
    table.newest_seq = max(newest, float(np.fmax.reduce(seq, initial=0.0)))
    if seq[0] > newest:
        return rows  # They rise.
    fresh = ~(seq > 0) | (seq > newest)
    return rows if fresh.all() else {name: values[fresh] for name, values in rows.items()}


def _rising_pieces(rows: dict[str, Floats]) -> list[dict[str, Floats]]:
    """The rows, cut where the step does not rise: there a run went back to a checkpoint."""
    cuts = np.flatnonzero(np.diff(rows["step"]) <= 0) + 1
    edges = [0, *cuts.tolist(), len(rows["step"])]
    return [
        {name: values[begin:end] for name, values in rows.items()} for begin, end in pairwise(edges)
    ]
