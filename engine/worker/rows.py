"""How samples are put into rows: of millions of rows there is no list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt

from engine.worker import large

Ints = npt.NDArray[np.int64]
Row: TypeAlias = tuple[int, ...]
"""The samples of one row, by index."""


class _Rows(Sequence[Row]):
    """What all rows are: a sequence that makes each row as it is asked for."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self._row(place) for place in places]
        return self._row(places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _row(self, place: int) -> Row:
        raise NotImplementedError


class Singles(_Rows):
    """A row for each sample."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def _row(self, place: int) -> Row:
        return (place,)

    def sums(self, lengths: Ints) -> Ints:
        """Of each row the sum of its samples' lengths."""
        return lengths


class RowList(_Rows):
    """Rows of several samples each."""

    def __init__(self, samples: npt.NDArray[np.int32], starts: Ints) -> None:
        """``samples`` of all rows, one behind the other; ``starts`` says where those of each row
        begin, and where the last one's end."""
        self._samples = samples
        self._starts = starts

    @classmethod
    def of(cls, samples: Ints, row_of: npt.NDArray[np.int32]) -> RowList:
        """Samples in the order in which they went into rows, and the row of each."""
        sizes = np.zeros(0, np.int64)
        for part in large.parts(row_of):
            here = np.bincount(row_of[part], minlength=len(sizes))
            here[: len(sizes)] += sizes
            sizes = here
        starts = _starts_of(sizes)
        filled = starts[:-1].copy()
        found = large.empty(len(samples), np.int32)
        for part in large.parts(row_of, samples, found):
            order = np.argsort(row_of[part], kind="stable")
            rows, first, often = np.unique(
                row_of[part][order], return_index=True, return_counts=True
            )
            places = np.repeat(filled[rows] - first, often) + np.arange(len(order))
            large.put(found, places, samples[part][order])
            filled[rows] += often
        return cls(found, starts)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def _row(self, place: int) -> Row:
        return tuple(self._samples[self._starts[place] : self._starts[place + 1]].tolist())

    def sums(self, lengths: Ints) -> Ints:
        """Of each row the sum of its samples' lengths."""
        found = large.empty(len(self), np.int64)
        for first, last in self._parts():
            begins, end = self._starts[first:last], self._starts[last]
            here = large.at(lengths, self._samples[begins[0] : end].astype(np.int64))
            found[first:last] = np.add.reduceat(here, begins - begins[0])
            large.give_back(found)
        return found

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Rows from and up to, that do not have too many samples to be looked at together."""
        first = 0
        while first < len(self):
            most = self._starts[first] + large.CHUNK
            last = max(first + 1, int(np.searchsorted(self._starts, most, "right")) - 1)
            yield first, last
            large.give_back(self._samples, self._starts)
            first = last

    def without(self, gone: Ints, added: Sequence[Row]) -> RowList:
        """All but some of the rows, and others behind them."""
        stays = np.ones(len(self), np.bool_)
        stays[gone] = False
        sizes = np.diff(self._starts)
        more = np.array([len(row) for row in added], np.int64)
        starts = _starts_of(np.concatenate([sizes[stays], more]))
        found = large.empty(int(starts[-1]), np.int32)
        at = 0
        for first, last in self._parts():
            own = self._samples[self._starts[first] : self._starts[last]]
            own = own[np.repeat(stays[first:last], sizes[first:last])]
            found[at : at + len(own)] = own
            at += len(own)
            large.give_back(found)
        found[at:] = [sample for row in added for sample in row]
        return RowList(found, starts)


AnyRows: TypeAlias = Singles | RowList


def _starts_of(sizes: Ints) -> Ints:
    starts = large.empty(len(sizes) + 1, np.int64)
    starts[0] = 0
    np.cumsum(sizes, out=starts[1:])
    return starts
