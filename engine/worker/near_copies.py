"""Samples that say nearly the same as an earlier one, found in their tokens.

Two are near if at least :data:`NEAR` of the runs of :data:`RUN` tokens that either of them has are
in both; see :mod:`engine.worker.token_runs` for those that count.

Candidates come from MinHash signatures in bands (A. Broder, "On the resemblance and containment of
documents", 1997); each of them is then compared run by run. Runs are told apart by 32 bits: in
one of some thousand pairs of long samples a run is miscounted by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.near_pairs import NEAR, NearPairs
from engine.worker.run_signatures import FEWEST_RUNS, PARTS, signed
from engine.worker.samples import Samples
from engine.worker.token_runs import RUN, Flags, Ints, Runs, TokenRuns

__all__ = ["MOST_SAMPLES", "NEAR", "RUN", "near_copies"]

Numbers = npt.NDArray[np.int32]

MOST_SAMPLES = 500_000
"""Beyond so many nothing is looked for: 10 000 take about a tenth of a second, and three times that
where all are near copies."""
_BANDS = [*np.arange(PARTS).reshape(-1, 4), *np.arange(PARTS).reshape(4, -1).T[:4]]
"""Parts of a signature that make two samples candidates if all of them are the same: each part in
one band, and half of them in another."""
_LIKELY = 0.6
"""Share of equal parts of two signatures from which a comparison is worth its time."""
_MOST_TRIES = 4
"""Comparisons of a sample with earlier ones."""
_LATER = 1 << 14
"""Samples whose candidates are looked at together."""


def near_copies(
    samples: Samples, places: Ints, tell: Callable[[int, int], None] = lambda done, total: None
) -> Ints:
    """Of each of these samples, in order, the earlier one that it is near to: its own place, if it
    is near to none. Whatever an answer names is near to none itself. ``tell`` is told again and
    again how many are done, of how many, also while those are no more: it may raise to end this."""
    places = places[:MOST_SAMPLES]
    found = places.copy()
    count = len(places)
    if count < 2:
        return found
    runs = TokenRuns(samples.take(places))
    far = _Far(tell, count)
    # What takes longest is done once for each sample, and then what comes of it.
    signatures, counts = signed(runs, lambda done: far.come_to(done // 2))
    known = np.flatnonzero(counts >= FEWEST_RUNS)
    nearest = _Nearest(NearPairs(runs, far.tell), signatures, count)
    for later, earlier in _candidates(signatures, known, far.tell):
        nearest.look(later, earlier)
        far.come_to((count + int(later[-1]) + 1) // 2)
    far.come_to(count)
    found[:] = places[nearest.found]
    return found


class _Far:
    """How far it is; told also while it is no farther, since there may be much to do for a few."""

    def __init__(self, tell: Callable[[int, int], None], count: int) -> None:
        self._tell, self._count, self._done = tell, count, 0

    def come_to(self, done: int) -> None:
        """So many are done."""
        self._done = done
        self.tell()

    def tell(self) -> None:
        """Still at it."""
        self._tell(self._done, self._count)


class _Nearest:
    """Of each sample the earlier one that it is near to, as far as it is known."""

    def __init__(self, pairs: NearPairs, signatures: Runs, count: int) -> None:
        self._pairs = pairs
        self._signatures = signatures
        self.found = np.arange(count, dtype=np.int32)

    def look(self, later: Ints, earlier: Numbers) -> None:
        """Look at samples that follow on those looked at before; ``earlier`` has in each column the
        candidates of one of them, rising, and -1 where there is none."""
        tries = _Tries(len(later))
        some = np.arange(len(later))
        while len(some):
            for candidates in earlier[:, some]:
                self._try(later[some], candidates, tries, some)
            # What one was found to be near to may be found to be near to another, later on.
            some = self._mend(later)

    def _try(self, later: Ints, candidates: Numbers, tries: _Tries, places: Ints) -> None:
        """Compare each of these with what its candidate is near to, or else with that itself."""
        some = np.flatnonzero((candidates >= 0) & (self.found[later] == later))
        heads = self.found[candidates[some]].astype(np.int64)
        is_new = tries.are_new(places[some], heads)
        some, heads = some[is_new], heads[is_new]
        likely = self._agree(later[some], candidates[some])
        some, heads = some[likely], heads[likely]
        tries.add(places[some], heads)
        near = self._pairs.near(heads, later[some])
        self.found[later[some[near]]] = heads[near]

    def _agree(self, ones: Ints, others: Numbers) -> Flags:
        """Whether so much of two signatures is the same that the samples may be near."""
        own = large.at(self._signatures, ones)
        theirs = large.at(self._signatures, others.astype(np.int64))
        found: Flags = (own == theirs).sum(axis=1) >= _LIKELY * PARTS
        return found

    def _mend(self, later: Ints) -> Ints:
        """Of samples that are near to one that was found to be near to another by now: that other,
        if they are near to it too, else none. Gives the places of those that have none now."""
        fallen = [np.zeros(0, np.int64)]
        while True:
            heads = self.found[later]
            roots = self.found[heads].astype(np.int64)
            # Those behind them are mended first: what they are near to may stay.
            wrong = np.flatnonzero((roots != heads) & (self.found[roots] == roots))
            if not len(wrong):
                return np.concatenate(fallen)
            some = later[wrong]
            near = self._pairs.near(roots[wrong], some)
            self.found[some] = np.where(near, roots[wrong], some)
            fallen.append(wrong[~near])


class _Tries:
    """What some samples were compared with."""

    def __init__(self, count: int) -> None:
        self._with = np.full((_MOST_TRIES, count), -1, np.int32)
        self._often = np.zeros(count, np.int64)

    def are_new(self, places: Ints, others: Ints) -> Flags:
        """Whether each of these may be compared with that other one, and was not before."""
        found: Flags = (self._with[:, places] != others).all(axis=0)
        return found & (self._often[places] < _MOST_TRIES)

    def add(self, places: Ints, others: Ints) -> None:
        """They are compared."""
        self._with[self._often[places], places] = others
        self._often[places] += 1


def _candidates(
    signatures: Runs, known: Ints, tell: Callable[[], None]
) -> Iterator[tuple[Ints, Numbers]]:
    """Of some of the known samples after others, in order: which those are, and in each column the
    earlier ones that one of them may be near to, rising, each once. ``tell`` is called on the
    way."""
    keys = _keys(signatures, known, tell)
    earlier = large.empty((2 * len(_BANDS), len(known)), np.int32)
    for band in range(len(_BANDS)):
        earlier[2 * band : 2 * band + 2] = _earlier(keys[band])
        large.give_back(earlier, keys)
        tell()
    for begin in range(0, len(known), _LATER):
        tell()
        here = np.sort(earlier[:, begin : begin + _LATER], axis=0)
        large.give_back(earlier)
        here[1:][here[1:] == here[:-1]] = -1
        chosen = np.flatnonzero((here >= 0).any(axis=0))
        if len(chosen):
            here = here[:, chosen]
            yield known[begin + chosen], np.where(here >= 0, known[here], -1).astype(np.int32)


def _keys(signatures: Runs, known: Ints, tell: Callable[[], None]) -> npt.NDArray[np.uint64]:
    """Of each band what each of the known samples has in it, shape (bands, samples)."""
    keys = large.empty((len(_BANDS), len(known)), np.uint64)
    for begin in range(0, len(known), _LATER):
        here = signatures[known[begin : begin + _LATER]].T.astype(np.uint64)
        for place, band in enumerate(_BANDS):
            found = np.zeros(here.shape[1], np.uint64)
            for part in band:
                found = found * np.uint64(0x9E3779B97F4A7C15) + here[part] + np.uint64(1)
            keys[place, begin : begin + _LATER] = found
        large.give_back(signatures, keys)
        tell()
    return keys


def _earlier(keys: npt.NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Of each sample the first of those that have the same in a band, and the one before it among
    them; -1 for the first."""
    bits = np.uint64(len(keys).bit_length())
    # Sorted with their numbers in the last bits; by so little less are they told apart.
    low = (np.uint64(1) << bits) - np.uint64(1)
    sorted_ = np.sort(keys & ~low | np.arange(len(keys), dtype=np.uint64))
    order = (sorted_ & low).astype(np.int32)
    same = sorted_[1:] >> bits == sorted_[:-1] >> bits
    begins = np.flatnonzero(np.append(True, ~same)[: len(order)])
    firsts = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    rest = np.flatnonzero(same) + 1
    first = np.full(len(keys), -1, np.int32)
    before = first.copy()
    first[order[rest]], before[order[rest]] = firsts[rest], order[rest - 1]
    return first, before
