"""From the recording of a step to that of the same model with a period of layers fewer, which so
need not be traced.

Layers of one kind do the same, so the shallower step is the deeper one with a cut in each pass:
ahead the layers ``first`` up to ``first + period`` are left out, and on the way back those one
period before them. Between the two cuts a layer stands where the one a period before it will stand,
so whatever goes there takes along, in its stead, what was made at the same place of that one::

    ahead  0 1 2 | 3 4 | 5        loss        back  5 4 3 | 2 1 | 0
           same    out   for 2 goes 0, for 4 goes 2      out   same

Whether layers do the same is looked at: what comes and goes has to be of the same size, and all has
to go just once. Of an optimizer, which goes weight by weight, those of the layers are left out; at
that seam what a weight takes for a moment goes before the next one begins, not during it.
"""

from __future__ import annotations

import msgspec
import numpy as np

from engine.worker.trace.place import Place
from engine.worker.trace.recording import Birth, Recording

_Home = tuple[Place, int]
"""The stretch that something was made in, and which of those made there it is."""


class Cut(msgspec.Struct, frozen=True):
    """The layers that are left out: neither the first nor the last, and behind as many that are
    neither."""

    first: int
    period: int

    @property
    def layers(self) -> range:
        """Ahead; and whose weights and states are left out."""
        return range(self.first, self.first + self.period)

    @property
    def layers_back(self) -> range:
        """On the way back."""
        return range(self.first - self.period, self.first)

    def leaves_out(self, place: Place) -> bool:
        """Whether the shallower step has no such stretch."""
        return place.layer in (self.layers_back if place.stage == "backward" else self.layers)

    def twin(self, place: Place) -> Place:
        """The stretch that stays, of the same kind as this one that does not."""
        step = self.period if place.stage == "backward" else -self.period
        return place._replace(layer=(place.layer or 0) + step)

    def is_between(self, home: Place, place: Place) -> bool:
        """Whether a pass that was at ``home`` is at ``place`` behind its first cut, and not behind
        its second."""
        if place.turn != home.turn:
            return False
        if place.layer is None:
            return place.stage != "forward"
        return place.layer >= self.first

    def shallower(self, place: Place) -> Place:
        """What a stretch that stays is in the shallower step."""
        if place.layer is None or place.layer < self.first:
            return place
        return place._replace(layer=place.layer - self.period)


class _Mismatch(Exception):
    """Layers do not do the same."""


def without(deep: Recording, cut: Cut) -> Recording | None:
    """The recording of the shallower step; None if the layers do not do the same."""
    try:
        return _Cutter(deep, cut).made()
    except _Mismatch:
        return None


class _Cutter:
    def __init__(self, deep: Recording, cut: Cut) -> None:
        self._deep = deep
        self._cut = cut
        self._homes: dict[int, _Home] = {}
        self._residents: dict[Place, list[int]] = {}
        for number, sign in deep.events:
            if sign > 0:
                residents = self._residents.setdefault(deep.births[number].place, [])
                self._homes[number] = (deep.births[number].place, len(residents))
                residents.append(number)
        self._found = Recording()
        self._renamed: dict[int, int] = {}
        self._shared: dict[tuple[Place, int], list[int]] = {}
        """What goes in a stretch, after so much was made in it, instead of in one left out."""

    def made(self) -> Recording:
        deep, cut = self._deep, self._cut
        spans = list(deep.spans())
        for begin, end, place in spans:
            if cut.leaves_out(place):
                self._leave_out(begin, end, place)
        for begin, end, place in spans:
            if not cut.leaves_out(place):
                self._keep(begin, end, place)
        for number, renamed in self._renamed.items():
            if (self._found.births[renamed].died < 0) != (deep.births[number].died < 0):
                raise _Mismatch
        return self._found

    def _leave_out(self, begin: int, end: int, place: Place) -> None:
        """Look whether the stretch that stays in its stead does the same; what all layers use and
        the last of them lets go, that one does."""
        twin = self._cut.twin(place)
        ours, theirs = (self._residents.get(each, []) for each in (place, twin))
        if len(ours) != len(theirs) or not all(map(self._are_alike, ours, theirs)):
            raise _Mismatch
        born = 0
        for number, sign in self._deep.events[begin:end]:
            if sign > 0:
                born += 1
            elif self._homes[number][0].layer is None:
                self._shared.setdefault((twin, born), []).append(number)

    def _are_alike(self, one: int, other: int) -> bool:
        ours, theirs = self._deep.births[one].formula, self._deep.births[other].formula
        return ours is theirs or np.array_equal(ours, theirs)

    def _keep(self, begin: int, end: int, place: Place) -> None:
        self._found.begin(self._cut.shallower(place))
        born = 0
        for number, sign in self._deep.events[begin:end]:
            if sign > 0:
                self._make(number)
                born += 1
                for other in self._shared.get((place, born), ()):
                    self._end(other)
            elif (goes := self._in_stead(number, place)) is not None:
                self._end(goes)

    def _make(self, number: int) -> None:
        birth, left_out = self._deep.births[number], self._cut.layers
        if birth.place.layer is None and birth.layer in left_out:
            return
        blocks = self._deep.blocks.get(number, ())
        left = [block for block in blocks if block.layer not in left_out]
        formula = birth.formula
        if len(left) < len(blocks):
            formula = sum((block.formula for block in left), np.zeros_like(formula))
        made = Birth(formula, self._cut.shallower(birth.place), birth.part, birth.layer)
        self._renamed[number] = self._found.make(made, left)

    def _end(self, number: int) -> None:
        renamed = self._renamed.get(number)
        if renamed is None or self._found.births[renamed].died >= 0:
            raise _Mismatch
        self._found.end(renamed)

    def _in_stead(self, number: int, place: Place) -> int | None:
        """What goes in the shallower step where this one goes in the deeper; None if nothing."""
        home, at = self._homes[number]
        step = self._step(home, place)
        if step and home.layer is not None:
            other = self._residents.get(home._replace(layer=home.layer + step), [])[at:][:1]
            if not other or not self._are_alike(number, other[0]):
                raise _Mismatch
            if self._deep.births[other[0]].died != self._deep.births[number].died:
                return other[0]
        # What goes for all layers at once, goes for those that are there.
        return number if number in self._renamed else None

    def _step(self, home: Place, place: Place) -> int:
        """How many layers further on that is which goes at ``place`` instead of what was made in
        ``home``."""
        cut, layer = self._cut, home.layer
        if home.stage == "backward":
            return cut.period if layer in cut.layers_back else 0
        if layer is None or home.stage != "forward" or not cut.is_between(home, place):
            return 0
        return -cut.period if cut.period <= layer < cut.layers.stop else 0
