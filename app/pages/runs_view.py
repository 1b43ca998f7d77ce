"""A list of runs that is worked with mouse or keys."""

from __future__ import annotations

import time

from PySide6.QtCore import QEvent, QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QFrame, QListView, QMenu

from app.pages import runs_headings
from app.pages.runs_headings import RunsHeadings
from app.pages.runs_model import SUMMARY, RunsGroup
from app.pages.runs_row import ROW_HEIGHT, RunDelegate, verbs_of
from app.theme import Tokens
from engine.contract.messages import RunSummary

KEYS = {
    Qt.Key.Key_Return: "open",
    Qt.Key.Key_Enter: "open",
    Qt.Key.Key_Delete: "remove",
    Qt.Key.Key_R: "resume",
}
SETTLE_SECONDS = 0.7
"""After rows have moved by themselves, a click is meant for what was there before: it is dropped.
About what a hand needs from aiming to pressing."""
WORDS = {"open": "Open", "resume": "Resume", "stop": "Stop", "remove": "Remove…"}


class RunsView(QListView):
    """Rows of runs with their buttons.

    Signals:
        wanted: a verb and the :class:`RunSummary` it is for.
        left_above, left_below: an arrow key went beyond the first or last row.
    """

    wanted = Signal(str, object)
    left_above = Signal()
    left_below = Signal()

    def __init__(self, group: RunsGroup, tokens: Tokens, name: str) -> None:
        super().__init__()
        self._moved_at = 0.0
        self._pressed: tuple[str, str] = ("", "")
        self.headings = RunsHeadings(tokens, self, now=group.is_now)
        self.setViewportMargins(0, runs_headings.HEIGHT, 0, 0)
        self._delegate = RunDelegate(tokens, self)
        self.setItemDelegate(self._delegate)
        self.setModel(group)
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._delegate.tokens = tokens
        self.headings.tokens = tokens
        self.headings.update()
        self.viewport().update()

    def height_of_rows(self, most: int) -> int:
        """Height that shows all rows, or ``most`` of them, with the headings."""
        return runs_headings.HEIGHT + min(most, self.model().rowCount()) * ROW_HEIGHT

    def note_move(self) -> None:
        """Rows have moved by themselves: what lies under the mouse may be another run."""
        self._moved_at = time.monotonic()
        self._hover("", "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override: the headings are as wide as the rows beside a scroll bar."""
        super().resizeEvent(event)
        rows = self.viewport().geometry()
        height = runs_headings.HEIGHT
        self.headings.setGeometry(rows.left(), rows.top() - height, rows.width(), height)

    def choose(self, row: int) -> None:
        """Make a row the current one and take the keys; -1 is the last one."""
        count = self.model().rowCount()
        if count:
            self.setCurrentIndex(self.model().index(row % count, 0))
            self.setFocus(Qt.FocusReason.TabFocusReason)

    # ------------------------------------------------------------ mouse

    def _verb_at(self, place: QPoint) -> tuple[RunSummary | None, str]:
        index = self.indexAt(place)
        if not index.isValid():
            return None, ""
        summary: RunSummary = index.data(SUMMARY)
        for verb, rect in self._delegate.buttons(self.visualRect(index), summary):
            if rect.contains(place):
                return summary, verb.name
        return summary, ""

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Qt override: the button under the mouse shows it."""
        summary, verb = self._verb_at(event.position().toPoint())
        self._hover(summary.run if summary and verb else "", verb)
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """Qt override."""
        self._hover("", "")
        super().leaveEvent(event)

    def _hover(self, run: str, verb: str) -> None:
        if self._delegate.hovered != (run, verb):
            self._delegate.hovered = (run, verb)
            shape = Qt.CursorShape.PointingHandCursor if verb else Qt.CursorShape.ArrowCursor
            self.viewport().setCursor(shape)
            self.viewport().update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt override: nothing happens to rows that have just moved under the mouse."""
        self._pressed = ("", "")
        if time.monotonic() - self._moved_at < SETTLE_SECONDS:
            event.accept()
            return
        summary, verb = self._verb_at(event.position().toPoint())
        self._pressed = (summary.run if summary else "", verb)
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Qt override: a click on a button of the row, which must be the one that was pressed."""
        super().mouseReleaseEvent(event)
        summary, verb = self._verb_at(event.position().toPoint())
        if summary is None or not verb or event.button() != Qt.MouseButton.LeftButton:
            return
        if self._pressed == (summary.run, verb):
            self.wanted.emit(verb, summary)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Qt override: opens the run."""
        summary, verb = self._verb_at(event.position().toPoint())
        has_moved = time.monotonic() - self._moved_at < SETTLE_SECONDS
        if summary is not None and not verb and not has_moved:
            self.wanted.emit("open", summary)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Qt override: the row's verbs as a menu, for mouse and keyboard."""
        is_key = event.reason() == QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if is_key else self.indexAt(event.pos())
        if not index.isValid():
            return
        place = self.visualRect(index).center() if is_key else event.pos()
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for verb in verbs_of(index.data(SUMMARY)):
            menu.addAction(WORDS[verb.name]).setData((verb.name, index.data(SUMMARY)))
        menu.triggered.connect(self._on_menu_triggered)
        menu.popup(self.viewport().mapToGlobal(place))

    def _on_menu_triggered(self, action: object) -> None:
        verb, summary = action.data()  # type: ignore[attr-defined]
        self.wanted.emit(verb, summary)

    # ------------------------------------------------------------ keys

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt override."""
        index = self.currentIndex()
        if index.isValid() and event.key() in KEYS:
            self._do(KEYS[Qt.Key(event.key())], index)
        elif event.key() == Qt.Key.Key_Up and index.row() == 0:
            self.left_above.emit()
        elif event.key() == Qt.Key.Key_Down and index.row() == self.model().rowCount() - 1:
            self.left_below.emit()
        else:
            super().keyPressEvent(event)

    def _do(self, verb: str, index: QModelIndex) -> None:
        summary = index.data(SUMMARY)
        if verb in [possible.name for possible in verbs_of(summary)]:
            self.wanted.emit(verb, summary)
