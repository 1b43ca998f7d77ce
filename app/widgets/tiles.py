"""The row of large numbers on top of a run."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QGridLayout, QSizePolicy, QWidget

from app.theme import SANS
from app.tile_words import TileText
from app.widgets.parts import elided, set_look

LEAST_WIDTH = 140
"""Of a tile with its gap, in pixels, so that its number can be read."""


LEAST_LOW_WIDTH = 220
"""The same where its name stands beside its number."""


class Tile(QFrame):
    """One number with its name above and a small text below."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.name, self.number = elided("label"), elided("number")
        self.small = elided("small")
        self._lines = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        for part in (self.name, self.number, self.small):
            self._lines.addWidget(part)
        self.is_low = False
        self._set_margins()
        self.setLayout(self._lines)
        self._large = QFont(SANS, weight=QFont.Weight.DemiBold)
        self._large.setPixelSize(22)
        self._large.setFeature(QFont.Tag("tnum"), 1)
        self.number.setFixedHeight(27)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def _set_margins(self) -> None:
        sides = (12, 6, 8, 6) if self.is_low else (16, 12, 10, 12)
        self._lines.setContentsMargins(*sides)
        self._lines.setSpacing(8 if self.is_low else 1)

    def set_low(self, *, is_low: bool) -> None:
        """One line with the name before the number; what stood below is told by the tooltip."""
        if is_low == self.is_low:
            return
        self.is_low = is_low
        ways = QBoxLayout.Direction
        self._lines.setDirection(ways.LeftToRight if is_low else ways.TopToBottom)
        self._lines.setStretch(1, 1 if is_low else 0)
        self.small.setVisible(not is_low)
        side = Qt.AlignmentFlag.AlignRight if is_low else Qt.AlignmentFlag.AlignLeft
        self.number.setAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        self._set_margins()
        self._fit_number()

    def show_text(self, text: TileText) -> None:
        """Show another number; what did not change is not painted again."""
        for place, new in (
            (self.name, text.label),
            (self.number, text.number),
            (self.small, text.small),
        ):
            if place.text() != new:
                place.setText(new)
        self._fit_number()
        self.setAccessibleName(f"{text.label}: {text.number}")
        self.setToolTip(f"{text.label}: {text.number}\n{text.tip or text.small}".rstrip())

    def _fit_number(self) -> None:
        """A number that does not fit is written smaller."""
        metrics = QFontMetrics(self._large)
        room = self.contentsRect().width() - 30
        is_tight = self.is_low or metrics.horizontalAdvance(self.number.text()) > room
        set_look(self.number, "role", "number-tight" if is_tight else "number")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self._fit_number()


class TileRow(QWidget):
    """Six tiles of equal width, in two lines where one is too narrow for their numbers."""

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        self.tiles = [Tile() for _ in range(count)]
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(12)
        self._in_line = 0
        self._is_low = False
        self.setLayout(self._grid)
        self._lay_out(count)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def _lay_out(self, in_line: int) -> None:
        if in_line == self._in_line:
            return
        self._in_line = in_line
        for place, tile in enumerate(self.tiles):
            self._grid.removeWidget(tile)
            self._grid.addWidget(tile, place // in_line, place % in_line)
            self._grid.setColumnStretch(place, 1 if place < in_line else 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self._share_width()

    def set_low(self, *, is_low: bool) -> None:
        """Take as little height as can be."""
        self._is_low = is_low
        for tile in self.tiles:
            tile.set_low(is_low=is_low)
        self._grid.setSpacing(8 if is_low else 12)
        self._share_width()

    def _share_width(self) -> None:
        count = len(self.tiles)
        least = LEAST_LOW_WIDTH if self._is_low else LEAST_WIDTH
        self._lay_out(count if self.width() >= count * least else (count + 1) // 2)

    def show_texts(self, texts: list[TileText]) -> None:
        """Show these numbers."""
        for tile, text in zip(self.tiles, texts, strict=True):
            tile.show_text(text)
