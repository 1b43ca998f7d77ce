"""A part that scrolls where it has a height of its own, and grows where the page scrolls."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


class GrowingArea(QScrollArea):
    """Holds one widget of any height."""

    def __init__(self, body: QWidget, most_px: int | None = None) -> None:
        """``most_px``: of what is higher, the rest is scrolled to, grown or not."""
        super().__init__()
        self._body = body
        self._most_px = most_px
        self._is_grown = False
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # As high as its width asks for: what its wrapped texts would take at their narrowest is far
        # more, and would leave a void to scroll through.
        body.setMinimumHeight(1)
        self.setWidget(body)
        body.installEventFilter(self)

    def set_grown(self, is_grown: bool) -> None:
        """Be as high as what is in it, without a scroll bar."""
        if is_grown == self._is_grown:
            return
        self._is_grown = is_grown
        never, needed = (
            Qt.ScrollBarPolicy.ScrollBarAlwaysOff, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        )  # fmt: skip
        self.setVerticalScrollBarPolicy(needed if self._most_px or not is_grown else never)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt override: what is in it became higher or lower."""
        if self._is_grown and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self._fit()
        return bool(super().eventFilter(watched, event))

    def _fit(self) -> None:
        body, wanted = self._body, 0
        if self._is_grown:
            wanted = body.heightForWidth(self.viewport().width())
            wanted = body.sizeHint().height() if wanted < 0 else wanted
        if self._most_px and self._is_grown:
            wanted = min(wanted, self._most_px)
            self.setMaximumHeight(wanted)
        if wanted != self.minimumHeight():
            self.setMinimumHeight(wanted)
