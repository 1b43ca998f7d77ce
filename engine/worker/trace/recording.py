"""What a step made and freed, operation by operation, and what was alive at its moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.planning.form import PARTS, Part
from engine.worker.trace.place import EVALUATION, Place
from engine.worker.trace.sizes import MONOMIALS

_PLACES = {part: place for place, part in enumerate(PARTS)}


class Stretch(msgspec.Struct):
    """What was alive each time something new had been made, in formulas: an array of moments ×
    parts × monomials."""

    place: Place
    moments: np.ndarray


class Birth(msgspec.Struct):
    """Something that was made."""

    formula: np.ndarray
    """Its bytes."""
    place: Place
    part: Part | None
    layer: int | None = None
    """For what is there outside of any: whose weight it is, or whose state."""
    died: int = -1
    """Number of the stretch it died in."""


class Block(NamedTuple):
    """What the allocator gives apart, as a part of something."""

    formula: np.ndarray
    layer: int | None
    """Whose weight it stands for."""


class Recording(msgspec.Struct):
    """A pass over a step. Whatever was made has a number, its place among the births."""

    births: list[Birth] = []
    events: list[tuple[int, int]] = []
    """A number, and 1 when it is made or -1 when it goes."""
    borders: list[tuple[int, Place]] = []
    """Where stretches begin: how many events there were before."""
    blocks: dict[int, Sequence[Block]] = {}
    """What is several blocks for the allocator, by number."""

    def begin(self, place: Place) -> None:
        """A stretch."""
        self.borders.append((len(self.events), place))

    def make(self, birth: Birth, blocks: Sequence[Block] = ()) -> int:
        """Gives its number."""
        number = len(self.births)
        if blocks:
            self.blocks[number] = blocks
        self.births.append(birth)
        self.events.append((number, 1))
        return number

    def end(self, number: int) -> None:
        """It goes."""
        self.births[number].died = len(self.borders) - 1
        self.events.append((number, -1))

    def spans(self) -> Iterator[tuple[int, int, Place]]:
        """Every stretch in order: its first event, that after its last, and its place."""
        ends = [begin for begin, _ in self.borders[1:]] + [len(self.events)]
        for (begin, place), end in zip(self.borders, ends, strict=True):
            yield begin, end, place

    def without_evaluation(self) -> Recording:
        """The step alone."""
        borders = [border for border in self.borders if border[1].turn != EVALUATION]
        if len(borders) == len(self.borders):
            return self
        births = [birth for birth in self.births if birth.place.turn != EVALUATION]
        events = self.events[: self.borders[len(borders)][0]]
        return Recording(births, events, borders, self.blocks)

    # ------------------------------------------------------------ what follows from it

    def begins_like(self, other: Recording) -> bool:
        """Whether the same was made and freed in the same order, by formulas, up to the first
        backward pass. What follows is decided by then: it goes the same way back."""
        return self._beginning() == other._beginning()

    def _beginning(self) -> tuple[Any, ...]:
        borders = self.borders[: _first_backward(self.borders) + 1]
        events = self.events[: borders[-1][0]]
        numbers = [number for number, sign in events if sign > 0]
        births = [self.births[number] for number in numbers]
        blocks = [
            [block.formula.tolist() for block in self.blocks[number]]
            for number in numbers
            if number in self.blocks
        ]
        return (
            borders, events, blocks,
            [(birth.place, birth.part, birth.formula.tolist()) for birth in births],
        )  # fmt: skip

    def stretches(self) -> list[Stretch]:
        """Every stretch in order."""
        flat = np.fromiter(chain.from_iterable(self.events), np.int64, 2 * len(self.events))
        numbers, signs = flat.reshape(-1, 2).T
        formulas = _stacked([birth.formula for birth in self.births])
        parts = np.array([_PLACES[self._part_of(birth)] for birth in self.births])
        spans = list(self.spans())
        rows = [_moments(signs, begin, end) for begin, end, _ in spans]
        of_all = np.concatenate(rows)
        alive = np.zeros((len(of_all), len(PARTS), MONOMIALS))
        # Of most parts and monomials there is nothing.
        of_part = parts[:, None] == np.arange(len(PARTS))
        there = np.argwhere((of_part.T.astype(float) @ (formulas != 0)) > 0)
        changes = of_part[:, there[:, 0]] * formulas[:, there[:, 1]]
        totals = np.cumsum(signs[:, None] * changes[numbers], axis=0)
        alive[:, there[:, 0], there[:, 1]] = totals[of_all]
        moments = np.split(alive, np.cumsum([len(each) for each in rows])[:-1])
        return [Stretch(place, each) for (_, _, place), each in zip(spans, moments, strict=True)]

    def allocations(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """What the allocator is asked for, block by block: formulas, and events as of
        :attr:`events`, with the number of a formula."""
        formulas = [birth.formula for birth in self.births]
        places: dict[int, range] = {}
        for number, blocks in self.blocks.items():
            places[number] = range(len(formulas), len(formulas) + len(blocks))
            formulas += [block.formula for block in blocks]
        events = [
            (place, sign) for number, sign in self.events for place in places.get(number, (number,))
        ]
        return _stacked(formulas), events

    def _part_of(self, birth: Birth) -> Part:
        if birth.part is not None:
            return birth.part
        stage = birth.place.stage
        if stage == "loss" or (stage == "backward" and birth.place.layer is None):
            return "logits"
        if stage == "backward":
            return "recompute"
        if stage == "forward":
            died = self.borders[birth.died][1].stage if birth.died >= 0 else "backward"
            return "transient" if died in ("forward", "loss") else "activations"
        return "transient"


def _moments(signs: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The events after which something new had been made; and the beginning, with what was there
    already."""
    return np.append(max(begin - 1, 0), begin + np.flatnonzero(signs[begin:end] > 0))


def _stacked(formulas: Sequence[np.ndarray]) -> np.ndarray:
    """As one array. Most are one of a few, and numpy is slow where it takes many small ones."""
    few = {id(formula): formula for formula in formulas}
    places = dict(zip(few, range(len(few)), strict=True))
    found: np.ndarray = np.array(list(few.values()))[[places[id(each)] for each in formulas]]
    return found


def _first_backward(borders: Sequence[tuple[int, Place]]) -> int:
    found = (at for at, (_, place) in enumerate(borders) if place[:2] == (1, "backward"))
    return next(found)
