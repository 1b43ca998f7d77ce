"""Writes down what a step on the meta device makes and frees, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import torch

from engine.planning.form import PARTS, Part
from engine.worker.trace import quick
from engine.worker.trace.live_bytes import LiveBytes
from engine.worker.trace.place import Place
from engine.worker.trace.sizes import MONOMIALS, Sizes
from engine.worker.trace.work import Work


class Stretch(msgspec.Struct):
    """What was alive each time something new had been made, in formulas: an array of moments ×
    parts × monomials."""

    place: Place
    moments: np.ndarray


class _Birth(msgspec.Struct):
    formula: np.ndarray
    place: Place
    part: Part | None
    died: int = -1
    """Number of the stretch it died in."""


class Recorder(LiveBytes):  # type: ignore[no-untyped-call]
    """One pass over a step; ``place`` says where it is."""

    def __init__(self, sizes: Sizes, devices: tuple[str, ...]) -> None:
        super().__init__(devices, sees_inputs=False)
        self.place = Place(0, "start")
        self.work = Work(sizes)
        """What the first turn costs."""
        self._sizes = sizes
        self._births: list[_Birth] = []
        self._events: list[tuple[int, int]] = []
        """Number of a storage, and 1 when it is made or -1 when it goes."""
        self._borders: list[tuple[int, Place]] = [(0, self.place)]
        self._numbers: dict[int, int] = {}
        self._blocks: dict[int, Sequence[np.ndarray]] = {}
        self._accumulated: list[tuple[int, int]] = []
        """Number of the events up to then, and of the gradient."""
        self._twins: dict[int, int] = {}
        """What is there twice since :meth:`repeated`, and goes together."""

    def at(self, turn: int, stage: str, layer: int | None = None) -> None:
        """The step has come to this stretch."""
        self.place = Place(turn, stage, layer)
        self._borders.append((len(self._events), self.place))

    def reserve(
        self, formula: np.ndarray, part: Part | None, *, blocks: Sequence[np.ndarray] = ()
    ) -> int:
        """Something that no tensor stands for is there from now on, for the allocator in these
        blocks; gives its number."""
        number = len(self._births)
        if blocks:
            self._blocks[number] = blocks
        self._events.append((number, 1))
        self._births.append(_Birth(formula, self.place, part))
        return number

    def release(self, number: int) -> None:
        """What was reserved is there no more."""
        self._end(number)

    def count(self, operations: int) -> None:
        """A stand-in would have computed this much."""
        self.work.count(self.place, operations)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = quick.made_by(func, args, kwargs or {})
        if made is None:
            made = func(*args, **(kwargs or {}))
        if func.is_view:
            return made
        self._see((made,))
        if self.place.turn == 1:
            self.work.weigh(self.place, func, args, kwargs or {}, made)
        return made

    # ------------------------------------------------------------ instead of LiveBytes' own

    def _add(self, storage: Any, part: Part) -> None:
        key, number = storage._cdata, len(self._births)
        self._numbers[key] = number
        self._alive[key] = (part, 0)
        self._watch[key] = weakref.ref(storage, partial(self._on_died, key))
        self._births.append(_Birth(self._sizes.formula(storage.nbytes()), self.place, None))
        self._events.append((number, 1))

    def hold(self, tensors: Any, part: Part) -> None:
        """As :meth:`LiveBytes.hold`: for all the time that they are alive."""
        tensors = list(tensors)
        for tensor in tensors:
            self._see((tensor,))
            if (key := tensor.untyped_storage()._cdata) in self._numbers:
                self._births[self._numbers[key]].part = part

    def _on_died(self, key: int, _: object) -> None:
        number = self._numbers.pop(key)
        del self._alive[key], self._watch[key]
        self._end(number)
        self._end_twin(number)

    def _end(self, number: int) -> None:
        self._births[number].died = len(self._borders) - 1
        self._events.append((number, -1))

    # ------------------------------------------------------------ a second time

    def accumulated(self, gradient: torch.Tensor) -> None:
        """A weight has its whole gradient of this turn."""
        number = self._numbers.get(gradient.untyped_storage()._cdata)
        if number is not None:
            self._accumulated.append((len(self._events), number))

    @contextmanager
    def repeated(self, *, turn: int) -> Iterator[None]:
        """Write down what happens in the block once more, as another turn's: the same, but that its
        gradients are added to those of the first, and then go. It takes a trace's time only once.
        """
        first_event, first_border = len(self._events), len(self._borders)
        yield
        borders, events = self._borders[first_border:], self._events[first_event:]
        again = [
            *((at, partial(self._end_twin, number)) for at, number in self._accumulated),
            *((at, partial(self.at, *place._replace(turn=turn))) for at, place in borders),
            *((at, partial(self._repeat, *event)) for at, event in enumerate(events, first_event)),
        ]
        # Those at one place stay in this order.
        for _, write in sorted(again, key=itemgetter(0)):
            write()

    def _repeat(self, number: int, sign: int) -> None:
        if sign < 0:
            self._end_twin(number)
            return
        born, blocks = self._births[number], self._blocks.get(number, ())
        part = None if born.part == "gradients" else born.part
        self._twins[number] = self.reserve(born.formula, part, blocks=blocks)

    def _end_twin(self, number: int) -> None:
        if (twin := self._twins.pop(number, None)) is not None:
            self._end(twin)

    # ------------------------------------------------------------ afterwards

    def begins_like(self, other: Recorder) -> bool:
        """Whether the same was made and freed in the same order, by formulas, up to the first
        backward pass. What follows is decided by then: it goes the same way back."""
        return self._beginning() == other._beginning()

    def _beginning(self) -> tuple[Any, ...]:
        borders = self._borders[: _first_backward(self._borders) + 1]
        events = self._events[: borders[-1][0]]
        numbers = [number for number, sign in events if sign > 0]
        births = [self._births[number] for number in numbers]
        blocks = [
            np.array(self._blocks[number]).tolist() for number in numbers if number in self._blocks
        ]
        return (
            borders, events, blocks,
            [(birth.place, birth.part, birth.formula.tolist()) for birth in births],
        )  # fmt: skip

    def stretches(self) -> list[Stretch]:
        """Every stretch in order."""
        changes = np.zeros((len(self._events), len(PARTS), MONOMIALS))
        parts = [PARTS.index(self._part_of(birth)) for birth in self._births]
        for row, (number, sign) in enumerate(self._events):
            changes[row, parts[number]] = sign * self._births[number].formula
        alive = np.cumsum(changes, axis=0)
        signs = np.array([sign for _, sign in self._events])
        ends = [begin for begin, _ in self._borders[1:]] + [len(self._events)]
        return [
            Stretch(place, self._moments(alive, signs, begin, end))
            for (begin, place), end in zip(self._borders, ends, strict=True)
        ]

    def replayed(self, monomials: np.ndarray) -> Iterator[tuple[int, int]]:
        """What was made and freed, in bytes at a point: for
        :func:`engine.planning.allocator.replay`."""
        formulas = np.array([birth.formula for birth in self._births])
        sizes = np.rint(formulas @ monomials).astype(int).tolist()
        for number, sign in self._events:
            if number not in self._blocks:
                yield number, sizes[number] if sign > 0 else -1
                continue
            for place, size in enumerate(np.array(self._blocks[number]) @ monomials):
                yield number + place * len(sizes), round(size) if sign > 0 else -1

    def _moments(self, alive: Any, signs: Any, begin: int, end: int) -> np.ndarray:
        """After each thing made; and at the beginning, with what was there already."""
        rows = [max(begin - 1, 0), *(begin + np.flatnonzero(signs[begin:end] > 0))]
        found: np.ndarray = alive[rows]
        return found

    def _part_of(self, birth: _Birth) -> Part:
        if birth.part is not None:
            return birth.part
        stage = birth.place.stage
        if stage == "loss" or (stage == "backward" and birth.place.layer is None):
            return "logits"
        if stage == "backward":
            return "recompute"
        if stage == "forward":
            died = self._borders[birth.died][1].stage if birth.died >= 0 else "backward"
            return "transient" if died in ("forward", "loss") else "activations"
        return "transient"


def _first_backward(borders: Sequence[tuple[int, Place]]) -> int:
    found = (at for at, (_, place) in enumerate(borders) if place[:2] == (1, "backward"))
    return next(found)
