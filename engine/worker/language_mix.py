"""Which languages the answers of a dataset are in, estimated from some of them."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from engine.formats.languages import LOOKED_AT, language_of
from engine.store import encoded
from engine.worker import large
from engine.worker.encoded_parts import Encoding

MOST_SAMPLES = 2000
_MOST_BYTES = 64 << 10
"""Of a sample's text."""
LEAST_SHARE = 0.01
"""A language in fewer of the samples is as likely a mistake."""
TOLD_SHARE = 0.2
"""Where fewer of the samples tell theirs, nothing is said: it would be a share of the few."""


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Of some samples."""

    shares: dict[str, float] = {}
    """Of those that tell their language, the greatest first."""
    others: list[int] = []
    """Places of the samples that are in another language than most."""
    looked: int = 0
    untold: int = 0
    """Samples that do not tell."""


def mix_of(encoding: Encoding) -> Mix:
    """What the learnt texts are written in; of a sample kept without its text nothing is said."""
    count = encoding.meta.shown
    places = encoding.places
    # Those that are kept as text come first.
    known = count if places is None else int(np.searchsorted(places, count))
    if not known:
        return Mix()
    chosen = large.some_of(known, MOST_SAMPLES).tolist()
    reader = _Texts(encoding)
    found = [
        language_of(reader.learnt(place, place if places is None else int(places[place])))
        for place in chosen
    ]
    return _mixed(chosen, found)


def _mixed(places: list[int], found: list[str | None]) -> Mix:
    told = Counter(name for name in found if name)
    total = sum(told.values())
    if total < TOLD_SHARE * len(found):
        return Mix(looked=len(found), untold=len(found) - total)
    shares = {
        name: number / total for name, number in told.most_common() if number >= LEAST_SHARE * total
    }
    others = list(shares)[1:]
    return Mix(
        shares=shares, looked=len(found), untold=len(found) - total,
        others=[p for p, name in zip(places, found, strict=True) if name in others],
    )  # fmt: skip


class _Texts:
    """Reads what of a sample is learnt, as text."""

    def __init__(self, encoding: Encoding) -> None:
        folder = encoding.folder
        self._samples = encoding.samples
        self._begins = large.mapped(folder / encoded.STARTS, np.int64)
        self._texts = large.mapped(folder / encoded.TEXTS, np.int64)
        self._spans = large.mapped(folder / encoded.SPANS, np.uint32).reshape(-1, 2)
        self._data = large.mapped(folder / encoded.TEXT, np.uint8)

    def learnt(self, place: int, stored: int) -> str:
        """``place`` among the samples, ``stored`` among those in the folder."""
        found = self._found(place, stored)
        # They are spread over the files: in the end much of those would be in memory.
        self._samples.give_back()
        large.give_back(self._begins, self._texts, self._spans, self._data)
        return found

    def _found(self, place: int, stored: int) -> str:
        learnt = self._samples[place][1]
        begin = int(self._begins[stored])
        spans = self._spans[begin : begin + len(learnt)][learnt]
        spans = spans[spans[:, 1] > spans[:, 0]]
        if not len(spans):
            return ""
        low, high = int(self._texts[stored]), int(self._texts[stored + 1])
        data = self._data[low : min(high, low + _MOST_BYTES)].tobytes()
        text = data.decode(errors="ignore")
        first = int(spans[0, 0])
        return text[first : min(int(spans[-1, 1]), first + LOOKED_AT)]
