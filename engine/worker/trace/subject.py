"""What of a model is traced: a few of its layers, which show what the others do, or all."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import msgspec

from engine.planning.form import Layout
from engine.worker.trace import fit
from engine.worker.trace import model as models
from engine.worker.trace.fit import Course
from engine.worker.trace.model import Built
from engine.worker.trace.recording import Recording
from engine.worker.trace.shallower import Cut

_RANK = 211
"""A prime: see :mod:`engine.worker.trace.sizes`."""
_WHOLE_UP_TO = 4
"""Layers of a model that is not worth extrapolating."""

But = Container[int | None]
"""Layers that are left out of a measure."""


class Subject(msgspec.Struct):
    """The layout's model with a few of its layers, or whole."""

    layout: Layout
    depth: int
    traced_depth: int
    built: Built
    cut: Cut | None
    """Layers without which the model is one of fewer still; None if it is whole."""
    alternating: bool
    """Whether every other layer has a window, whatever the whole model's have."""
    longest: int | None
    """Tokens of the longest row that is traced; None: of any."""
    computes_all: bool
    """Whether attention computes all scores, of which a window and a mask leave some out."""

    @property
    def rank(self) -> int:
        """Of the adapter; 0 without one."""
        return _rank_of(self.layout)

    def dimensions(self) -> set[int]:
        """Of its weights, but for the adapter's rank."""
        values = self.built.model.parameters()
        found = {size for value in values for size in (*value.shape, value.numel())}
        return {size for size in found if size % _RANK}

    def grown(self, measure: Callable[[But], Any]) -> Any:
        """A measure of the whole model: it grows by the same with each layer. It is asked for with
        all that are there, and with a few less."""
        if self.cut is None:
            return measure(())
        short, long = measure(self.cut.layers), measure(())
        return short + self._share(self.cut) * (long - short)

    def course(self, recordings: list[Recording]) -> Course:
        """That of the whole model."""
        if self.cut is None:
            return Course(recordings[0].stretches())
        short, long = recordings
        depths = (self.traced_depth - self.cut.period, self.traced_depth)
        return fit.extrapolate(short, long, depths, self.depth)

    def _share(self, cut: Cut) -> float:
        return (self.depth - self.traced_depth) / cut.period + 1


def build_subject(layout: Layout, longest: int | None, *, whole: bool) -> Subject:
    """With as few layers as may do: where no window leaves anything out, those with one and those
    without do the same in most models."""
    if whole:
        return _subject(layout, longest, models.depth(layout.config), None)
    period = models.period(layout.config)
    if period > 1 and models.mixes_windows(layout.config):
        subject = repeating(layout, longest, 1, alternating=True)
        is_all_seen = longest is not None or subject.computes_all or window_of(layout) is None
        if subject.cut is None or is_all_seen:
            return subject
    return repeating(layout, longest, period)


def repeating(
    layout: Layout, longest: int | None, period: int, *, alternating: bool = False
) -> Subject:
    """With as few layers as do if they repeat after so many; ``alternating``: with both kinds among
    those that are compared."""
    depth = models.depth(layout.config)
    first = _first_depth(depth, period)
    if depth <= max(_WHOLE_UP_TO, first):
        return _subject(layout, longest, depth, None)
    cut = Cut(period + 1, period)
    return _subject(layout, longest, first + period, cut, alternating=alternating)


def _subject(
    layout: Layout, longest: int | None, layers: int, cut: Cut | None, *, alternating: bool = False
) -> Subject:
    built = model_of(layout, layers, alternating=alternating)
    return Subject(
        layout=layout, depth=models.depth(layout.config), traced_depth=layers, built=built,
        cut=cut, longest=longest,
        alternating=alternating,
        computes_all=built.base.config._attn_implementation == "eager",
    )  # fmt: skip


def model_of(layout: Layout, layers: int, *, alternating: bool = False) -> Built:
    """With so many layers; see :func:`engine.worker.trace.model.build`."""
    rank = _rank_of(layout)
    return models.build(layout, layers=layers, rank=rank, alternating=alternating)


def _rank_of(layout: Layout) -> int:
    return _RANK if layout.lora is not None else 0


def _first_depth(depth: int, period: int) -> int:
    """As few layers as show each kind twice: between others, and as the first or the last."""
    least = period + 2
    return least + (depth - least) % period


def window_of(layout: Layout) -> int | None:
    """Tokens from which on rows take other memory, since layers with a window then need a mask;
    None if they never do."""
    has_mask = layout.packing and models.line_from(layout) is None
    if has_mask or layout.attn_implementation == "flash_attention_2":
        return None
    return models.window(layout.config)
