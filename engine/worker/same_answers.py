"""Whether nearly all rows have one answer: mostly another column was taken for it. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.samples import Samples

MOST_SAMPLES = 5000
FEWEST = 10
"""Of fewer it says nothing."""
SHARE = 0.9
SAYS_ONE = "Whatever it is asked, the model learns to say that."
OTHER_COLUMN = "Look whether the answers are in another column."
_BYTES = 8
"""Of an answer's hash."""


class SameAnswers(NamedTuple):
    """Of some samples, evenly spread."""

    places: list[int]
    """Those with the commonest answer."""
    looked: int
    """How many were looked at; copies of whole rows are not among them."""

    @property
    def words(self) -> str:
        """For people: ``480 of 500 rows have the same answer``."""
        return f"{len(self.places)} of {self.looked} rows that were compared have the same answer."


def same_answers(samples: Samples, first_copy: npt.NDArray[np.int64]) -> SameAnswers | None:
    """None where fewer than nine of ten have one. ``first_copy``: place of the first sample with
    the same content, one for each."""
    spread = np.linspace(0, len(samples) - 1, min(MOST_SAMPLES, len(samples))).astype(np.int64)
    chosen = np.unique(spread)
    chosen = chosen[large.at(first_copy, chosen) == chosen]
    if len(chosen) < FEWEST:
        return None
    answers = [_answer(samples, place) for place in chosen.tolist()]
    (commonest, count), *_ = Counter(answers).most_common(1)
    if count < SHARE * len(answers):
        return None
    places = chosen[np.array(answers) == commonest].tolist()
    return SameAnswers(places, len(answers))


def _answer(samples: Samples, place: int) -> int:
    ids, learnt = samples[place]
    found = hashlib.blake2b(ids[learnt].tobytes(), digest_size=_BYTES)
    # Spread over the files, in the end much of those would be in memory.
    samples.give_back()
    return int.from_bytes(found.digest()) >> 1
