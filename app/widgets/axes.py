"""Axes of the graphs: round places with short words, as many as there is room for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyqtgraph as pg
from PySide6.QtGui import QFont, QPainter

from app import words
from app.theme import SANS, Tokens

LEAST_VALUE_ROOM = 18
"""Height in pixels that a word left of a graph needs."""
EDGE_WORD = 10
"""Pixels from the lower end of the axis within which a word is no help."""
LEFT_WIDTH = 46
"""Of all value axes, in pixels, so that the graphs' time axes lie above each other."""

THREE_PLACES = 126
"""Width in pixels from which three short words have room below a graph."""

END_WORD = 16
"""Half a word's width in pixels, less what the axis is longer than the graph."""
_SPANS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def time_spacing(span: float, most: int) -> float:
    """The least round number of seconds that gives at most ``most`` marks in a span."""
    for spacing in _SPANS:
        if span / spacing <= most:
            return float(spacing)
    return 86400.0 * math.ceil(span / (86400 * most))


def count_spacing(span: float, most: int) -> float:
    """The least of 1, 2, 5, 10 …, or tenths of it, that gives at most ``most`` marks in a span."""
    power = 10.0 ** min(0, math.floor(math.log10(span / most)))
    while True:
        for factor in (1, 2, 5):
            if span / (factor * power) <= most:
                return factor * power
        power *= 10


def time_word(seconds: float) -> str:
    """A place on the time axis: ``0``, ``45 s``, ``20 m``, ``1 h 20``, ``2 d 6 h``."""
    whole = round(seconds)
    if whole == 0:
        return "0"
    if whole < 60 or (whole % 60 and whole < 600):
        minutes, rest = divmod(whole, 60)
        return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return f"{minutes} m"
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"
    return f"{hours} h {minutes:02d}" if minutes else f"{hours} h"


class DirectAxis(pg.AxisItem):  # type: ignore[misc]
    """An axis that keeps what it draws as values instead of as a recorded picture.

    WORKAROUND(PySide6 6.11, Python < 3.12): a painter on a QPicture adds six references to None,
    and an axis makes a new picture with every new range.
    """

    picture: Any

    def paint(self, painter: QPainter, _option: object, _widget: object) -> None:
        """Qt override. ``picture`` is what pyqtgraph resets when the axis has changed."""
        if self.picture is None:
            if self.style["tickFont"]:
                painter.setFont(self.style["tickFont"])
            self.picture = self.generateDrawSpecs(painter)
        if self.picture is not None:
            painter.save()
            if self.style["tickFont"]:
                painter.setFont(self.style["tickFont"])
            self.drawPicture(painter, *self.picture)
            painter.restore()


class PlaceAxis(DirectAxis):
    """The axis below a graph: elapsed time or steps."""

    def __init__(self) -> None:
        super().__init__("bottom")
        self.enableAutoSIPrefix(False)
        self.is_time = True
        self.setHeight(24)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        """Qt override: spacing and places of the marks."""
        most = max(2, int(size // 76)) if size < THREE_PLACES else max(3, int(size // 76))
        span = max(high - low, 1e-9)
        spacing = time_spacing(span, most) if self.is_time else max(1.0, count_spacing(span, most))
        first = math.ceil(max(low, 0.0) / spacing)
        # A word that would be cut at the end is left out.
        last = math.floor((high - span * END_WORD / max(size, 1.0)) / spacing)
        places = [n * spacing for n in range(first, last + 1)]
        return [(spacing, places)]

    def tickStrings(self, values: list[float], _scale: float, _spacing: float) -> list[str]:
        """Qt override: words at the marks."""
        return [time_word(value) if self.is_time else words.count(value) for value in values]


class ValueAxis(DirectAxis):
    """The axis left of a graph."""

    def __init__(self, word: Callable[[float, float], str]) -> None:
        super().__init__("left")
        self._word = word
        self.is_blank = False
        """There is no value, and so no scale either."""
        self.enableAutoSIPrefix(False)
        self.setWidth(LEFT_WIDTH)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        """Qt override: spacing and places of the marks."""
        if self.is_blank:
            return []
        span = max(high - low, 1e-30)
        spacing = count_spacing(span, max(2, int(size // 30)))
        edge = span * EDGE_WORD / max(size, EDGE_WORD)
        if _marks_between(low + edge, high, spacing) < 2:
            # One word alone tells no scale: closer together, as far as they can be read.
            spacing = count_spacing(span, max(2, int(size // LEAST_VALUE_ROOM)))
        first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
        return [(spacing, [n * spacing for n in range(first, last + 1)])]

    def tickStrings(self, values: list[float], _scale: float, spacing: float) -> list[str]:
        """Qt override: words at the marks."""
        return [self._word(value, spacing) for value in values]


def _marks_between(low: float, high: float, spacing: float) -> int:
    return math.floor(high / spacing + 1e-9) - math.ceil(low / spacing - 1e-9) + 1


def plain_word(value: float, spacing: float) -> str:
    """A number with just the decimals that its spacing needs."""
    decimals = max(0, -math.floor(math.log10(spacing) + 1e-9))
    return f"{value:,.{decimals}f}".replace(",", words.GROUP) if decimals < 5 else f"{value:.1e}"


def rate_word(value: float, _spacing: float) -> str:
    """A learning rate."""
    return words.rate(value)


def dress(axis: pg.AxisItem, tokens: Tokens, *, grid: bool) -> None:
    """Colours and font of an axis."""
    font = QFont(SANS)
    font.setPixelSize(12)
    axis.setPen(pg.mkPen(tokens.border))
    axis.setTextPen(pg.mkPen(tokens.muted))
    axis.setTickPen(pg.mkPen(tokens.grid if grid else tokens.border))
    axis.setStyle(
        tickFont=font,
        tickLength=-4 if not grid else 0,
        tickTextOffset=6,
        # Else the 0 is left out where it stands close to the corner.
        hideOverlappingLabels=False,
    )
    axis.setGrid(255 if grid else False)
    axis.setZValue(-1000)
