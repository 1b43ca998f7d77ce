"""Counts the bytes of the tensors that are alive, whatever they lie on.

    with LiveBytes() as live:
        live.hold(model.parameters(), "weights")
        live.enter("forward", "activations")
        ...
    live.peaks["forward"]

It sees every operation below autograd and counts each storage once, from the operation that makes
it until the storage itself goes away. What a kernel takes for itself inside one operation is not
seen. Works for tensors on the meta device as for real ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.planning.form import Part

EVERYWHERE = ("cpu", "meta", "cuda")


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Use as a context around the work to be measured."""

    def __init__(self, devices: Collection[str] = EVERYWHERE, *, sees_inputs: bool = True) -> None:
        """``sees_inputs``: also count what was made elsewhere, once an operation reads it."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.peaks: dict[str, dict[Part, int]] = {}
        """By segment: what was alive at its peak."""
        self.segment = "start"
        self._part: Part = "transient"
        self._devices = devices
        self._sees_inputs = sees_inputs
        self._bytes: dict[Part, int] = {}
        self._most: dict[str, int] = {}
        self._alive: dict[int, tuple[Part, int]] = {}
        self._watch: dict[int, weakref.ref[Any]] = {}

    @property
    def peak(self) -> int:
        """The most bytes over all segments."""
        return max(self._most.values(), default=0)

    def most(self, segment: str) -> int:
        """The most bytes of a segment."""
        return self._most.get(segment, 0)

    def enter(self, segment: str, part: Part | None = None) -> None:
        """Another stretch begins; what is made in it is ``part`` unless somebody holds it."""
        self.segment = segment
        if part is not None:
            self._part = part
        self._look()

    def reset(self) -> None:
        """Forget all peaks; what is alive stays known."""
        self.peaks, self._most = {}, {}
        self._look()

    def hold(self, tensors: Iterable[torch.Tensor], part: Part) -> None:
        """These belong to ``part``, whether they are known or new."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if tensor.device.type not in self._devices:
                continue
            if storage._cdata in self._alive:
                self._move(storage._cdata, part)
            else:
                self._add(storage, part)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under this mode: torch need not guard each operation against it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if self._sees_inputs:
            self._see(args)
        self._see((made,))
        return made

    # ------------------------------------------------------------ inside

    def _see(self, values: Iterable[Any]) -> None:
        for tensor in tensors_in(values):
            if tensor.device.type in self._devices:
                storage = tensor.untyped_storage()
                if storage._cdata not in self._alive:
                    self._add(storage, self._part)

    def _add(self, storage: Any, part: Part) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive[key] = (part, size)
        self._watch[key] = weakref.ref(storage, partial(self._on_died, key))
        self._bytes[part] = self._bytes.get(part, 0) + size
        self.total += size
        self._look()

    def _move(self, key: int, part: Part) -> None:
        before, size = self._alive[key]
        self._alive[key] = (part, size)
        self._bytes[before] -= size
        self._bytes[part] = self._bytes.get(part, 0) + size

    def _on_died(self, key: int, _: object) -> None:
        part, size = self._alive.pop(key)
        del self._watch[key]
        self._bytes[part] -= size
        self.total -= size

    def _look(self) -> None:
        if self.total > self._most.get(self.segment, -1):
            self._most[self.segment] = self.total
            self.peaks[self.segment] = dict(self._bytes)


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among an operation's inputs or outputs, those in lists included."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
