"""Puts several short samples into one row: best fit decreasing, the same result every time.

Best fit leaves a few rows half empty where samples are long. Those are filled anew, each with the
samples that leave the least room, as far as a short search finds them (the "minimum bin slack" of
J. Gupta and J. Ho, 1999), as long as that takes fewer rows.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

Row = tuple[int, ...]
"""The samples of one row, by index."""


def unpacked(count: int) -> list[Row]:
    """A row for each sample."""
    return [(index,) for index in range(count)]


_EMPTIEST = 64
"""Rows that are filled anew together."""
_TRIES = 100
"""Samples that are tried in the search for what fills a row."""


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
    return _tightened([tuple(row) for row in rows], lengths, max_length)


def _tightened(rows: list[Row], lengths: Sequence[int], max_length: int) -> list[Row]:
    """The rows, or fewer."""
    while len(rows) > 1:
        order = sorted(range(len(rows)), key=lambda row: sum(lengths[i] for i in rows[row]))
        chosen = set(order[:_EMPTIEST])
        samples = [index for row in sorted(chosen) for index in rows[row]]
        anew = _filled(samples, lengths, max_length)
        if len(anew) >= len(chosen):
            break
        rows = [row for place, row in enumerate(rows) if place not in chosen] + anew
    return rows


def _filled(samples: list[int], lengths: Sequence[int], max_length: int) -> list[Row]:
    """Rows that begin with the longest sample left, with those that best fill the rest."""
    left = sorted(samples, key=lambda index: (-lengths[index], index))
    rows: list[Row] = []
    while left:
        first, *others = left
        search = _Search([lengths[index] for index in others], max_length - lengths[first])
        row = search.found()
        rows.append((first, *(others[place] for place in row)))
        taken = set(row)
        left = [index for place, index in enumerate(others) if place not in taken]
    return rows


class _Search:
    """Looks for the lengths, of some that fall, that together come closest to a room."""

    def __init__(self, lengths: list[int], room: int) -> None:
        self._lengths = lengths
        self._room = room
        self._best: list[int] = []
        self._most = 0
        self._tries = _TRIES

    def found(self) -> list[int]:
        """Their places."""
        self._go_on([], 0, 0)
        return self._best

    def _go_on(self, chosen: list[int], begin: int, total: int) -> None:
        if total > self._most:
            self._best, self._most = list(chosen), total
        before = 0
        for place in range(begin, len(self._lengths)):
            if self._most == self._room or not self._tries:
                return
            length = self._lengths[place]
            if length > self._room - total or length == before:
                continue
            before = length
            self._tries -= 1
            self._go_on([*chosen, place], place + 1, total + length)
