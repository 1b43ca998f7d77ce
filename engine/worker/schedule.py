"""Which rows a step trains on. The position is data: one number, the cursor.

The cursor counts rows trained on since the run's start. With seed and row count it says everything
about what comes next, so a resume looks nothing up and replays nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from engine.worker import large

_GROUP = 1 << 20
"""Rows that are put in order together."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one optimizer step."""

    rows: list[int]
    cursor: int
    """After the step."""
    epoch: float
    """After the step."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The order of all rows over the whole run."""

    row_count: int
    batch: int
    """Rows a step: micro-batch times accumulation. The last step of an epoch may have fewer."""
    seed: int
    num_train_epochs: float = 1.0
    max_steps: int = -1
    """Ends the run after so many steps whatever the epochs, unless it is -1."""

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps to see each row once."""
        return math.ceil(self.row_count / self.batch)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        if self.max_steps > 0:
            return self.max_steps
        return max(1, math.ceil(self.num_train_epochs * self.steps_an_epoch))

    def turns(self, cursor: int = 0) -> Iterator[Turn]:
        """Steps from the cursor on, without end."""
        while True:
            epoch, offset = divmod(cursor, self.row_count)
            order = permutation(self.row_count, self.seed, epoch)
            while offset < self.row_count:
                rows = order[offset : offset + self.batch].tolist()
                large.give_back(order)
                offset += len(rows)
                cursor += len(rows)
                yield Turn(rows=rows, cursor=cursor, epoch=cursor / self.row_count)


def in_batches(
    rows: Sequence[int], lengths: Sequence[int] | npt.NDArray[np.int64], size: int
) -> list[list[int]]:
    """The rows of a step in batches of at most ``size``, the longest first; ``lengths`` is of all
    rows. Rows of like length stand together, so that little is padding: a step is the same sum in
    whatever batches. Its heaviest batch comes before there are gradients, and takes least then."""
    order = sorted(rows, key=lambda row: -lengths[row])
    return [order[at : at + size] for at in range(0, len(order), size)]


@lru_cache(maxsize=1)
def permutation(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """An order of ``count`` rows, a function of its arguments alone.

    Made from the bits of Philox, a counter-based generator, whose stream numpy guarantees; the
    shuffle of numpy's ``Generator`` may change between versions. The newest is kept: a save asks
    for it too.
    """
    order = large.empty(count, np.int64)
    # Sorted group by group of their first bits, so that few are in memory at a time.
    shift = max(0, count // _GROUP).bit_length()
    done = 0
    for group in range(1 << shift):
        places, bits = _of_group(count, seed, epoch, group, shift)
        order[done : done + len(places)] = places[np.argsort(bits, kind="stable")]
        large.give_back(order)
        done += len(places)
    order.flags.writeable = False
    return order


def _of_group(
    count: int, seed: int, epoch: int, group: int, shift: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Which numbers begin with these bits, and they."""
    source = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    places, bits = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for at in range(0, count, large.CHUNK):
        drawn = source.random_raw(min(large.CHUNK, count - at))
        # A shift by all 64 bits is none.
        own = np.flatnonzero(drawn >> np.uint64(64 - shift) == group) if shift else slice(None)
        places.append(np.arange(at, at + len(drawn))[own])
        bits.append(drawn[own])
    return np.concatenate(places), np.concatenate(bits)
