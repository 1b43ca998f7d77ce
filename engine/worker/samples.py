"""Tokenised samples in flat arrays: small in memory, quick to cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""Label of a token that is not learnt, as in torch and transformers."""

Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Samples:
    """Samples one behind the other: ``tokens[starts[i]:starts[i + 1]]`` are those of sample ``i``.

    ``learnt`` says of each token whether it is a target. ``origins`` says of each sample from which
    row of the dataset it is, the first being 0; None where samples are no rows.
    """

    def __init__(
        self, tokens: Ids, learnt: Flags, starts: Places, origins: Places | None = None
    ) -> None:
        self.tokens = tokens
        self.learnt = learnt
        self.starts = starts
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
        return cls(
            np.concatenate(tokens) if tokens else np.zeros(0, np.int32),
            np.concatenate(learnt) if learnt else np.zeros(0, np.bool_),
            starts,
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> tuple[Ids, Flags]:
        """Token ids and flags of one sample, not copied."""
        begin, end = self.starts[index], self.starts[index + 1]
        return self.tokens[begin:end], self.learnt[begin:end]

    @property
    def lengths(self) -> Places:
        """Tokens of each sample."""
        return np.diff(self.starts)

    @property
    def target_counts(self) -> Places:
        """Targets of each sample. The first token has nothing before it to be told from."""
        sums = np.concatenate([[0], np.cumsum(self.learnt, dtype=np.int64)])
        whole: Places = sums[self.starts[1:]] - sums[self.starts[:-1]]
        filled = self.lengths > 0
        whole[filled] -= self.learnt[self.starts[:-1][filled]]
        return whole

    def take(self, indices: Sequence[int] | Places) -> Samples:
        """These samples, in this order."""
        taken = Samples.of(self[int(index)] for index in indices)
        if self.origins is not None:
            taken.origins = self.origins[np.asarray(indices, dtype=np.int64)]
        return taken

    def digest(self) -> str:
        """sha256 of all tokens and flags: the same means the same training data."""
        found = hashlib.sha256()
        for array in (self.tokens, self.learnt, self.starts):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def held_back(keys: Sequence[bytes], count: int, seed: int) -> set[int]:
    """Which ``count`` of the rows are for evaluation: those whose hash of seed and content is
    smallest, so that the choice survives a change of order, and mostly an addition of rows."""
    hashes = [hashlib.sha256(seed.to_bytes(8, "little") + key).digest() for key in keys]
    return set(sorted(range(len(keys)), key=lambda place: (hashes[place], place))[:count])
