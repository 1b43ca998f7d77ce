"""Arrays with a number for each of millions of samples, of which little is ever in memory.

Beyond a few megabytes they lie in a file: one that is there already, or one without a name that
goes with the process. Whoever goes through them does so in parts, and gives the pages back behind
him; what was written stays in the file. Where the system cannot be told so (Windows), it takes the
pages back by itself when memory gets short.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import paths

Ints = npt.NDArray[np.int64]
CHUNK = 1 << 18
"""Numbers looked at together."""
IN_MEMORY = 4 << 20
"""Bytes of an array up to which it needs no file."""
_BLOCK = 8 << 20
"""Bytes of an array that are looked at together."""
_SPARSE = 16
"""Numbers that are looked for among so many others each."""
_DONT_NEED = getattr(mmap, "MADV_DONTNEED", None)


def mapped(path: Path, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """What is in a file, to be read only. Raises ``OSError``."""
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        if not (size := os.fstat(file.fileno()).st_size):
            return np.zeros(0, kind)
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(size // np.dtype(kind).itemsize, kind, whole)


def empty(shape: int | tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array to be filled."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, kind)
    with contextlib.suppress(OSError):  # As on a full disk: memory has to do then.
        return np.ndarray(shape, kind, _scratch(size))
    return np.empty(shape, kind)


def _scratch(size: int) -> mmap.mmap:
    folder = paths.make_home() / "encoded"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # Of a file with holes the disk may be full only when a page is written: that kills.
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)


def give_back(*arrays: npt.NDArray[Any]) -> None:
    """Nothing of these need stay in memory; they are as they were."""
    if _DONT_NEED is None:
        return
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(_DONT_NEED)


def parts(*arrays: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices that are all of these arrays, of one length, together; the pages of all of them are
    given back after each."""
    for at in range(0, len(arrays[0]), CHUNK):
        yield slice(at, min(at + CHUNK, len(arrays[0])))
        give_back(*arrays)


def counting(count: int) -> Ints:
    """The numbers from 0 on."""
    found = empty(count, np.int64)
    for part in parts(found):
        found[part] = np.arange(part.start, part.stop)
    return found


def some_of(count: int, most: int) -> Ints:
    """Places of some of so many, in order: always the same, and as if at random, so that those of
    data in which kinds of rows take turns are of all kinds."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    chance = np.random.default_rng(count)
    return np.sort(chance.choice(count, most, replace=False, shuffle=False)).astype(np.int64)


def at(array: npt.NDArray[Any], places: Ints) -> npt.NDArray[Any]:
    """What is at these places, of which there are not many; wherever they are, few pages are in
    memory at a time."""
    if array.nbytes <= _BLOCK or not len(places):
        return array[places]
    found = np.empty((len(places), *array.shape[1:]), array.dtype)
    for own, here in _by_blocks(array, places):
        found[own] = array[here]
    return found


def put(array: npt.NDArray[Any], places: Ints, numbers: npt.NDArray[Any]) -> None:
    """Put these numbers there, in the same way."""
    for own, here in _by_blocks(array, places):
        array[here] = numbers[own]


def _by_blocks(array: npt.NDArray[Any], places: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The places as they lie near to each other: which of them these are, and they."""
    many = max(1, _BLOCK * len(array) // array.nbytes)
    order = np.argsort(places, kind="stable")
    rising = places[order]
    at = 0
    while at < len(rising):
        end = at + int(np.searchsorted(rising[at:], rising[at] + many))
        yield order[at:end], rising[at:end]
        give_back(array)
        at = end


def taken(array: npt.NDArray[Any], places: Ints) -> npt.NDArray[Any]:
    """What is at these places, as :func:`at` has it of few."""
    found = empty(len(places), array.dtype)
    for part in parts(found, places):
        found[part] = at(array, places[part])
    return found


def places_of(mask: npt.NDArray[np.bool_]) -> Ints:
    """Where it is true, in order."""
    found = empty(sum(int(np.count_nonzero(mask[part])) for part in parts(mask)), np.int64)
    at = 0
    for part in parts(mask, found) if len(found) else ():
        here = np.flatnonzero(mask[part]) + part.start
        found[at : at + len(here)] = here
        at += len(here)
    return found


def are_in(array: Ints, some: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Of each number whether it is one of some."""
    wanted = np.sort(np.asarray(some, np.int64))
    found = empty(len(array), np.bool_)
    for part in parts(found, array):
        here = array[part]
        first = np.searchsorted(wanted, here.min())
        last = np.searchsorted(wanted, here.max(), "right")
        found[part] = np.isin(here, wanted[first:last])
    return found


def flags(
    test: Callable[[slice], npt.NDArray[np.bool_]], *arrays: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """What the test says of each part of these arrays, together."""
    found = empty(len(arrays[0]), np.bool_)
    for part in parts(found, *arrays):
        found[part] = test(part)
    return found


def over(array: Ints, border: int) -> npt.NDArray[np.bool_]:
    """Of each number whether it is greater."""
    return flags(lambda part: array[part] > border, array)


def moved(places: Ints) -> npt.NDArray[np.bool_]:
    """Of each whether it names another place than its own."""
    return flags(lambda part: places[part] != np.arange(part.start, part.stop), places)


def total(array: npt.NDArray[Any]) -> int:
    """Of all numbers; of flags how many are true."""
    return sum(int(array[part].sum()) for part in parts(array))


def counts_of(array: Ints) -> tuple[Ints, Ints]:
    """The different numbers in it, rising, and how often each is there."""
    numbers, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for part in parts(array):
        here, often = np.unique(array[part], return_counts=True)
        every = np.union1d(numbers, here)
        sums = np.zeros(len(every), np.int64)
        sums[np.searchsorted(every, numbers)] = counts
        sums[np.searchsorted(every, here)] += often
        numbers, counts = every, sums
    return numbers, counts


def in_order(array: Ints) -> Ints:
    """Places of the numbers as they rise, of the same ones the first first. For numbers of which
    there are many of each."""
    if len(array) <= CHUNK:
        return np.argsort(array, kind="stable")
    numbers, counts = counts_of(array)
    begins = np.cumsum(counts) - counts
    found = empty(len(array), np.int64)
    for part in parts(array, found):
        own = np.argsort(array[part], kind="stable")
        here, first, often = np.unique(array[part][own], return_index=True, return_counts=True)
        at = np.searchsorted(numbers, here)
        put(found, np.repeat(begins[at] - first, often) + np.arange(len(own)), own + part.start)
        begins[at] += often
    return found


def first_by(
    count: int, key: Callable[[slice], npt.NDArray[Any]], *arrays: npt.NDArray[Any],
    last: bool = False,
) -> Ints:  # fmt: skip
    """So many places that would come first, sorted by the key of each part; of the same ones the
    first, or the ``last``, first."""
    places = np.zeros(0, np.int64)
    keys = np.zeros(0, np.int64)
    for part in parts(*arrays):
        here = np.arange(part.start, part.stop)
        places, keys = np.concatenate([places, here]), np.concatenate([keys, key(part)])
        order = np.lexsort((-places if last else places, keys))[:count]
        places, keys = places[order], keys[order]
    return places


def found_in(rising: Ints, numbers: Ints) -> Ints:
    """Where these numbers are among some that rise, from 0 on and each once."""
    found = empty(len(numbers), np.int64)
    if not len(numbers):
        return found
    # None is further ahead than as many as are left out.
    left_out = int(rising[-1]) + 1 - len(rising)
    step = max(1, CHUNK // _SPARSE)
    for begin in range(0, len(numbers), step):
        here = numbers[begin : begin + step]
        first, last = max(0, int(here.min()) - left_out), int(here.max()) + 1
        found[begin : begin + step] = first + np.searchsorted(rising[first:last], here)
        give_back(rising, numbers, found)
    return found
