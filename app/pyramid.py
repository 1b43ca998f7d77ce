"""Curves of any length, drawn from at most a few thousand points.

A :class:`Column` is a growing array of floats. A :class:`Pyramid` lies over one and keeps, for
blocks of 8, 64, 512 … values, the least and the greatest, so that a view of a million values costs
what a view of a thousand does. Appending only writes the value; the blocks are brought up to date
by the next view, or before it where a long past comes in. NaN is a gap: it never counts as an
extreme.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
BLOCK = 8
MAX_POINTS = 2000
FIRST_ROOM = 1024


class Column:
    """An array of floats that grows at its end, in amortised constant time a value.

    As long as only NaN was added it takes no memory.
    """

    def __init__(self, room: int = FIRST_ROOM, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dtype = dtype
        self._wanted = room
        self._room: Floats = np.empty(0, dtype)
        self._length = 0
        self._is_void = True

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> Floats:
        """What is in it; a view that the next change may make stale."""
        if self._is_void:
            return np.broadcast_to(np.nan, self._length)
        return self._room[: self._length]

    @property
    def is_void(self) -> bool:
        """Nothing but NaN was ever added."""
        return self._is_void

    def append(self, value: float) -> None:
        """Add one value."""
        if self._is_void and value != value:
            self._length += 1
            return
        self._reserve(self._length + 1)
        self._room[self._length] = value
        self._length += 1

    def extend_void(self, count: int) -> None:
        """Add NaN, so many times."""
        if not self._is_void:
            self._reserve(self._length + count)
            self._room[self._length : self._length + count] = np.nan
        self._length += count

    def extend(self, values: Floats) -> None:
        """Add many values."""
        if self._is_void and np.isnan(values).all():
            self._length += len(values)
            return
        self._reserve(self._length + len(values))
        self._room[self._length : self._length + len(values)] = values
        self._length += len(values)

    def truncate(self, length: int) -> None:
        """Drop what lies behind the first ``length`` values."""
        self._length = min(self._length, length)

    def reserve(self, length: int) -> None:
        """Make room for ``length`` values in all, so that adding them moves nothing."""
        self._wanted = max(self._wanted, length)
        if length > len(self._room) and not self._is_void:
            self._move(length)

    def _reserve(self, length: int) -> None:
        if self._is_void:
            self._room = np.empty(max(length, self._wanted), self.dtype)
            self._room[: self._length] = np.nan
            self._is_void = False
        elif length > len(self._room):
            self._move(max(length, 2 * len(self._room)))

    def _move(self, size: int) -> None:
        room = np.empty(size, self.dtype)
        room[: self._length] = self.values
        self._room = room


class Pyramid:
    """Least and greatest values of a column, by block, for quick views of any stretch."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._levels: list[tuple[Column, Column]] = []
        self._built = 0

    def truncate(self, length: int) -> None:
        """The column was cut to ``length``; what follows may differ."""
        self._built = min(self._built, length)

    def view(
        self, xs: Floats, x0: float, x1: float, max_points: int = MAX_POINTS
    ) -> tuple[Floats, Floats]:
        """At most ``max_points`` points of the curve between ``x0`` and ``x1``, for drawing.

        ``xs`` are the positions of the column's values, ascending and without NaN. One point on
        either side is included, so that the line reaches the edge. Between them the least and the
        greatest value of what is shown are always among the points.
        """
        ys = self._column.values
        first = int(np.searchsorted(xs, x0, side="left"))
        last = int(np.searchsorted(xs, x1, side="right"))
        outer_first, outer_last = max(0, first - 1), min(len(ys), last + 1)
        if self._column.is_void:
            return np.empty(0), np.empty(0)
        if outer_last - outer_first <= max_points:
            return xs[outer_first:outer_last].copy(), ys[outer_first:outer_last].copy()
        starts, low, high = self._buckets(first, last, (max_points - 2) // 2)
        points = np.empty(2 * len(starts) + 2)
        at = np.empty_like(points)
        points[1:-1:2], points[2:-1:2] = low, high
        at[1:-1:2] = at[2:-1:2] = xs[starts]
        points[0], at[0] = ys[outer_first], xs[outer_first]
        points[-1], at[-1] = ys[outer_last - 1], xs[outer_last - 1]
        return at, points

    def _buckets(
        self, first: int, last: int, most: int
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Start, least and greatest of at most ``most`` buckets that cover [first, last).

        Buckets lie on whole multiples of their width, so that they stay put while a curve grows.
        """
        self.catch_up()
        level, block = self._level_for(last - first, most)
        width = block * max(1, -(-(last - first) // (block * (most - 2))))
        inner_first, inner_last = -(-first // width) * width, last // width * width
        starts = np.arange(inner_first, inner_last, width)
        low, high = self._reduce(level, starts // block, inner_last // block)
        ends = [(first, inner_first)] * (first < inner_first)
        tail = [(inner_last, last)] * (inner_last < last)
        for begin, end in ends + tail:
            piece = self._column.values[begin:end]
            where = 0 if begin == first and begin < inner_first else len(starts)
            starts = np.insert(starts, where, begin)
            low = np.insert(low, where, np.fmin.reduce(piece))
            high = np.insert(high, where, np.fmax.reduce(piece))
        return starts, low, high

    def _level_for(self, length: int, most: int) -> tuple[int, int]:
        """The coarsest level (0 is the column) that still has enough blocks, and their width."""
        level, block = 0, 1
        while level < len(self._levels) and length // (block * BLOCK) >= most:
            level, block = level + 1, block * BLOCK
        return level, block

    def _reduce(self, level: int, begins: NDArray[np.int64], end: int) -> tuple[Floats, Floats]:
        if not len(begins):
            return np.empty(0), np.empty(0)
        if level == 0:
            low = high = self._column.values
        else:
            low, high = (column.values for column in self._levels[level - 1])
        offsets = begins - begins[0]
        return (
            np.fmin.reduceat(low[begins[0] : end], offsets),
            np.fmax.reduceat(high[begins[0] : end], offsets),
        )

    @property
    def arrears(self) -> int:
        """Values that no block covers yet."""
        return len(self._column) - self._built

    def catch_up(self) -> None:
        """Bring every level up to date with the column, from the first block that changed."""
        built, length = self._built, len(self._column)
        if built == length or self._column.is_void:
            return
        low = high = self._column.values
        level = 0
        while len(low) > BLOCK:
            if level == len(self._levels):
                self._levels.append(self._new_level())
                built = 0
            built //= BLOCK
            self._renew(self._levels[level], low, high, built)
            low, high = (column.values for column in self._levels[level])
            level += 1
        del self._levels[level:]
        self._built = length

    def _new_level(self) -> tuple[Column, Column]:
        dtype = self._column.dtype
        return Column(dtype=dtype), Column(dtype=dtype)

    @staticmethod
    def _renew(level: tuple[Column, Column], low: Floats, high: Floats, block: int) -> None:
        begins = np.arange(0, len(low) - block * BLOCK, BLOCK)
        for column, values, reduce in zip(level, (low, high), (np.fmin, np.fmax), strict=True):
            column.truncate(block)
            column.extend(reduce.reduceat(values[block * BLOCK :], begins))
