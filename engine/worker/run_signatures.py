"""Signatures of samples: two have so many parts alike, on average, as of their runs are in both.

Each part is the least run in a bin of them, so that all runs are looked at once, not once for every
part (P. Li, A. Owen and C.-H. Zhang, "One permutation hashing", 2012). Bins that a sample leaves
empty are filled from its runs in another order, and once more in another (S. Dahlgaard, M. Knudsen
and M. Thorup, "Fast similarity sketching", 2017), so that what is told of a short sample is as
good.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.worker import large
from engine.worker.token_runs import CHUNK, UNCOUNTED, Flags, Ints, Runs, TokenRuns, mixed

PARTS = 32
_BIN_SHIFT = np.uint32(32 - PARTS.bit_length() + 1)
FEWEST_RUNS = 12
"""Of a sample: two short texts may well be alike."""
_ROUNDS = 16
"""Orders that a sample is looked at in. After so many even the shortest leaves one part in 400
empty."""
_ANEW = np.uint32(0x9E3779B9)
Told = Callable[[int], None]


def signed(runs: TokenRuns, tell: Told) -> tuple[Runs, Ints]:
    """Of each sample its signature, and how many runs it has that count; ``tell`` is told how many
    samples are done."""
    count = len(runs)
    signatures = large.empty((count, PARTS), np.uint32)
    counts = np.zeros(count, np.int64)
    lacking = _Lacking(signatures)
    for part in runs.parts():
        here, lengths = runs.of(part)
        found = np.full((len(lengths), PARTS), UNCOUNTED)
        _put_least(found, here, lengths)
        signatures[part] = found
        is_counted = here != UNCOUNTED
        counts[part] = counted = _totals(is_counted, lengths)
        lacks = (counted >= FEWEST_RUNS) & (found == UNCOUNTED).any(axis=1)
        if lacks.any():
            its = np.flatnonzero(is_counted & np.repeat(lacks, lengths))
            lacking.add(part.start + np.flatnonzero(lacks), here.take(its), counted[lacks])
        large.give_back(signatures)
        tell(part.stop)
    lacking.fill()
    return signatures, counts


class _Lacking:
    """Samples of whose signatures parts are empty, many of which are filled together."""

    def __init__(self, signatures: Runs) -> None:
        self._signatures = signatures
        self._waiting: list[tuple[Ints, Runs, Ints]] = []
        self._count = 0

    def add(self, numbers: Ints, runs: Runs, lengths: Ints) -> None:
        """Samples, their runs that count, and how many there are of each."""
        self._waiting.append((numbers, runs, lengths))
        self._count += len(runs)
        if self._count >= CHUNK:
            self.fill()

    def fill(self) -> None:
        """Fill the signatures of those that wait."""
        if not self._waiting:
            return
        numbers, runs, lengths = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting, self._count = [], 0
        found = self._signatures[numbers]
        own = np.arange(len(numbers))
        for _ in range(1, _ROUNDS):
            lacks = (found[own] == UNCOUNTED).any(axis=1)
            if not lacks.any():
                break
            runs = mixed(runs[np.repeat(lacks, lengths)] ^ _ANEW)
            own, lengths = own[lacks], lengths[lacks]
            more = np.full((len(own), PARTS), UNCOUNTED)
            _put_least(more, runs, lengths)
            found[own] = np.where(found[own] == UNCOUNTED, more, found[own])
        self._signatures[numbers] = found


def _put_least(found: Runs, runs: Runs, lengths: Ints) -> None:
    """Put the least of each sample's runs into each of its bins."""
    slots = np.repeat(np.arange(0, found.size, PARTS, dtype=np.uint32), lengths)
    slots += runs >> _BIN_SHIFT
    # What does not count is the greatest in the last bin, where it changes nothing.
    np.minimum.at(found.reshape(-1), slots.astype(np.intp), runs)


def _totals(flags: Flags, lengths: Ints) -> Ints:
    """How many flags of each sample are set."""
    found = np.zeros(len(lengths), np.int64)
    filled = np.flatnonzero(lengths)
    if len(filled):
        begins = (np.cumsum(lengths) - lengths)[filled]
        found[filled] = np.add.reduceat(flags.view(np.uint8), begins, dtype=np.int64)
    return found
