"""Hashes of rows in a file, of millions without having them all in memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from engine.worker import large

BYTES = 32
_CHUNK = 1 << 18
"""Hashes read together."""
_GROUP = 1 << 20
"""Hashes that are sorted together."""
_BITS = 16
"""Of a number, looked at together."""
Heads = npt.NDArray[np.uint64]
Matrix = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


class RowHashes(Sequence[bytes]):
    """One behind the other in a file; read where they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = path.stat().st_size // BYTES

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Raises IndexError, ``OSError``."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = range(self._count)[index]
        with self._path.open("rb") as file:
            file.seek(place * BYTES)
            return file.read(BYTES)

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while found := file.read(BYTES):
                yield found

    @cached_property
    def heads(self) -> Heads:
        """The first eight bytes of each, as numbers that are in the same order."""
        heads: Heads = large.empty(self._count, np.uint64)
        with self._path.open("rb") as file:
            for at in range(0, self._count, _CHUNK):
                heads[at : at + _CHUNK] = _heads(file.read(_CHUNK * BYTES))
                large.give_back(heads)
        return heads

    @cached_property
    def first(self) -> Places:
        """As :func:`first_copies` has it."""
        return _first_copies(self)

    @cached_property
    def _matrix(self) -> Matrix:
        return large.mapped(self._path, np.uint8).reshape(-1, BYTES)

    def at(self, places: Places) -> Matrix:
        """Those at some places, not many: shape (places, 32)."""
        return large.at(self._matrix, places)


class SomeHashes(Sequence[bytes]):
    """Some of the hashes in a file, in another order if need be."""

    def __init__(self, whole: RowHashes | SomeHashes, places: Places) -> None:
        self._whole = whole
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Raises IndexError, ``OSError``."""
        if isinstance(index, slice):
            return [self._whole[int(place)] for place in self._places[index]]
        return self._whole[int(self._places[index])]

    @cached_property
    def heads(self) -> Heads:
        """The first eight bytes of each, as numbers that are in the same order."""
        return large.taken(self._whole.heads, self._places)

    @cached_property
    def first(self) -> Places:
        """As :func:`first_copies` has it."""
        return _first_copies(self)

    def at(self, places: Places) -> Matrix:
        """Those at some places, not many: shape (places, 32)."""
        return self._whole.at(self._places[places])


def heads_of(hashes: Sequence[bytes]) -> Heads:
    """The first eight bytes of each, as numbers that are in the same order."""
    if isinstance(hashes, RowHashes | SomeHashes):
        return hashes.heads
    return _heads(b"".join(hashes))


def _heads(data: bytes) -> Heads:
    return np.frombuffer(data, ">u8").reshape(-1, BYTES // 8)[:, 0].astype(np.uint64)


def _at(hashes: Sequence[bytes], places: Places) -> Matrix:
    if isinstance(hashes, RowHashes | SomeHashes):
        return hashes.at(places)
    chosen = b"".join(hashes[place] for place in places.tolist())
    return np.frombuffer(chosen, np.uint8).reshape(-1, BYTES)


# ---------------------------------------------------------------- the smallest


def smallest(hashes: Sequence[bytes], count: int) -> Places:
    """Places of the ``count`` smallest, in order; of the same ones those that come first."""
    if not count:
        return np.zeros(0, np.int64)
    heads = heads_of(hashes)
    border = _in_order(heads, count - 1)
    chosen = large.flags(lambda part: heads[part] < border, heads)
    # Eight bytes are as good as all but for copies, and one pair in billions.
    likely = large.places_of(large.flags(lambda part: heads[part] == border, heads))
    left = count - large.total(chosen)
    if all((_at(hashes, likely[p]) == _at(hashes, likely[:1])).all() for p in large.parts(likely)):
        chosen[likely[:left]] = True
    else:
        ends = heapq.nsmallest(left, likely.tolist(), key=lambda place: (hashes[place], place))
        chosen[ends] = True
    return large.places_of(chosen)


def _in_order(heads: Heads, rank: int) -> np.uint64:
    """The number that would be at this place if they were sorted, found bit by bit."""
    found = 0
    for shift in range(64 - _BITS, -1, -_BITS):
        counts = np.zeros(1 << _BITS, np.int64)
        for part in large.parts(heads):
            # A shift by all 64 bits is none.
            high = heads[part] >> np.uint64(shift)
            if shift < 64 - _BITS:
                high = high[high >> np.uint64(_BITS) == np.uint64(found)]
            low = (high & np.uint64((1 << _BITS) - 1)).astype(np.int64)
            counts += np.bincount(low, minlength=1 << _BITS)
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, rank, "right"))
        rank -= int(ends[digit] - counts[digit])
        found = found << _BITS | digit
    return np.uint64(found)


# ---------------------------------------------------------------- copies


def first_copies(hashes: Sequence[bytes]) -> Places:
    """Of each hash the place of the first that is the same: its own, if it is that."""
    if isinstance(hashes, RowHashes | SomeHashes):
        return hashes.first
    return _first_copies(hashes)


def _first_copies(hashes: Sequence[bytes]) -> Places:
    found = _first_heads(heads_of(hashes))
    copies = large.places_of(large.moved(found))
    for part in large.parts(copies, found):
        some = copies[part]
        if not np.array_equal(_at(hashes, some), _at(hashes, large.at(found, some))):
            return _first_of_all(hashes)
    return found


def _first_heads(heads: Heads) -> Places:
    """Of each the place of the first with the same first eight bytes."""
    found = large.empty(len(heads), np.int64)
    bits = max(0, len(heads) // _GROUP).bit_length()
    for group in range(1 << bits):
        known, firsts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        for part in large.parts(heads, found):
            here = heads[part]
            own = np.arange(len(here))
            if bits:
                own = np.flatnonzero(here >> np.uint64(64 - bits) == np.uint64(group))
            new, first, which = np.unique(here[own], return_index=True, return_inverse=True)
            places = own[first] + part.start
            at = np.searchsorted(known, new)
            is_known = at < len(known)
            is_known[is_known] = known[at[is_known]] == new[is_known]
            places[is_known] = firsts[at[is_known]]
            found[part.start + own] = places[which]
            known = np.insert(known, at[~is_known], new[~is_known])
            firsts = np.insert(firsts, at[~is_known], places[~is_known])
    return found


def largest(hashes: Sequence[bytes], places: Places) -> int:
    """Of these places the one with the largest hash; of the same ones the last."""
    heads = large.taken(heads_of(hashes), places)
    found: list[int] = places[heads == heads.max()].tolist()
    return max(found, key=lambda place: (hashes[place], place))


def _first_of_all(hashes: Sequence[bytes]) -> Places:
    """The same, whatever the hashes have in common."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, place) for place, key in enumerate(hashes)], np.int64)
