"""The runs of tokens that samples are made of, as numbers, of many samples at once.

Two samples are compared by the runs of :data:`RUN` tokens that either of them has. What many
samples ask alike, such as the marks of a chat template or an instruction that is always the same,
does not count; answers always do. Of a long sample the beginning is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.samples import Samples

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Runs = npt.NDArray[np.uint32]

RUN = 3
MOST_TOKENS = 1024
"""Of a sample."""
UNCOUNTED = np.uint32(0xFFFFFFFF)
"""Stands for a run that does not count, and for the last tokens of a sample, that begin none."""
_COMMON_SHARE, _COMMON_LEAST = 0.1, 20
"""Runs in more samples than this say nothing."""
_SAMPLED = 2000
"""Samples by which that is estimated."""
_BUCKET_BITS = 17
_SHIFT = np.uint32(32 - _BUCKET_BITS)
CHUNK = 1 << 16
"""Tokens looked at together: what is computed of them stays in the processor's cache."""
_REGION_BITS = 18
"""Tokens in a megabyte."""
_FACTORS = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D))
"""Of the tokens of a run, by their place in it."""
_SCATTERED = 32
"""Samples that are read from all over the files before their pages are given back."""


class TokenRuns:
    """Of samples, by their number; ``lengths`` says how many tokens of each are looked at."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.lengths = large.empty(len(samples), np.int32)
        for part in large.parts(self.lengths, samples.lengths):
            self.lengths[part] = np.minimum(samples.lengths[part], MOST_TOKENS)
        self._common = self._common_runs()

    def __len__(self) -> int:
        return len(self._samples)

    def of(self, numbers: slice | Ints) -> tuple[Runs, Ints]:
        """The run that begins at each token of these samples, one behind the other, and how many
        tokens are of each sample. Those that do not count are :data:`UNCOUNTED`."""
        ids, learnt, lengths = self._samples.joined(numbers, MOST_TOKENS)
        runs = _hashes(ids)
        if len(runs):
            if self._common is not None:
                end = len(runs) - RUN + 1
                is_out = self._common.take((runs[:end] >> _SHIFT).astype(np.intp), mode="clip")
                is_out &= ~learnt[RUN - 1 :]
                # All bits of those are set: quicker than to put a number there.
                runs[:end] |= np.negative(is_out.view(np.uint8).astype(np.uint32))
            runs[last_of(lengths)] = UNCOUNTED
        return runs, lengths

    def begins(self, numbers: Ints) -> Ints:
        """Where the tokens of these samples begin, as :meth:`same` wants to know it."""
        return self._samples.borders(numbers)[0]

    def sizes(self, numbers: Ints) -> Ints:
        """How many tokens of these samples are looked at."""
        return self.lengths[numbers].astype(np.int64)

    def equal(self, ones: Ints, others: Ints, sizes: Ints) -> Flags:
        """Of each pair whether all of so many tokens from these places on are the same."""
        return self._samples.equal(ones, others, sizes)

    def same(self, ones: Ints, others: Ints, sizes: Ints) -> Flags:
        """Of so many tokens from these places on, whether they are the same as those from the
        others on, and learnt if those are."""
        return self._samples.same(ones, others, sizes)

    def parts(self) -> Iterator[slice]:
        """All samples, in parts that are looked at together; of each the pages are given back."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        first = 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + CHUNK, "right")))
            yield slice(first, last)
            self.give_back()
            first = last

    def regions(self) -> npt.NDArray[np.int32]:
        """Of each sample in about which megabyte of the tokens it lies."""
        found = np.zeros(len(self), np.int32)
        end = 0
        for part in large.parts(self._samples.lengths):
            ends = end + np.cumsum(self._samples.lengths[part])
            found[part], end = ends >> _REGION_BITS, int(ends[-1])
        return found

    def give_back(self) -> None:
        """Nothing need stay in memory of the files that the samples lie in."""
        self._samples.give_back()

    def _common_runs(self) -> Flags | None:
        """Of each bucket of runs whether those in it are common; None if none are."""
        self._common = None
        count = len(self)
        chosen = np.linspace(0, count - 1, min(count, _SAMPLED)).astype(np.int64)
        seen = np.zeros(1 << _BUCKET_BITS, np.int32)
        for at in range(0, len(chosen), _SCATTERED):
            runs, lengths = self.of(chosen[at : at + _SCATTERED])
            found = np.sort(self._in_samples(runs >> _SHIFT, lengths)[runs != UNCOUNTED])
            each = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
            buckets = (each & np.uint64((1 << _BUCKET_BITS) - 1)).astype(np.intp)
            seen += np.bincount(buckets, minlength=len(seen)).astype(np.int32)
            self.give_back()
        is_common = seen > max(_COMMON_LEAST, _COMMON_SHARE * len(chosen))
        return is_common if is_common.any() else None

    @staticmethod
    def _in_samples(runs: Runs, lengths: Ints) -> npt.NDArray[np.uint64]:
        """Runs as numbers that come sample by sample."""
        owners = np.arange(len(lengths), dtype=np.uint64) << np.uint64(32)
        return np.repeat(owners, lengths) | runs


def _hashes(ids: npt.NDArray[np.int32]) -> Runs:
    """Of the run that begins at each token; the last two begin none. Two other runs are the same by
    chance, once in four thousand million."""
    wide, end = ids.view(np.uint32), max(0, len(ids) - RUN + 1)
    found = np.empty(len(ids), np.uint32)
    found[end:] = UNCOUNTED
    for begin in range(0, end, CHUNK):
        here = found[begin : min(begin + CHUNK, end)]
        first, second, third = (wide[begin + at : begin + at + len(here)] for at in range(RUN))
        np.multiply(first, _FACTORS[0], out=here)
        # Were nothing done between the sums, some runs would be the same as some others each time.
        here ^= here >> np.uint32(15)
        here += second * _FACTORS[1]
        mixed(here)
        here += third * _FACTORS[2]
        mixed(here)
    return found


def mixed(numbers: Runs) -> Runs:
    """The numbers, in place, such that any bit of one changes about half of what it becomes: the
    last step of Austin Appleby's MurmurHash3, but for its end."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        numbers ^= numbers >> np.uint32(shift)
        numbers *= np.uint32(factor)
    return numbers


def last_of(lengths: Ints) -> Ints:
    """The places of the last tokens of samples of these lengths, that begin no run."""
    ends = np.cumsum(lengths)[lengths > 0]
    # Of one with fewer tokens those are the last of the one before.
    found: Ints = np.maximum(np.concatenate([ends - back for back in range(1, RUN)]), 0)
    return found
