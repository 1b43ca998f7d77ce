"""What the columns of a list of runs are called."""

from __future__ import annotations

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app.pages.runs_row import places_in
from app.theme import SANS, Tokens

HEIGHT = 22
WORDS = {"name": "Run", "chip": "State", "progress": "Step", "loss": "Loss", "curve": "Loss so far"}


class RunsHeadings(QWidget):
    """One line above the rows; as wide as they are, so that its words stand above their columns."""

    def __init__(self, tokens: Tokens, parent: QWidget, *, now: bool) -> None:
        super().__init__(parent)
        self.tokens = tokens
        self.words = WORDS | {"when": "Time left" if now else "Ended"}
        self._font = QFont(SANS)
        self._font.setPixelSize(12)

    def shown(self) -> dict[str, tuple[QRect, str]]:
        """Each column's place and word, as far as there is room for it."""
        places = places_in(self.rect())
        # Where the curve lies below the loss, one word is for both.
        is_tight = places.curve.left() == places.loss.left()
        found = {name: (getattr(places, name), word) for name, word in self.words.items()}
        if is_tight:
            del found["curve"]
        return {name: each for name, each in found.items() if each[0].width() > 0}

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt override."""
        painter = QPainter(self)
        painter.setFont(self._font)
        painter.setPen(self.tokens.color("muted"))
        metrics = painter.fontMetrics()
        for name, (place, word) in self.shown().items():
            is_chip = name == "chip"
            side = Qt.AlignmentFlag.AlignHCenter if is_chip else Qt.AlignmentFlag.AlignLeft
            place.setTop(0)
            place.setBottom(self.height())
            text = metrics.elidedText(word, Qt.TextElideMode.ElideRight, place.width())
            painter.drawText(place, int(side | Qt.AlignmentFlag.AlignVCenter), text)
