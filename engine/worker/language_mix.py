"""Which languages the answers of a dataset are in, estimated from some of them, evenly spread."""

from __future__ import annotations

import mmap
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from engine.formats.languages import LOOKED_AT, language_of
from engine.store import encoded
from engine.worker.encoded_parts import Encoding

MOST_SAMPLES = 2000
_MOST_BYTES = 64 << 10
"""Of a sample's text."""
LEAST_SHARE = 0.01
"""A language in fewer of the samples is as likely a mistake."""


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
    places = encoding.places if encoding.places is not None else np.arange(len(encoding.samples))
    known = np.flatnonzero(places < count)
    if not len(known):
        return Mix()
    spread = np.linspace(0, len(known) - 1, min(MOST_SAMPLES, len(known))).astype(np.int64)
    chosen = known[np.unique(spread)]
    reader = _Texts(encoding)
    found = [language_of(reader.learnt(place, int(places[place]))) for place in chosen.tolist()]
    return _mixed(chosen.tolist(), found)


def _mixed(places: list[int], found: list[str | None]) -> Mix:
    told = Counter(name for name in found if name)
    total = sum(told.values())
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
        self._begins = np.fromfile(folder / encoded.STARTS, np.int64)
        self._texts = np.fromfile(folder / encoded.TEXTS, np.int64)
        self._spans = _mapped(folder / encoded.SPANS)
        with (folder / encoded.TEXT).open("rb") as file:
            size = encoding.meta.text_bytes
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""

    def learnt(self, place: int, stored: int) -> str:
        """``place`` among the samples, ``stored`` among those in the folder."""
        learnt = self._samples[place][1]
        begin = int(self._begins[stored])
        spans = self._spans[begin : begin + len(learnt)][learnt]
        spans = spans[spans[:, 1] > spans[:, 0]]
        if not len(spans):
            return ""
        low, high = int(self._texts[stored]), int(self._texts[stored + 1])
        text = self._data[low : min(high, low + _MOST_BYTES)].decode(errors="ignore")
        first = int(spans[0, 0])
        return text[first : min(int(spans[-1, 1]), first + LOOKED_AT)]


def _mapped(path: Path) -> np.ndarray:
    flat = np.memmap(path, np.uint32, "r") if path.stat().st_size else np.zeros(0, np.uint32)
    return flat.reshape(-1, 2)
