"""Tokenised samples in flat arrays: small in memory, quick to cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.row_hashes import smallest

IGNORED = -100
"""Label of a token that is not learnt, as in torch and transformers."""
_CHUNK = 1 << 20
"""Tokens looked at together."""
_TOGETHER = 1 << 18
"""Tokens of which something is counted: that stays in the processor's cache."""
_FEW = 4
"""Fewer than one of so many samples are looked at alone."""

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
        origins: Places | None = None, taken: tuple[Samples, Places | None] | None = None,
    ) -> None:  # fmt: skip
        """``taken``: those that these were taken out of, and their places there; without places
        they are all of them, some cut."""
        self._taken = taken
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

    def joined(self, chosen: slice | Places, most: int) -> tuple[Ids, Flags, Places]:
        """Token ids and flags of some samples, one behind the other, and how many are of each: at
        most its first ``most``. Not copied where they lie like that already."""
        begins = self._begins[chosen]
        lengths = np.minimum(self._ends[chosen] - begins, most)
        return *self._between(begins, begins + lengths), lengths

    def _between(self, begins: Places, ends: Places) -> tuple[Ids, Flags]:
        """Tokens and flags from and up to these places, one part behind the other."""
        breaks = np.flatnonzero(begins[1:] != ends[:-1])
        firsts = begins[np.append(0, breaks + 1)[: len(begins)]].tolist()
        lasts = ends[np.append(breaks, len(ends) - 1)[: len(ends)]].tolist()
        if len(firsts) == 1:
            return self._tokens[firsts[0] : lasts[0]], self._learnt[firsts[0] : lasts[0]]
        # Far quicker than to take each token from its place. Of nothing at all nothing can be made.
        places = list(map(slice, [0, *firsts], [0, *lasts]))
        ids = np.concatenate([self._tokens[place] for place in places])
        return ids, np.concatenate([self._learnt[place] for place in places])

    def borders(self, chosen: Places) -> tuple[Places, Places]:
        """From and up to which of all tokens some samples go."""
        return self._begins[chosen], self._ends[chosen]

    def same(self, ones: Places, others: Places, sizes: Places) -> Flags:
        """Of so many of all tokens from each of these on, whether they are the same as those from
        the others on, and learnt if those are; one part behind the other."""
        ends = np.cumsum(sizes)
        counting = np.arange(int(ends[-1]) if len(ends) else 0)
        first = counting + np.repeat(ones - ends + sizes, sizes)
        second = np.add(counting, np.repeat(others - ends + sizes, sizes), out=counting)
        # All are within: to clip those that are not takes half the time of looking for them.
        found: Flags
        found = self._tokens.take(first, mode="clip") == self._tokens.take(second, mode="clip")
        flags = self._learnt.view(np.uint8)
        found &= flags.take(first, mode="clip") == flags.take(second, mode="clip")
        return found

    def equal(self, ones: Places, others: Places, sizes: Places) -> Flags:
        """Of each pair of parts whether all of that is the same: quicker than to look where not."""
        tokens, learnt = self._tokens, self._learnt
        found: Flags = sizes > 0
        # Most that are not the same are so in one of a few tokens.
        for share in (0, 1, 2, 3, 4):
            some = np.flatnonzero(found)
            at = (sizes[some] - 1) * share // 4
            found[some] = tokens[ones[some] + at] == tokens[others[some] + at]
        some = np.flatnonzero(found)
        parts = zip(ones[some].tolist(), others[some].tolist(), sizes[some].tolist(), strict=True)
        same = (
            tokens[one : one + size].tobytes() == tokens[other : other + size].tobytes()
            and learnt[one : one + size].tobytes() == learnt[other : other + size].tobytes()
            for one, other, size in parts
        )
        found[some] = np.fromiter(same, np.bool_, len(some))
        return found

    @cached_property
    def lengths(self) -> Places:
        """Tokens of each sample."""
        found = large.empty(len(self), np.int64)
        for part in large.parts(found, self._begins, self._ends):
            found[part] = self._ends[part] - self._begins[part]
        return found

    @cached_property
    def target_counts(self) -> Places:
        """Targets of each sample. The first token has nothing before it to be told from."""
        if self._taken is None:
            return self._counted(None)
        whole, places = self._taken
        if places is None:
            return self._counted(whole)
        # Counted once for all, unless these are but a few of them.
        is_known = "target_counts" in whole.__dict__
        if is_known or len(self) >= len(whole) // _FEW:
            return large.taken(whole.target_counts, places)
        return self._counted(None)

    def _counted(self, uncut: Samples | None) -> Places:
        """Targets; those of ``uncut`` are known already."""
        counts = large.empty(len(self), np.int64)
        for part in large.parts(counts, self._begins, self._ends):
            begins, ends = self._begins[part], self._ends[part]
            if uncut is None:
                counts[part] = _targets(self._learnt, begins, ends)
                continue
            counts[part] = uncut.target_counts[part]
            is_cut = np.flatnonzero(uncut._ends[part] != ends)
            counts[part.start + is_cut] = _targets(self._learnt, begins[is_cut], ends[is_cut])
            large.give_back(uncut.target_counts, uncut._ends)
        return counts

    def take(self, indices: Sequence[int] | Places) -> Samples:
        """These samples, in this order."""
        places = np.asarray(indices, dtype=np.int64)
        return Samples(
            self._tokens, self._learnt, large.taken(self._begins, places),
            large.taken(self._ends, places),
            None if self.origins is None else large.taken(self.origins, places), (self, places),
        )  # fmt: skip

    def parted(self, held: Sequence[int] | Places) -> tuple[Samples, Samples]:
        """All but these, and these."""
        places = np.asarray(held, dtype=np.int64)
        rest = large.empty(len(self), np.bool_)
        rest[:] = True
        rest[places] = False
        return self.take(large.places_of(rest)), self.take(places)

    def cut(self, max_length: int) -> Samples:
        """Of each sample at most the first ``max_length`` tokens."""
        ends = large.empty(len(self), np.int64)
        for part in large.parts(ends, self._begins, self._ends):
            ends[part] = np.minimum(self._ends[part], self._begins[part] + max_length)
        return Samples(self._tokens, self._learnt, self._begins, ends, self.origins, (self, None))

    def pieces(self) -> Iterator[tuple[Ids, Flags]]:
        """All tokens and flags in order, in pieces of any length, not copied."""
        looked_at = 0
        for part in large.parts(self._begins, self._ends):
            begins, ends = self._begins[part], self._ends[part]
            breaks = begins[1:] != ends[:-1]
            firsts = begins[np.concatenate([[True], breaks])].tolist()
            lasts = ends[np.concatenate([breaks, [True]])].tolist()
            for first, last in zip(firsts, lasts, strict=True):
                for begin in range(first, last, _CHUNK):
                    place = slice(begin, min(begin + _CHUNK, last))
                    yield self._tokens[place], self._learnt[place]
                    looked_at += place.stop - begin
                    if looked_at >= _CHUNK:
                        self.give_back()
                        looked_at = 0
        self.give_back()

    def with_tokens(self, chosen: Callable[[Ids], Flags]) -> Flags:
        """Of each sample whether it has such a token."""
        found = large.empty(len(self), np.bool_)
        for part in large.parts(found, self._begins, self._ends):
            begins, ends = self._begins[part], self._ends[part]
            here = np.zeros(len(begins), np.bool_)
            for first, last in _groups(begins, ends):
                low = begins[first]
                sums = np.concatenate([[0], np.cumsum(chosen(self._tokens[low : ends[last - 1]]))])
                here[first:last] = sums[ends[first:last] - low] > sums[begins[first:last] - low]
                large.give_back(self._tokens)
            found[part] = here
        return found

    def give_back(self) -> None:
        """Nothing need stay in memory of the files that they lie in."""
        large.give_back(self._tokens, self._learnt, self._begins, self._ends)

    def digest(self) -> str:
        """sha256 of all tokens and flags: the same means the same training data."""
        found = hashlib.sha256()
        for kind in range(2):
            for piece in self.pieces():
                found.update(np.ascontiguousarray(piece[kind]).tobytes())
        end = np.zeros(1, np.int64)
        found.update(end.tobytes())
        for part in large.parts(self.lengths):
            ends = end + np.cumsum(self.lengths[part])
            found.update(ends.tobytes())
            end = ends[-1:]
        return found.hexdigest()


def _targets(learnt: Flags, begins: Places, ends: Places) -> Places:
    """How many targets samples with these borders have."""
    counts = np.zeros(len(begins), np.int64)
    for first, last in _groups(begins, ends):
        filled = first + np.flatnonzero(ends[first:last] > begins[first:last])
        if not len(filled):
            continue
        own_begins, own_ends = begins[filled], ends[filled]
        low, sizes = own_begins[0], own_ends - own_begins
        if sizes.sum() * _FEW < own_ends[-1] - low:
            places = zip(own_begins.tolist(), own_ends.tolist(), strict=True)
            flags = np.concatenate([learnt[begin:end] for begin, end in places])
            own_begins = np.cumsum(sizes) - sizes
            own_ends, low = own_begins + sizes, own_begins[0]
        else:
            flags = learnt[low : own_ends[-1]]
        # From each begin up to the end, and from there up to the next begin.
        borders = np.stack([own_begins, own_ends], axis=1).ravel()[:-1] - low
        sums = np.add.reduceat(flags.view(np.uint8), borders, dtype=np.int64)
        counts[filled] = sums[::2] - flags[borders[::2]]
        large.give_back(learnt)
    return counts


def _groups(begins: Places, ends: Places) -> Iterator[tuple[int, int]]:
    """Samples from and up to, such that what lies between the first's begin and the last's end can
    be looked at together: in order, and not much."""
    if not len(begins):
        return
    breaks = np.flatnonzero(begins[1:] < ends[:-1]) + 1
    first = 0
    for border in [*breaks.tolist(), len(begins)]:
        while first < border:
            near = np.searchsorted(ends[first:border], begins[first] + _TOGETHER, "right")
            last = first + max(1, int(near))
            yield first, last
            first = last


def row_hash(content: bytes, seed: int) -> bytes:
    """What tells a row from others, for one seed."""
    return hashlib.sha256(seed.to_bytes(8, "little") + content).digest()


def held_back(hashes: Sequence[bytes], count: int) -> Places:
    """Which ``count`` of the rows are for evaluation, in order: those whose hash of seed and
    content is smallest, so that the choice survives a change of order, and mostly an addition of
    rows."""
    return smallest(hashes, count)
