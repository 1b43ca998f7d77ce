"""The row of large numbers on top of a run."""

from __future__ import annotations

from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from app.run_words import TileText
from app.theme import SANS
from app.widgets.parts import column, label, row, set_look


class Tile(QFrame):
    """One number with its name above and a small text below."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.name, self.number = label("", "label"), label("", "number")
        self.small = label("", "small")
        self.setLayout(
            column(self.name, self.number, self.small, margins=(16, 12, 10, 12), spacing=1)
        )
        self._large = QFont(SANS, weight=QFont.Weight.DemiBold)
        self._large.setPixelSize(22)
        self.number.setFixedHeight(27)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

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
        self.setToolTip(f"{text.label}: {text.number}\n{text.small}".rstrip())

    def _fit_number(self) -> None:
        """A number that does not fit is written smaller."""
        metrics = QFontMetrics(self._large)
        is_tight = metrics.horizontalAdvance(self.number.text()) > self.contentsRect().width() - 26
        set_look(self.number, "role", "number-tight" if is_tight else "number")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self._fit_number()


class TileRow(QWidget):
    """Six tiles of equal width."""

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        self.tiles = [Tile() for _ in range(count)]
        self.setLayout(row(*self.tiles, spacing=12))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_texts(self, texts: list[TileText]) -> None:
        """Show these numbers."""
        for tile, text in zip(self.tiles, texts, strict=True):
            tile.show_text(text)
