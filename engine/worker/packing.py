"""Puts several short samples into one row: best fit decreasing, the same result every time.

Best fit leaves a few rows half empty where samples are long. Those are filled anew, each with the
samples that leave the least room, as far as a short search finds them (the "minimum bin slack" of
J. Gupta and J. Ho, 1999), as long as that takes fewer rows.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.rows import Row, RowList, Singles

Ints = npt.NDArray[np.int64]
_EMPTIEST = 64
"""Rows that are filled anew together."""
_TRIES = 100
"""Samples that are tried in the search for what fills a row."""


def unpacked(count: int) -> Singles:
    """A row for each sample."""
    return Singles(count)


def packed(lengths: Sequence[int] | Ints, max_length: int) -> RowList:
    """Rows of at most ``max_length`` tokens. Each sample goes, longest first, into the row in which
    it leaves the least room. A sample longer than ``max_length`` gets a row of its own.
    """
    sizes = np.asarray(lengths, np.int64)
    order = _longest_first(sizes)
    rows = RowList.of(order, _rows_of(sizes, order, max_length))
    return _tightened(rows, sizes, max_length)


def _longest_first(lengths: Ints) -> Ints:
    falling = large.empty(len(lengths), np.int64)
    for part in large.parts(falling, lengths):
        falling[part] = -lengths[part]
    return large.in_order(falling)


def _rows_of(lengths: Ints, order: Ints, max_length: int) -> npt.NDArray[np.int32]:
    """The row of each sample, in this order. Those of one length are dealt with together: as many
    as it can hold go into a row before the next one is the best fit."""
    found = large.empty(len(order), np.int32)
    rooms = _Rooms(max_length)
    numbers, counts = large.counts_of(lengths)
    at = 0
    for length, count in zip(numbers[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = at + count
        while at < end:
            rows = rooms.taken_by(length, end - at)
            found[at : at + len(rows)] = rows
            at += len(rows)
        large.give_back(found)
    return found


class _Rooms:
    """Rows that have room left, by how much it is."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._sizes: list[int] = []
        """Rising."""
        self._rows: dict[int, list[npt.NDArray[np.int32]]] = {}
        self._count = 0

    def taken_by(self, length: int, count: int) -> npt.NDArray[np.int32]:
        """The row of each of the next samples of this length, at most ``count``: those that go
        where there is least room enough."""
        place = bisect.bisect_left(self._sizes, max(length, 1))
        if place == len(self._sizes):
            return self._fill(self._new_rows(length, count), self._max_length, length, count)
        room = self._sizes.pop(place)
        rows = np.sort(np.concatenate(self._rows.pop(room)), kind="stable")
        most = -(-count // _fitting(length, room, count))
        if most < len(rows):
            self._add(room, rows[most:])
        return self._fill(rows[:most], room, length, count)

    def _new_rows(self, length: int, count: int) -> npt.NDArray[np.int32]:
        many = -(-count // _fitting(length, self._max_length, count))
        rows = np.arange(self._count, self._count + many, dtype=np.int32)
        self._count += many
        return rows

    def _fill(
        self, rows: npt.NDArray[np.int32], room: int, length: int, count: int
    ) -> npt.NDArray[np.int32]:
        """Put samples into rows with this much room, as many as there are or as go in."""
        each = _fitting(length, room, count)
        found = np.repeat(rows, each)[:count]
        rest = len(found) - each * (len(rows) - 1)
        whole = rows if rest == each else rows[:-1]
        self._add(room - each * length, whole)
        self._add(room - rest * length, rows[len(whole) :])
        return found

    def _add(self, room: int, rows: npt.NDArray[np.int32]) -> None:
        if room <= 0 or not len(rows):
            return
        if room not in self._rows:
            bisect.insort(self._sizes, room)
        self._rows.setdefault(room, []).append(rows)


def _fitting(length: int, room: int, count: int) -> int:
    """How many of ``count`` samples go into a row: of those without tokens all, and one that is
    too long goes into one by itself."""
    return max(1, room // length) if length else count


def _tightened(rows: RowList, lengths: Ints, max_length: int) -> RowList:
    """The rows, or fewer."""
    sums = rows.sums(lengths)
    emptiest = large.in_order(sums)
    gone = 0
    """Of these rows, the emptiest."""
    added: list[Row] = []
    while len(rows) - gone + len(added) > 1:
        # Rows that were added come after all others.
        here = emptiest[gone : gone + _EMPTIEST].tolist()
        found = [(int(sums[row]), row, rows[row]) for row in here]
        found += [
            (int(lengths[list(row)].sum()), len(rows) + place, row)
            for place, row in enumerate(added)
        ]
        chosen = sorted(found, key=lambda one: one[:2])[:_EMPTIEST]
        chosen.sort(key=lambda one: one[1])
        samples = list(chain.from_iterable(row for _, _, row in chosen))
        sizes = dict(zip(samples, lengths[samples].tolist(), strict=True))
        anew = _filled(samples, sizes, max_length)
        if len(anew) >= len(chosen):
            break
        taken = {place for _, place, _ in chosen}
        gone += sum(place < len(rows) for place in taken)
        added = [row for n, row in enumerate(added) if len(rows) + n not in taken] + anew
    return rows.without(emptiest[:gone], added) if added else rows


def _filled(samples: list[int], lengths: Mapping[int, int], max_length: int) -> list[Row]:
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
