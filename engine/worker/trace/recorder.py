"""Writes down what a step on the meta device makes and frees, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from engine.planning.form import Part
from engine.worker.trace import quick
from engine.worker.trace.live_bytes import LiveBytes, tensors_in
from engine.worker.trace.place import Place
from engine.worker.trace.recording import Birth, Block, Recording
from engine.worker.trace.sizes import Sizes
from engine.worker.trace.work import Work


class Recorder(LiveBytes):  # type: ignore[no-untyped-call]
    """One pass over a step; ``place`` says where it is."""

    def __init__(self, sizes: Sizes, devices: tuple[str, ...]) -> None:
        super().__init__(devices, sees_inputs=False)
        self.recording = Recording()
        self.work = Work(sizes)
        """What the first turn costs."""
        self._sizes = sizes
        self._memory = quick.Memory()
        self._numbers: dict[int, int] = {}
        self._accumulated: list[tuple[int, int]] = []
        """Number of the events up to then, and of the gradient."""
        self._owner: int | None = None
        self._twins: dict[int, int] = {}
        """What is there twice since :meth:`repeated`, and goes together."""
        self.at(0, "start")

    def at(self, turn: int, stage: str, layer: int | None = None) -> None:
        """The step has come to this stretch."""
        self.place = Place(turn, stage, layer)
        self.recording.begin(self.place)

    def reserve(
        self, formula: np.ndarray, part: Part | None, *, layer: int | None = None,
        blocks: Sequence[Block] = (),
    ) -> int:  # fmt: skip
        """Something that no tensor stands for is there from now on, for the allocator in these
        blocks, and belongs to a layer; gives its number."""
        return self.recording.make(Birth(formula, self.place, part, layer), blocks)

    def release(self, number: int) -> None:
        """What was reserved is there no more."""
        self.recording.end(number)

    def count(self, operations: int) -> None:
        """A stand-in would have computed this much."""
        self.work.count(self.place, operations)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.is_view:
            return func(*args, **(kwargs or {}))
        made, cost, is_new = self._memory.make(func, args, kwargs or {})
        first = len(self.recording.births)
        if is_new:
            self._add(made.untyped_storage(), self._part)
        else:
            self._see((made,))
        if self.place.stage in ("states", "optimizer"):
            for birth in self.recording.births[first:]:
                birth.layer = self._layer_of(args)
        if self.place.turn == 1:
            self.work.add(self.place, cost)
        return made

    def _layer_of(self, args: tuple[Any, ...]) -> int | None:
        """Whose weight, gradient or state an optimizer works on, which goes weight by weight."""
        keys = [tensor.untyped_storage()._cdata for tensor in tensors_in(args)]
        known = [self.recording.births[self._numbers[key]] for key in keys if key in self._numbers]
        layers = [birth.layer for birth in known if birth.layer is not None]
        if layers:
            self._owner = layers[0]
        return self._owner if known else None

    # ------------------------------------------------------------ instead of LiveBytes' own

    def _add(self, storage: Any, part: Part) -> None:
        key = storage._cdata
        self._alive[key] = (part, 0)
        self._watch[key] = weakref.ref(storage, partial(self._on_died, key))
        formula = self._sizes.formula(storage.nbytes())
        self._numbers[key] = self.recording.make(Birth(formula, self.place, None))

    def hold(self, tensors: Any, part: Part, *, layer: int | None = None) -> None:
        """As :meth:`LiveBytes.hold`, for all the time that they are alive; they are a layer's."""
        tensors = list(tensors)
        for tensor in tensors:
            self._see((tensor,))
            if (key := tensor.untyped_storage()._cdata) in self._numbers:
                birth = self.recording.births[self._numbers[key]]
                birth.part, birth.layer = part, layer

    def _on_died(self, key: int, _: object) -> None:
        number = self._numbers.pop(key)
        del self._alive[key], self._watch[key]
        self.recording.end(number)
        self._end_twin(number)

    # ------------------------------------------------------------ a second time

    def accumulated(self, gradient: torch.Tensor) -> None:
        """A weight has its whole gradient of this turn."""
        number = self._numbers.get(gradient.untyped_storage()._cdata)
        if number is not None:
            self._accumulated.append((len(self.recording.events), number))

    @contextmanager
    def repeated(self, *, turn: int) -> Iterator[None]:
        """Write down what happens in the block once more, as another turn's: the same, but that its
        gradients are added to those of the first, and then go. It takes a trace's time only once.
        """
        found = self.recording
        first_event, first_border = len(found.events), len(found.borders)
        yield
        borders, events = found.borders[first_border:], found.events[first_event:]
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
        born, blocks = self.recording.births[number], self.recording.blocks.get(number, ())
        part = None if born.part == "gradients" else born.part
        self._twins[number] = self.reserve(born.formula, part, blocks=blocks)

    def _end_twin(self, number: int) -> None:
        if (twin := self._twins.pop(number, None)) is not None:
            self.recording.end(twin)
