"""How much torch's caching allocator holds for what was asked of it. Pure.

The rules of ``c10/cuda/CUDACachingAllocator.cpp``, without its expandable segments: requests are
rounded up to 512 B; up to 1 MiB they are cut from segments of 2 MiB, up to 10 MiB from segments of
20 MiB, above that they get a segment of their own, rounded up to 2 MiB; the best fitting free block
is taken, split if enough would be left over, and joined again with its free neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

import msgspec

MIB = 1 << 20
_ROUND = 512
_SMALL_UP_TO = MIB
_SMALL_SEGMENT = 2 * MIB
_MIDDLE_UP_TO = 10 * MIB
_MIDDLE_SEGMENT = 20 * MIB
_LARGE_ROUND = 2 * MIB


class _Block(msgspec.Struct, eq=False):
    start: int
    size: int
    is_small: bool
    before: _Block | None = None
    after: _Block | None = None
    is_free: bool = False


class Allocator:
    """One stream of one card, at first empty."""

    def __init__(self) -> None:
        self.reserved = 0
        """Bytes of all segments. They are never given back."""
        self.allocated = 0
        """Bytes of all blocks that are in use, rounded up."""
        self._end = 0
        self._used: dict[int, _Block] = {}
        self._free: dict[bool, list[tuple[int, int, _Block]]] = {True: [], False: []}
        """Size and start of free blocks, and they, by pool, smallest first."""

    def allocate(self, key: int, size: int) -> None:
        """Take ``size`` bytes; ``key`` gives them back."""
        if size <= 0:
            return
        size = -(-size // _ROUND) * _ROUND
        block = self._take(size)
        self._split(block, size)
        self._used[key] = block
        self.allocated += block.size

    def free(self, key: int) -> None:
        """Give back what was taken under this key; nothing if nothing was."""
        block = self._used.pop(key, None)
        if block is None:
            return
        self.allocated -= block.size
        for neighbour in (block.before, block.after):
            if neighbour is not None and neighbour.is_free:
                self._remove(neighbour)
                block = _joined(block, neighbour)
        self._put(block)

    def _take(self, size: int) -> _Block:
        is_small = size <= _SMALL_UP_TO
        pool = self._free[is_small]
        place = bisect_left(pool, (size, -1))
        if place < len(pool):
            block = pool.pop(place)[2]
            block.is_free = False
            return block
        segment = _segment_size(size)
        self.reserved += segment
        self._end += segment
        return _Block(start=self._end - segment, size=segment, is_small=is_small)

    def _split(self, block: _Block, size: int) -> None:
        left = block.size - size
        if left < _ROUND or (not block.is_small and left <= _SMALL_UP_TO):
            return
        rest = _Block(
            start=block.start + size, size=left, is_small=block.is_small,
            before=block, after=block.after,
        )  # fmt: skip
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        self._put(rest)

    def _put(self, block: _Block) -> None:
        block.is_free = True
        insort(self._free[block.is_small], (block.size, block.start, block))

    def _remove(self, block: _Block) -> None:
        block.is_free = False
        pool = self._free[block.is_small]
        del pool[bisect_left(pool, (block.size, block.start))]


def _segment_size(size: int) -> int:
    if size <= _SMALL_UP_TO:
        return _SMALL_SEGMENT
    if size < _MIDDLE_UP_TO:
        return _MIDDLE_SEGMENT
    return -(-size // _LARGE_ROUND) * _LARGE_ROUND


def _joined(one: _Block, other: _Block) -> _Block:
    first, second = (one, other) if one.start < other.start else (other, one)
    first.size += second.size
    first.after = second.after
    if second.after is not None:
        second.after.before = first
    return first


def replay(events: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Peak of what was asked for and of what is reserved, in bytes. An event is a key and a size,
    or a key and -1 where it is given back."""
    allocator, asked, most = Allocator(), 0, 0
    sizes: dict[int, int] = {}
    for key, size in events:
        if size >= 0:
            allocator.allocate(key, size)
            sizes[key] = size
            asked += size
            most = max(most, asked)
        else:
            allocator.free(key)
            asked -= sizes.pop(key, 0)
    return most, allocator.reserved
