"""Where the cards of the New run page lie: the form, and beside or below it what will run."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QWidget

from app.widgets.growing_area import GrowingArea
from app.widgets.parts import button, column, row, scrolled, set_tone

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
        self.area = scrolled(left)
        self._row = row(self.area, aside, spacing=SPACING)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setStretch(0, 1)
        self.brief = button("", "quiet", tip="Go to what takes the memory, further below")
        self.brief.hide()
        self.brief.clicked.connect(self._on_brief)
        page = column(row(self.brief, None), self._row, spacing=4)
        page.setStretch(1, 1)
        self.setLayout(page)

    def show_brief(self, text: str, tone: str) -> None:
        """What the other card says in one line, shown where it lies below the form."""
        self.brief.setText(text)
        set_tone(self.brief, tone)
        self._share_brief()

    def _share_brief(self) -> None:
        is_below = self._column.indexOf(self._aside) >= 0
        self.brief.setVisible(is_below and bool(self.brief.text()))

    def _on_brief(self) -> None:
        self.area.verticalScrollBar().setValue(self._aside.y())

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
        self._share_brief()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self.share_width()
