"""Where the cards of the New run page lie: the form, and beside or below it what will run."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget

from app.widgets.growing_area import GrowingArea
from app.widgets.parts import column, row

SPACING = 14
_ASIDE_PX = (300, 400)
"""Least and greatest width of what stands beside the form."""
_SCROLL_BAR_PX = 14
_WIDEST_PX = 16_777_215
"""Qt's word for no limit."""


class Desk(QWidget):
    """The cards in a column that scrolls, and one more for which there may be no room beside."""

    def __init__(self, cards: Sequence[QWidget], aside: QWidget, inner: GrowingArea) -> None:
        """``inner`` is what scrolls of ``aside`` while that stands beside the cards."""
        super().__init__()
        self._inner = inner
        self._form = cards
        self._aside = aside
        self._column = column(*cards, spacing=13)
        self._column.addStretch(1)
        left = QWidget()
        left.setObjectName("body")
        left.setLayout(self._column)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setWidget(left)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._row = row(self.area, aside, spacing=SPACING)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setStretch(0, 1)
        self.setLayout(self._row)

    def share_width(self) -> None:
        """What will run stands beside the form, or below it where the form needs all the width."""
        least, most = _ASIDE_PX
        form = max(card.minimumSizeHint().width() for card in self._form) + _SCROLL_BAR_PX
        beside = self.width() - SPACING - form
        is_below = beside < least
        if is_below != (self._column.indexOf(self._aside) >= 0):
            if is_below:
                self._column.insertWidget(self._column.count() - 1, self._aside)
            else:
                self._row.addWidget(self._aside)
        if is_below:
            self._aside.setMaximumWidth(_WIDEST_PX)
            self._aside.setMinimumWidth(0)
        else:
            self._aside.setFixedWidth(min(most, beside))
        self._inner.set_grown(is_below)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self.share_width()
