"""Samples that say nearly the same as an earlier one, found in their tokens.

Two are near if at least :data:`NEAR` of the runs of :data:`RUN` tokens that either of them has are
in both. What many samples ask alike, such as the marks of a chat template or an instruction that is
always the same, does not count; answers always do. Of a long sample the beginning is looked at.

Candidates come from MinHash signatures in bands (A. Broder, "On the resemblance and containment of
documents", 1997); each of them is then compared run by run, so that whatever is told is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

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
    nearest = list(range(len(places)))
    tried: dict[int, set[int]] = {}
    for later, earlier in looked.candidates():
        first = nearest[earlier]
        if nearest[later] != later or len(before := tried.setdefault(later, set())) >= _MOST_TRIES:
            continue
        if first not in before and looked.near(first, later):
            nearest[later] = first
        before.add(first)
    found[:] = places[nearest]
    return found


class _Looked:
    """What is known of the samples."""

    def __init__(self, samples: Samples, places: Ints) -> None:
        self._samples = samples.take(places)
        self._common = self._common_runs()
        self._runs_of = lru_cache(_REMEMBERED)(self._runs)

    def _runs(self, number: int) -> Runs:
        """The runs of a sample that count, each once, in order."""
        ids, learnt = self._samples[number]
        runs = _hashes(ids[:_MOST_TOKENS])
        counted = ~self._common[runs % _BUCKETS] | learnt[RUN - 1 : _MOST_TOKENS]
        return np.unique(runs[counted])

    def _common_runs(self) -> npt.NDArray[np.bool_]:
        """Of each bucket of hashes, whether runs in it are common."""
        count = len(self._samples)
        chosen = np.unique(np.linspace(0, count - 1, _SAMPLED).astype(np.int64))
        seen = np.zeros(_BUCKETS, np.int32)
        for number in chosen.tolist():
            ids = self._samples[number][0][:_MOST_TOKENS]
            seen[np.unique(_hashes(ids) % _BUCKETS)] += 1
        return seen > max(_COMMON_LEAST, _COMMON_SHARE * len(chosen))

    def near(self, first: int, later: int) -> bool:
        """Whether two samples are near to each other."""
        one, other = self._runs_of(first), self._runs_of(later)
        both = len(np.intersect1d(one, other, assume_unique=True))
        return both >= NEAR * (len(one) + len(other) - both)

    def candidates(self) -> list[tuple[int, int]]:
        """Pairs that may be near, the later sample first, in its order."""
        signatures, counts = self._signatures()
        known = np.flatnonzero(counts >= _FEWEST_RUNS)
        signatures, counts = signatures[known], counts[known]
        pairs = [
            pair
            for band in range(_BANDS)
            for pair in _pairs(signatures[:, band * _ROWS : (band + 1) * _ROWS])
        ]
        found = np.unique(np.concatenate(pairs), axis=0) if pairs else np.zeros((0, 2), np.int64)
        likely = [
            part[_agree(signatures, counts, part)]
            for part in np.array_split(found, 1 + len(found) // 100_000)
        ]
        return [(int(known[a]), int(known[b])) for part in likely for a, b in part.tolist()]

    def _signatures(self) -> tuple[Runs, Ints]:
        """Of each sample its signature and how many runs it has."""
        count = len(self._samples)
        signatures = np.full((count, _BANDS * _ROWS), np.iinfo(np.uint32).max, np.uint32)
        counts = np.zeros(count, np.int64)
        for first, last, runs, starts in self._chunks():
            sizes = np.diff(np.append(starts, len(runs)))
            counts[first:last] = sizes
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


def _pairs(band: Runs) -> Iterator[Ints]:
    """Samples that have the same in a band: each with the first of them, and with the one before
    it. Yields arrays of shape (pairs, 2), the later sample first."""
    keys = np.zeros(len(band), np.uint64)
    for part in range(band.shape[1]):
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + band[:, part].astype(np.uint64) + np.uint64(1)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    begins = np.flatnonzero(np.concatenate([[True], ~same])[: len(order)])
    firsts = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    rest = np.flatnonzero(same) + 1
    yield np.stack([order[rest], firsts[rest]], axis=1)
    yield np.stack([order[rest], order[rest - 1]], axis=1)


def _agree(signatures: Runs, counts: Ints, pairs: Ints) -> npt.NDArray[np.bool_]:
    one, other = pairs[:, 0], pairs[:, 1]
    alike = (signatures[one] == signatures[other]).mean(axis=1) >= _LIKELY
    found: npt.NDArray[np.bool_] = alike
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
