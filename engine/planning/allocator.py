"""How much torch's caching allocator holds for what was asked of it. Pure.

The rules of ``c10/cuda/CUDACachingAllocator.cpp``, without its expandable segments: requests are
rounded up to 512 B; up to 1 MiB they are cut from segments of 2 MiB, up to 10 MiB from segments of
20 MiB, above that they get a segment of their own, rounded up to 2 MiB; the best fitting free block
is taken, split if enough would be left over, and joined again with its free neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import accumulate

MIB = 1 << 20
_ROUND = 512
_SMALL_UP_TO = MIB
_SMALL_SEGMENT = 2 * MIB
_MIDDLE_UP_TO = 10 * MIB
_MIDDLE_SEGMENT = 20 * MIB
_LARGE_ROUND = 2 * MIB


class _Block:
    __slots__ = ("after", "before", "is_free", "is_small", "size", "start")

    def __init__(self, start: int, size: int, is_small: bool) -> None:
        self.start, self.size, self.is_small = start, size, is_small
        self.before: _Block | None = None
        self.after: _Block | None = None
        self.is_free = False


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
        if block.size > size:
            self._split(block, size)
        self._used[key] = block
        self.allocated += block.size

    def free(self, key: int) -> None:
        """Give back what was taken under this key; nothing if nothing was."""
        block = self._used.pop(key, None)
        if block is None:
            return
        self.allocated -= block.size
        before, after = block.before, block.after
        if before is not None and before.is_free:
            self._remove(before)
            block = _joined(before, block)
        if after is not None and after.is_free:
            self._remove(after)
            block = _joined(block, after)
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
        return _Block(self._end - segment, segment, is_small)

    def _split(self, block: _Block, size: int) -> None:
        left = block.size - size
        if left < _ROUND or (not block.is_small and left <= _SMALL_UP_TO):
            return
        rest = _Block(block.start + size, left, block.is_small)
        rest.before, rest.after = block, block.after
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


def _joined(first: _Block, second: _Block) -> _Block:
    first.size += second.size
    first.after = second.after
    if second.after is not None:
        second.after.before = first
    return first


def replay(sizes: Sequence[int], events: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Peak of what was asked for and of what is reserved, in bytes. An event is the place of a size
    among ``sizes``, and 1 when so much is asked for or -1 when it is given back."""
    allocator = Allocator()
    for key, sign in events:
        if sign > 0:
            allocator.allocate(key, sizes[key])
        else:
            allocator.free(key)
    asked = accumulate(sign * sizes[key] for key, sign in events)
    return max(asked, default=0), allocator.reserved
