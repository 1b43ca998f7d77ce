"""Whether nearly all rows have one answer: perhaps another column was taken for it. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.worker import large, suspects
from engine.worker.encoded_parts import Encoding
from engine.worker.samples import Samples

MOST_SAMPLES = 5000
FEWEST = 10
"""Of fewer answers nothing is said."""
SHARE = 0.99
"""Of classes, one may well be nearly as frequent."""
SAYS_ONE = "The model may learn to say that whatever it is asked."
OTHER_COLUMN = "If that is not meant, look whether the answers are in another column."
_BYTES = 8
"""Of an answer's hash."""
_AT_ONCE = 64
"""Samples that are read before their memory is given back."""


class SameAnswers(NamedTuple):
    """That of some samples nearly all have one answer."""

    places: list[int]
    """Those that have it."""
    looked: int
    """How many were compared. Copies of whole rows are not among them."""
    whole: int
    """How many samples there are."""

    @property
    def words(self) -> str:
        """For people: ``495 of 500 rows have the same answer.``"""
        compared = "" if self.looked == self.whole else " that were compared"
        return f"{len(self.places)} of {self.looked} rows{compared} have the same answer."


def same_answers(encoding: Encoding, first_copy: npt.NDArray[np.int64]) -> SameAnswers | None:
    """None where fewer have one, or where it is said of them already that it is none.
    ``first_copy``: place of the first sample with the same content, one for each."""
    samples = encoding.samples
    chosen = large.some_of(len(samples), MOST_SAMPLES)
    chosen = chosen[large.at(first_copy, chosen) == chosen]
    answers = _answers(samples, chosen)
    if len(answers) < FEWEST:
        return None
    (commonest, count), *_ = Counter(answers.values()).most_common(1)
    if count < SHARE * len(answers):
        return None
    places = [place for place, answer in answers.items() if answer == commonest]
    if _are_placeholders(encoding, places):
        return None
    return SameAnswers(places, len(answers), len(samples))


def _answers(samples: Samples, places: npt.NDArray[np.int64]) -> dict[int, bytes]:
    """Hashes of what is learnt of each that teaches something."""
    found = {}
    for number, place in enumerate(places.tolist()):
        ids, learnt = samples[place]
        if learnt.any():
            found[place] = hashlib.blake2b(ids[learnt].tobytes(), digest_size=_BYTES).digest()
        if number % _AT_ONCE == 0:
            samples.give_back()
    return found


def _are_placeholders(encoding: Encoding, places: list[int]) -> bool:
    rows = encoding.meta.suspects.get(suspects.PLACEHOLDERS, [])
    origins = encoding.samples.origins
    if not rows or origins is None:
        return False
    return bool(large.are_in(origins[places], rows).all())
