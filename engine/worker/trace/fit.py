"""From traces of a few layers to the formulas of the whole model.

A stretch of a step (a layer's forward pass, the loss, a layer's backward pass …) makes the same
things in the same order whatever the depth, and what is alive at each of its moments grows by the
same amount with every further layer. So two depths give all, of which the shallower follows from
the deeper (:mod:`engine.worker.trace.shallower`): the first layers are counted from the front, the
last ones from the back, and those between are never the peak, since between them the memory only
rises or only falls. An evaluation leaves nothing behind in any layer, so one depth is enough for
it: what the other layers add is what they hold at rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import numpy as np

from engine.planning.form import PARTS, Coefficients, Moment, Point, Segment
from engine.worker.trace.place import EVALUATION, Place
from engine.worker.trace.recording import Recording, Stretch
from engine.worker.trace.sizes import CannotTrace, as_coefficients

_BATCHES = (2, 3, 4, 8, 16, 32, 64)
_LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 131072)
_RANKS = (4, 16, 64, 256)


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """Points at which a step takes one course."""

    min_batch: int
    """Of 1 or 2 rows on; a batch of one alone where there is a regime for more."""
    max_batch: int | None = None
    line: bool = False
    """Rows lie one behind the other."""
    min_length: int = 0
    max_length: int | None = None

    @property
    def is_batch(self) -> bool:
        """Whether there are several rows."""
        return self.min_batch > 1

    def points(self, *, rank: bool) -> list[Point]:
        """Among these the peaks are looked for."""
        lengths = [
            length
            for length in sorted({*_LENGTHS, self.min_length, self.max_length or 8})
            if length >= max(8, self.min_length)
            and (self.max_length is None or length <= self.max_length)
        ]
        batches, ranks = (_BATCHES if self.is_batch else (1,)), (_RANKS if rank else (0,))
        return [
            Point(batch=b, length=s, rank=r)
            for b, s, r in product(batches, lengths, ranks)
        ]  # fmt: skip


class Course(msgspec.Struct):
    """The whole model's step: every stretch with its moments."""

    stretches: list[Stretch]

    def of(self, turn: int, stage: str) -> np.ndarray:
        """All moments of a stage: moments × parts × monomials."""
        found = [s.moments for s in self.stretches if s.place[:2] == (turn, stage)]
        empty = np.zeros((0, len(PARTS), found[0].shape[-1] if found else 0))
        return np.concatenate(found) if found else empty


def extrapolate(short: Recording, long: Recording, depths: tuple[int, int], depth: int) -> Course:
    """The course at a depth from those of two. Raises CannotTrace if they do not agree."""
    share = (depth - depths[0]) / (depths[1] - depths[0])
    shorter, longer = short.stretches(), _by_place(long.stretches())
    rest = Place(0, "rest", None)
    growth = share * (longer[rest].moments[0] - _by_place(shorter)[rest].moments[0])
    found = []
    for stretch in shorter:
        if stretch.place.turn == EVALUATION:
            found.append(Stretch(stretch.place, stretch.moments + growth))
            continue
        for place in _counterparts(stretch.place, *depths):
            found.append(_between(stretch, longer[place], share))
    return Course(found)


def _by_place(stretches: list[Stretch]) -> dict[Place, Stretch]:
    """With those of one place joined."""
    found: dict[Place, Stretch] = {}
    for stretch in stretches:
        known = found.get(stretch.place)
        moments = stretch.moments
        if known is not None:
            moments = np.concatenate([known.moments, moments])
        found[stretch.place] = Stretch(stretch.place, moments)
    return found


def _counterparts(place: Place, short: int, long: int) -> Iterator[Place]:
    """The same layer of the deeper model, counted from the front and from the back."""
    if place.layer is None:
        yield place
        return
    if place.layer < short - 1:
        yield place
    if place.layer > 0 or short == 1:
        yield place._replace(layer=place.layer + long - short)


def _between(short: Stretch, long: Stretch, share: float) -> Stretch:
    if short.moments.shape == long.moments.shape:
        moments = short.moments + share * (long.moments - short.moments)
        return Stretch(short.place, moments)
    if short.place.stage not in ("optimizer", "start", "states", "rest"):
        raise CannotTrace(f"Layers of one kind do not do the same ({short.place.stage}).")
    # Parameter by parameter: what a turn takes for a moment has nothing to do with the depth.
    begin = short.moments[0] + share * (long.moments[0] - short.moments[0])
    return Stretch(short.place, begin + np.unique(long.moments - long.moments[0], axis=0))


def segments(course: Course, regime: Regime, *, rank: bool) -> Iterator[Segment]:
    """The moments that are a stage's peak anywhere."""
    grid = np.array([point.monomials() for point in regime.points(rank=rank)])
    for stage in ("forward", "loss", "backward"):
        for turn, accumulates in ((1, False), (2, True)):
            moments = course.of(turn, stage)
            yield from _peaks(moments, grid, regime, stage, "train", accumulates)
    yield from _peaks(course.of(0, "optimizer"), grid, regime, "optimizer", "train", None)
    evaluation = [course.of(EVALUATION, stage) for stage in ("forward", "loss")]
    yield from _peaks(np.concatenate(evaluation), grid, regime, "evaluate", "evaluate", None)


def _peaks(
    moments: np.ndarray, grid: np.ndarray, regime: Regime, name: str, moment: Moment,
    accumulates: bool | None,
) -> Iterator[Segment]:  # fmt: skip
    totals = grid @ moments.sum(axis=1).T
    for row in sorted(set(totals.argmax(axis=1).tolist())):
        yield segment(moments[row], name, moment, accumulates=accumulates, **where(regime))


def where(regime: Regime) -> dict[str, Any]:
    """For which points a segment of this regime holds."""
    return {
        "min_batch": regime.min_batch, "max_batch": regime.max_batch,
        "min_length": regime.min_length, "max_length": regime.max_length,
    }  # fmt: skip


def segment(parts: np.ndarray, name: str, moment: Moment, **fields: Any) -> Segment:
    """A segment of parts × monomials."""
    found: dict[str, Coefficients] = {
        part: as_coefficients(values)
        for part, values in zip(PARTS, parts, strict=True)
        if np.any(np.abs(values) > 1e-6)
    }
    return Segment(name=name, moment=moment, parts=found, **fields)
