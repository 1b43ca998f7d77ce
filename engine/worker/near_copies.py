"""Samples that say nearly the same as an earlier one, found in their tokens.

Two are near if at least :data:`NEAR` of the runs of :data:`RUN` tokens that either of them has are
in both. What many samples ask alike, such as the marks of a chat template or an instruction that is
always the same, does not count; answers always do. Of a long sample the beginning is looked at.

Candidates come from MinHash signatures in bands (A. Broder, "On the resemblance and containment of
documents", 1997); each of them is then compared run by run, so that whatever is told is true.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.samples import Samples

Ints = npt.NDArray[np.int64]
Runs = npt.NDArray[np.uint32]

NEAR = 0.8
RUN = 3
MOST_SAMPLES = 500_000
"""Beyond so many nothing is looked for: it takes up to a second for each 10 000."""
_MOST_TOKENS = 1024
"""Of a sample."""
_FEWEST_RUNS = 12
"""Of a sample: two short texts may well be alike."""
_COMMON_SHARE, _COMMON_LEAST = 0.1, 20
"""Runs in more samples than this say nothing."""
_SAMPLED = 2000
"""Samples by which that is estimated."""
_BUCKETS = 1 << 20
_BANDS, _ROWS = 8, 4
_LIKELY = 0.6
"""Share of equal parts of two signatures from which a comparison is worth its time."""
_MOST_TRIES = 4
"""Comparisons of a sample with earlier ones."""
_REMEMBERED = 512
"""Samples whose runs are kept for the next comparison."""
_HELD = 8
"""Samples read before their pages are given back."""
_LATER = 1 << 12
"""Samples whose signatures are looked at together."""
_CHUNK = 1 << 18
"""Tokens looked at together: what is computed of them stays in the processor's cache."""


def near_copies(samples: Samples, places: Ints) -> Ints:
    """Of each of these samples, in order, the earlier one that it is near to: its own place, if it
    is near to none. Whatever an answer names is near to none itself."""
    places = places[:MOST_SAMPLES]
    found = places.copy()
    if len(places) < 2:
        return found
    looked = _Looked(samples, places)
    nearest = array("i", range(len(places)))
    at = -1
    tried: set[int] = set()
    for later, earlier in looked.candidates():
        if later != at:
            at, tried = later, set()
        first = nearest[earlier]
        if nearest[later] != later or len(tried) >= _MOST_TRIES:
            continue
        if first not in tried and looked.near(first, later):
            nearest[later] = first
        tried.add(first)
    found[:] = places[np.frombuffer(nearest, np.intc)]
    return found


class _Looked:
    """What is known of the samples."""

    def __init__(self, samples: Samples, places: Ints) -> None:
        self._samples = samples.take(places)
        self._read = 0
        self._common = self._common_runs()
        self._runs_of = lru_cache(_REMEMBERED)(self._runs)

    def _runs(self, number: int) -> Runs:
        """The runs of a sample that count, each once, in order."""
        ids, learnt = self._samples[number]
        runs = _hashes(ids[:_MOST_TOKENS])
        counted = ~self._common[runs % _BUCKETS] | learnt[RUN - 1 : _MOST_TOKENS]
        self._give_back()
        return np.unique(runs[counted])

    def _give_back(self) -> None:
        """Of samples that are spread over the files: each leaves up to a MB around it in memory."""
        self._read += 1
        if self._read % _HELD == 0:
            self._samples.give_back()

    def _common_runs(self) -> npt.NDArray[np.bool_]:
        """Of each bucket of hashes, whether runs in it are common."""
        count = len(self._samples)
        chosen = np.unique(np.linspace(0, count - 1, _SAMPLED).astype(np.int64))
        seen = np.zeros(_BUCKETS, np.int32)
        for number in chosen.tolist():
            ids = self._samples[number][0][:_MOST_TOKENS]
            seen[np.unique(_hashes(ids) % _BUCKETS)] += 1
            self._give_back()
        return seen > max(_COMMON_LEAST, _COMMON_SHARE * len(chosen))

    def near(self, first: int, later: int) -> bool:
        """Whether two samples are near to each other."""
        one, other = self._runs_of(first), self._runs_of(later)
        both = len(np.intersect1d(one, other, assume_unique=True))
        return both >= NEAR * (len(one) + len(other) - both)

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Pairs that may be near, the later sample first, in its order."""
        signatures, counts = self._signatures()
        known = np.flatnonzero(counts >= _FEWEST_RUNS)
        earlier = large.empty((2 * _BANDS, len(known)), np.int32)
        for band in range(_BANDS):
            keys = _keys(signatures, known, slice(band * _ROWS, (band + 1) * _ROWS))
            earlier[2 * band], earlier[2 * band + 1] = _earlier(keys)
            large.give_back(earlier)
        for begin in range(0, len(known), _LATER):
            here = earlier[:, begin : begin + _LATER]
            column, later = np.nonzero(here >= 0)
            found = np.unique((begin + later) << 32 | here[column, later])
            ones, others = known[found >> 32], known[found & 0xFFFFFFFF]
            likely = _agree(signatures, ones, others)
            large.give_back(earlier, signatures)
            self._samples.give_back()
            yield from zip(ones[likely].tolist(), others[likely].tolist(), strict=True)

    def _signatures(self) -> tuple[Runs, Ints]:
        """Of each sample its signature and how many runs it has."""
        count = len(self._samples)
        signatures = large.empty((count, _BANDS * _ROWS), np.uint32)
        counts = np.zeros(count, np.int64)
        for first, last, runs, starts in self._chunks():
            sizes = np.diff(np.append(starts, len(runs)))
            counts[first:last] = sizes
            signatures[first:last] = np.iinfo(np.uint32).max
            large.give_back(signatures)
            self._samples.give_back()
            filled = np.flatnonzero(sizes)
            if not len(filled):
                continue
            for part, (factor, more) in enumerate(_FACTORS):
                least = np.minimum.reduceat(_mixed(runs, factor, more), starts[filled])
                signatures[first + filled, part] = least
        return signatures, counts

    def _chunks(self) -> Iterator[tuple[int, int, Runs, Ints]]:
        """Samples from and up to, their runs that count, and where those of each begin."""
        lengths = np.minimum(self._samples.lengths, _MOST_TOKENS)
        ends = np.cumsum(lengths)
        first = 0
        while first < len(lengths):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _CHUNK, "right")))
            yield first, last, *self._joined(first, last, lengths[first:last])
            first = last

    def _joined(self, first: int, last: int, lengths: Ints) -> tuple[Runs, Ints]:
        parts = [self._samples[number] for number in range(first, last)]
        none = np.zeros(RUN - 1, np.int32)
        runs = _hashes(np.concatenate([*(ids[:_MOST_TOKENS] for ids, _ in parts), none]))
        learnt = np.concatenate([*(flags[:_MOST_TOKENS] for _, flags in parts), none != 0])
        owner = np.repeat(np.arange(len(lengths)), lengths)
        # The last tokens of a sample begin no run of its own.
        inside = np.arange(len(runs)) + RUN <= np.repeat(np.cumsum(lengths), lengths)
        counted = inside & (~self._common[runs % _BUCKETS] | learnt[RUN - 1 :])
        return runs[counted], np.searchsorted(owner[counted], np.arange(len(lengths)))


def _keys(signatures: Runs, known: Ints, band: slice) -> npt.NDArray[np.uint64]:
    """Of each of the known samples what it has in a band."""
    keys = np.zeros(len(known), np.uint64)
    for begin in range(0, len(known), _LATER):
        here = signatures[known[begin : begin + _LATER], band].astype(np.uint64)
        found = np.zeros(len(here), np.uint64)
        for column in range(here.shape[1]):
            found = found * np.uint64(0x9E3779B97F4A7C15) + here[:, column] + np.uint64(1)
        keys[begin : begin + _LATER] = found
        large.give_back(signatures)
    return keys


def _earlier(keys: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Of each sample the first of those that have the same in a band, and the one before it among
    them; -1 for the first."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    begins = np.flatnonzero(np.concatenate([[True], ~same])[: len(order)])
    firsts = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    rest = np.flatnonzero(same) + 1
    first, before = np.full(len(keys), -1), np.full(len(keys), -1)
    first[order[rest]], before[order[rest]] = firsts[rest], order[rest - 1]
    return first, before


def _agree(signatures: Runs, ones: Ints, others: Ints) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (signatures[ones] == signatures[others]).mean(axis=1) >= _LIKELY
    return found


def _hashes(ids: npt.NDArray[np.int32]) -> Runs:
    """Of each run of tokens; none for fewer tokens than a run has."""
    if len(ids) < RUN:
        return np.zeros(0, np.uint32)
    wide = ids.astype(np.uint64) + np.uint64(1)
    found = np.zeros(len(ids) - RUN + 1, np.uint64)
    for place in range(RUN):
        found = (found ^ wide[place : place + len(found)]) * np.uint64(0xD6E8FEB86659FD93)
        found ^= found >> np.uint64(32)
    return found.astype(np.uint32)


def _mixed(runs: Runs, factor: np.uint32, more: np.uint32) -> Runs:
    """The runs in another order."""
    return runs * factor + more


def _factors() -> list[tuple[np.uint32, np.uint32]]:
    chance = np.random.default_rng(20_261_128)
    drawn = chance.integers(0, 1 << 32, (_BANDS * _ROWS, 2), np.uint32)
    return [(np.uint32(factor | 1), np.uint32(more)) for factor, more in drawn]


_FACTORS = _factors()
