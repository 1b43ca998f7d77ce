"""Puts several short samples into one row: best fit decreasing, the same result every time."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

Row = tuple[int, ...]
"""The samples of one row, by index."""


def unpacked(count: int) -> list[Row]:
    """A row for each sample."""
    return [(index,) for index in range(count)]


def packed(lengths: Sequence[int], max_length: int) -> list[Row]:
    """Rows of at most ``max_length`` tokens. Each sample goes, longest first, into the row in which
    it leaves the least room. A sample longer than ``max_length`` gets a row of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []
    """(free tokens, row), smallest first."""
    for index in order:
        length = int(lengths[index])
        place = bisect.bisect_left(room, (length, 0))
        if place == len(room):
            rows.append([index])
            left, row = max_length - length, len(rows) - 1
        else:
            free, row = room.pop(place)
            rows[row].append(index)
            left = free - length
        if left > 0:
            bisect.insort(room, (left, row))
    return [tuple(row) for row in rows]
