"""Counts what a step computes and moves, which its time is estimated from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import flop_registry

from engine.worker.trace.live_bytes import tensors_in
from engine.worker.trace.place import Place
from engine.worker.trace.sizes import Sizes

_Counts = dict[Place, Counter[int]]
"""How often each number came, by stretch."""
_PRODUCT = torch.ops.aten.mm.default


class Cost(NamedTuple):
    """What an operation computes and moves."""

    operations: int
    moved: list[int]
    """Bytes of each tensor."""


class Work:
    """Operations and bytes, by stage; the formulas are made at the end, one for each number."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._flops: _Counts = {}
        self._moved: _Counts = {}

    def add(self, place: Place, cost: Cost) -> None:
        """An operation."""
        if cost.operations:
            self.count(place, cost.operations)
        _counted(self._moved, place).update(cost.moved)

    def count(self, place: Place, operations: int) -> None:
        """Floating-point operations of something that is not seen otherwise."""
        _counted(self._flops, place)[operations] += 1

    def flops(self, stage: str, but: Container[int | None] = ()) -> np.ndarray:
        """Floating-point operations in a stage of the first turn, ``but`` for some layers."""
        return self._sum(self._flops, stage, but)

    def moved(self, stage: str, but: Container[int | None] = ()) -> np.ndarray:
        """Bytes read and written in a stage of the first turn, ``but`` for some layers."""
        return self._sum(self._moved, stage, but)

    def _sum(self, counts: _Counts, stage: str, but: Container[int | None]) -> np.ndarray:
        total = self._sizes.formula(0).copy()
        for place, numbers in counts.items():
            if place[:2] != (1, stage) or place.layer in but:
                continue
            for number, times in numbers.items():
                total += times * _of_positions(self._sizes.formula(number))
        return total


def _counted(counts: _Counts, place: Place) -> Counter[int]:
    numbers = counts.get(place)
    if numbers is None:
        numbers = counts[place] = Counter()
    return numbers


def cost_of(func: Any, args: Any, kwargs: Any, made: Any) -> Cost:
    """Of an operation with what it took and made."""
    moved = [value.numel() * value.element_size() for value in tensors_in((*args, made))]
    return Cost(_operations(func, args, kwargs, made), moved)


def _operations(func: Any, args: Any, kwargs: Any, made: Any) -> int:
    """As torch counts them."""
    if func is _PRODUCT:  # Nearly all of them; torch's own way takes ten times as long.
        left, right = args
        return int(2 * left.shape[0] * left.shape[1] * right.shape[1])
    count = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=made))


def _of_positions(formula: np.ndarray) -> np.ndarray:
    """All tiles of the head together have all positions: b·s - b, not a tile's rows."""
    if not formula[8]:
        return formula
    whole = formula.copy()
    whole[1] -= formula[8]
    whole[2] += formula[8]
    whole[8] = 0
    return whole
