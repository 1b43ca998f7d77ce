"""Tokenised samples in flat arrays: small in memory, quick to cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.worker.row_hashes import smallest

IGNORED = -100
"""Label of a token that is not learnt, as in torch and transformers."""
_CHUNK = 1 << 20
"""Tokens looked at together."""

Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Samples:
    """Parts of a row of tokens: sample ``i`` is ``tokens[begins[i]:ends[i]]``.

    The tokens may lie in a file that is mapped into memory. Samples that are taken out of others,
    or cut, share them, so nothing is copied; tokens between samples belong to none. ``learnt`` says
    of each token whether it is a target. ``origins`` says of each sample from which row of the
    dataset it is, the first being 0; None where samples are no rows.
    """

    def __init__(
        self, tokens: Ids, learnt: Flags, begins: Places, ends: Places,
        origins: Places | None = None,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._learnt = learnt
        self._begins = begins
        self._ends = ends
        self.origins = origins

    @classmethod
    def of(cls, parts: Iterable[tuple[Sequence[int] | Ids, Sequence[bool] | Flags]]) -> Samples:
        """From one pair of token ids and flags a sample."""
        tokens: list[Ids] = []
        learnt: list[Flags] = []
        for ids, flags in parts:
            tokens.append(np.asarray(ids, dtype=np.int32))
            learnt.append(np.asarray(flags, dtype=np.bool_))
        starts = np.zeros(len(tokens) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in tokens], out=starts[1:])
        return cls.adjoining(
            np.concatenate(tokens) if tokens else np.zeros(0, np.int32),
            np.concatenate(learnt) if learnt else np.zeros(0, np.bool_),
            starts,
        )

    @classmethod
    def adjoining(
        cls, tokens: Ids, learnt: Flags, starts: Places, origins: Places | None = None
    ) -> Samples:
        """One behind the other; ``starts`` has one number more than there are samples."""
        return cls(tokens, learnt, starts[:-1], starts[1:], origins)

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, index: int) -> tuple[Ids, Flags]:
        """Token ids and flags of one sample, not copied."""
        place = slice(self._begins[index], self._ends[index])
        return self._tokens[place], self._learnt[place]

    @property
    def lengths(self) -> Places:
        """Tokens of each sample."""
        return self._ends - self._begins

    @cached_property
    def target_counts(self) -> Places:
        """Targets of each sample. The first token has nothing before it to be told from."""
        counts = np.zeros(len(self), dtype=np.int64)
        for first, last in _groups(self._begins, self._ends):
            low = self._begins[first]
            flags = self._learnt[low : self._ends[last - 1]]
            sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
            begins, ends = self._begins[first:last] - low, self._ends[first:last] - low
            counts[first:last] = sums[ends] - sums[begins]
            filled = ends > begins
            counts[first:last][filled] -= flags[begins[filled]]
        return counts

    def take(self, indices: Sequence[int] | Places) -> Samples:
        """These samples, in this order."""
        places = np.asarray(indices, dtype=np.int64)
        origins = None if self.origins is None else self.origins[places]
        return Samples(
            self._tokens, self._learnt, self._begins[places], self._ends[places], origins
        )

    def parted(self, held: Sequence[int]) -> tuple[Samples, Samples]:
        """All but these, and these."""
        others = np.setdiff1d(np.arange(len(self)), np.asarray(held, dtype=np.int64))
        return self.take(others), self.take(held)

    def cut(self, max_length: int) -> Samples:
        """Of each sample at most the first ``max_length`` tokens."""
        ends = np.minimum(self._ends, self._begins + max_length)
        return Samples(self._tokens, self._learnt, self._begins, ends, self.origins)

    def pieces(self) -> Iterator[tuple[Ids, Flags]]:
        """All tokens and flags in order, in pieces of any length, not copied."""
        breaks = np.flatnonzero(self._begins[1:] != self._ends[:-1]) + 1
        for part in np.split(np.arange(len(self)), breaks):
            if len(part):
                last = self._ends[part[-1]]
                for begin in range(int(self._begins[part[0]]), int(last), _CHUNK):
                    place = slice(begin, min(begin + _CHUNK, int(last)))
                    yield self._tokens[place], self._learnt[place]

    def digest(self) -> str:
        """sha256 of all tokens and flags: the same means the same training data."""
        found = hashlib.sha256()
        for kind in range(2):
            for piece in self.pieces():
                found.update(np.ascontiguousarray(piece[kind]).tobytes())
        found.update(np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64).tobytes())
        return found.hexdigest()


def _groups(begins: Places, ends: Places) -> Iterator[tuple[int, int]]:
    """Samples from and up to, such that what lies between the first's begin and the last's end can
    be looked at together: in order, and not much."""
    first = 0
    for place in range(1, len(begins) + 1):
        if (
            place == len(begins)
            or begins[place] < ends[place - 1]
            or ends[place] - begins[first] > _CHUNK
        ):
            yield first, place
            first = place


def row_hash(content: bytes, seed: int) -> bytes:
    """What tells a row from others, for one seed."""
    return hashlib.sha256(seed.to_bytes(8, "little") + content).digest()


def held_back(hashes: Sequence[bytes], count: int) -> list[int]:
    """Which ``count`` of the rows are for evaluation, in order: those whose hash of seed and
    content is smallest, so that the choice survives a change of order, and mostly an addition of
    rows."""
    return smallest(hashes, count)
