"""Pairs of samples that may be nearly the same are compared, run by run.

Most are the same but for a word or a line, so it is first looked whether that stands at an end;
then both are laid beside each other, at their begins and at their ends. Where that leaves so few
other runs that they are near whatever those are, nothing is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.worker.token_runs import RUN, UNCOUNTED, Flags, Ints, TokenRuns, last_of

NEAR = 0.8
"""Share of the runs of two samples that has to be in both."""
_TOKENS = 1 << 18
"""Compared together."""
_REGIONS = 32
"""Megabytes of the files from which those are, at most."""


class NearPairs:
    """Compares pairs of samples, by their numbers; ``tell`` is called after each part of them."""

    def __init__(self, runs: TokenRuns, tell: Callable[[], None] = lambda: None) -> None:
        self._runs = runs
        self._tell = tell
        self._regions = runs.regions()
        self._different = np.full(len(runs), -1, np.int32)
        """Of each sample how many different runs it has that count; -1 where nobody has asked."""

    def near(self, first: Ints, later: Ints) -> Flags:
        """Of each pair whether its samples are near to each other."""
        found = np.zeros(len(first), np.bool_)
        for compare in (self._but_for_an_end, self._beside, self._by_runs):
            rest = np.flatnonzero(~found)
            found[rest] = self._compared(compare, first[rest], later[rest])
        return found

    def _compared(self, compare: Callable[[Ints, Ints], Flags], first: Ints, later: Ints) -> Flags:
        found = np.zeros(len(first), np.bool_)
        # Those of a cluster of rows have the same few before them: as they come then, since they
        # lie one behind the other. Else with those before them that lie near to each other.
        is_local = len(_once(np.sort(self._regions[first]))) <= _REGIONS
        order = np.arange(len(first)) if is_local else np.argsort(first, kind="stable")
        for part, is_far in self._parts(first[order], later[order], by_first=not is_local):
            some = order[part]
            found[some] = compare(first[some], later[some])
            if is_far:
                self._runs.give_back()
            self._tell()
        return found

    def _parts(self, first: Ints, later: Ints, *, by_first: bool) -> Iterator[tuple[slice, bool]]:
        """Pairs that are compared together, and whether so much lies between them and the next ones
        that the pages are to be given back."""
        if not len(first):
            return
        lengths = self._runs.lengths
        tokens = np.cumsum(lengths[first].astype(np.int64) + lengths[later])
        is_new = np.diff(self._regions[first if by_first else later], prepend=0) != 0
        far = np.cumsum(is_new) // _REGIONS
        is_far = np.append(far[1:] != far[:-1], True)
        borders = np.flatnonzero(is_far | (np.diff(tokens // _TOKENS, append=-1) != 0)) + 1
        begin = 0
        for end in borders.tolist():
            yield slice(begin, end), by_first or bool(is_far[end - 1])
            begin = end

    # ------------------------------------------------------------ beside each other

    def _but_for_an_end(self, first: Ints, later: Ints) -> Flags:
        """Of each pair whether all is the same but for a few tokens at the begin, or at the end: so
        few that the samples are near whatever those are."""
        one, other = self._runs.begins(first), self._runs.begins(later)
        sizes, other_sizes = self._runs.sizes(first), self._runs.sizes(later)
        # With so many other runs on both sides, this is the least share of all that is in both.
        few = (self._count(first) * ((1 - NEAR) / (1 + NEAR))).astype(np.int64)
        size = np.maximum(sizes, other_sizes) - few
        near = np.zeros(len(first), np.bool_)
        fits = (size >= RUN) & (size <= np.minimum(sizes, other_sizes))
        for shift, other_shift in ((sizes - size, other_sizes - size), (0 * size, 0 * size)):
            some = np.flatnonzero(fits & ~near)
            near[some] = self._runs.equal(
                (one + shift)[some], (other + other_shift)[some], size[some]
            )
        in_both = np.where(near, size - RUN + 1, 0)
        return near & self._is_sure(first, sizes, other_sizes, in_both)

    def _beside(self, first: Ints, later: Ints) -> Flags:
        """Of each pair whether it can be seen to be near without a look at all runs."""
        runs = self._runs
        one, other = runs.begins(first), runs.begins(later)
        sizes, other_sizes = runs.sizes(first), runs.sizes(later)
        shorter = np.minimum(sizes, other_sizes)
        in_both, begins = self._alike(one + sizes - shorter, other + other_sizes - shorter, shorter)
        near = self._is_sure(first, sizes, other_sizes, in_both)
        # What lies before the first of those may be the same from the begin on.
        some = np.flatnonzero(~near & (sizes != other_sizes) & (begins > 0))
        before = np.minimum(begins + RUN - 1, shorter)[some]
        in_both = in_both[some] + self._alike(one[some], other[some], before)[0]
        near[some] = self._is_sure(first[some], sizes[some], other_sizes[some], in_both)
        return near

    def _is_sure(self, first: Ints, sizes: Ints, other_sizes: Ints, in_both: Ints) -> Flags:
        """Whether pairs are near whatever the runs are that are not known to be ``in_both``."""
        own = np.maximum(sizes - RUN + 1, 0)
        rest, added = own - in_both, np.maximum(other_sizes - RUN + 1, 0) - in_both
        # Were all runs of the first different, and did they count, then so many would be in both.
        found = _is_near(own - rest, own + added) & (in_both > 0)
        likely = np.flatnonzero(found)
        different = self._count(first[likely])
        found[likely] = _is_near(different - rest[likely], different + added[likely])
        return found

    def _alike(self, one: Ints, other: Ints, sizes: Ints) -> tuple[Ints, Ints]:
        """Of so many tokens of each pair, from these places on: how many runs are the same at the
        same place, and the first of them (as many as there are tokens, if there is none)."""
        counts, firsts = np.zeros(len(sizes), np.int64), sizes.copy()
        filled = np.flatnonzero(sizes)
        if not len(filled):
            return counts, firsts
        same = self._runs.same(one, other, sizes)
        # A run begins where this token and those after it are the same.
        runs = same.copy()
        for ahead in range(1, RUN):
            runs[:-ahead] &= same[ahead:]
        runs[last_of(sizes)] = False
        starts = (np.cumsum(sizes) - sizes)[filled]
        counts[filled] = np.add.reduceat(runs.view(np.uint8), starts, dtype=np.int64)
        # There is no run at the end of a pair, so the first one of the next has none before it.
        found = np.flatnonzero(runs & ~np.append(False, runs[:-1]))
        some = counts[filled] > 0
        firsts[filled[some]] = found[np.searchsorted(found, starts[some])] - starts[some]
        return counts, firsts

    def _count(self, numbers: Ints) -> Ints:
        """How many different runs that count these samples have."""
        asked = _once(np.sort(numbers[self._different[numbers] < 0]))
        if len(asked):
            runs, lengths = self._runs.of(asked)
            keys = _once(np.sort(_keys(runs, lengths, 0)))
            owners = (keys >> np.uint64(33)).astype(np.intp)
            self._different[asked] = np.bincount(owners, minlength=len(asked))
        return self._different[numbers].astype(np.int64)

    # ------------------------------------------------------------ by their runs

    def _by_runs(self, first: Ints, later: Ints) -> Flags:
        """Of each pair whether it is near, by all runs of both."""
        if not len(first):
            return np.zeros(0, np.bool_)
        sides = [_keys(*self._runs.of(some), side) for side, some in enumerate((first, later))]
        keys = _once(np.sort(np.concatenate(sides)))
        pairs = (keys >> np.uint64(33)).astype(np.intp)
        is_second = (keys[:-1] ^ keys[1:]) == 1
        # The same run of the next pair, or the second of this one and another run, differ in more.
        in_both = np.bincount(pairs[1:][is_second], minlength=len(first))
        both = np.bincount(pairs, minlength=len(first))
        return _is_near(in_both, both - in_both)


def _keys(runs: npt.NDArray[np.uint32], lengths: Ints, side: int) -> npt.NDArray[np.uint64]:
    """Numbers that are sorted by the sample, then by the run, then by the side."""
    owners = np.repeat(np.arange(len(lengths), dtype=np.uint64) << np.uint64(33), lengths)
    keys = owners | runs.astype(np.uint64) << np.uint64(1) | np.uint64(side)
    found: npt.NDArray[np.uint64] = keys[runs != UNCOUNTED]
    return found


def _once(rising: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each of some sorted numbers once: ``np.unique`` takes many times as long."""
    found: npt.NDArray[Any] = rising[np.append(True, rising[1:] != rising[:-1])[: len(rising)]]
    return found


def _is_near(in_both: Ints, in_either: Ints) -> Flags:
    return in_both >= NEAR * in_either
