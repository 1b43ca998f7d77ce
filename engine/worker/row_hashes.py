"""Hashes of rows in a file, of millions without having them all in memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

BYTES = 32
_CHUNK = 1 << 18
"""Hashes read together."""
Heads = npt.NDArray[np.uint64]
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

    def heads(self) -> Heads:
        """The first eight bytes of each, as numbers that are in the same order."""
        heads = np.empty(self._count, np.uint64)
        with self._path.open("rb") as file:
            for at in range(0, self._count, _CHUNK):
                heads[at : at + _CHUNK] = _heads(file.read(_CHUNK * BYTES))
        return heads

    def matrix(self) -> npt.NDArray[np.uint8]:
        """All of them, mapped: shape (hashes, 32)."""
        return np.memmap(self._path, np.uint8, "r", shape=(self._count, BYTES))


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

    def heads(self) -> Heads:
        """The first eight bytes of each, as numbers that are in the same order."""
        return heads_of(self._whole)[self._places]

    def matrix(self) -> npt.NDArray[np.uint8]:
        """All of them: shape (hashes, 32)."""
        return _matrix(self._whole)[self._places]


def heads_of(hashes: Sequence[bytes]) -> Heads:
    """The first eight bytes of each, as numbers that are in the same order."""
    if isinstance(hashes, RowHashes | SomeHashes):
        return hashes.heads()
    return _heads(b"".join(hashes))


def _heads(data: bytes) -> Heads:
    return np.frombuffer(data, ">u8").reshape(-1, BYTES // 8)[:, 0].astype(np.uint64)


def smallest(hashes: Sequence[bytes], count: int) -> list[int]:
    """Places of the ``count`` smallest, in order; of the same ones those that come first."""
    if not count:
        return []
    heads = heads_of(hashes)
    border = np.partition(heads, count - 1)[count - 1]
    below = np.flatnonzero(heads < border)
    # Eight bytes are as good as all but for copies, and one pair in billions.
    same = np.flatnonzero(heads == border).tolist()
    ends = heapq.nsmallest(count - len(below), same, key=lambda place: (hashes[place], place))
    found: list[int] = np.sort(np.concatenate([below, np.array(ends, np.int64)])).tolist()
    return found


def first_copies(hashes: Sequence[bytes]) -> Places:
    """Of each hash the place of the first that is the same: its own, if it is that."""
    heads = heads_of(hashes)
    order = np.argsort(heads, kind="stable")
    ordered = heads[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(heads)])
    del heads, ordered
    found = np.empty(len(order), np.int64)
    found[order] = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    copies = np.flatnonzero(found != np.arange(len(found)))
    whole = _matrix(hashes)
    for at in range(0, len(copies), _CHUNK):
        some = copies[at : at + _CHUNK]
        if not np.array_equal(whole[some], whole[found[some]]):
            return _first_copies(hashes)
    return found


def largest(hashes: Sequence[bytes], places: Places) -> int:
    """Of these places the one with the largest hash; of the same ones the last."""
    heads = heads_of(hashes)[places]
    found: list[int] = places[heads == heads.max()].tolist()
    return max(found, key=lambda place: (hashes[place], place))


def _matrix(hashes: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Shape (hashes, 32); not copied where they are in a file."""
    if not len(hashes):
        return np.zeros((0, BYTES), np.uint8)
    if isinstance(hashes, RowHashes | SomeHashes):
        return hashes.matrix()
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BYTES)


def _first_copies(hashes: Sequence[bytes]) -> Places:
    """The same, whatever the hashes have in common."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, place) for place, key in enumerate(hashes)], np.int64)
