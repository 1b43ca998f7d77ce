"""A line that can be pressed: a swatch, a name on the left, a figure on the right.

Painted by hand: a legend and a ladder have many of them, and all are rewritten while somebody moves
a setting.
"""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QSizePolicy

from app.theme import SANS, Tokens

LINE_PX = 24
SECOND_PX = 18
_SWATCH_PX = 10
_GAP_PX = 12
_TURN_PX = 14


def _font(pixels: int, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    font = QFont(SANS, weight=weight)
    font.setPixelSize(pixels)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


class LineButton(QAbstractButton):
    """One line; the figure goes below the name where both have no room side by side, and a long
    name takes two."""

    def __init__(self, tokens: Tokens, *, is_folder: bool = False) -> None:
        super().__init__()
        self._tokens = tokens
        self._figure = ""
        self._tone = ""
        self._swatch: QColor | None = None
        self._is_folder = is_folder
        self._is_double = False
        self._name_px = LINE_PX
        self._left = _font(14 if is_folder else 13, _weight(is_folder))
        self._right = _font(12 if is_folder else 13)
        self.setCheckable(is_folder)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(LINE_PX)

    @property
    def figure(self) -> str:
        """The text on the right."""
        return self._figure

    def show_line(
        self, name: str, figure: str, *, swatch: QColor | None = None, tone: str = ""
    ) -> None:
        """Show these texts; ``tone`` colours the figure."""
        if (name, figure, swatch, tone) == (self.text(), self._figure, self._swatch, self._tone):
            return
        self.setText(name)
        self._figure, self._swatch, self._tone = figure, swatch, tone
        self.setAccessibleName(f"{name}: {figure}" if figure else name)
        self._fit()
        self.update()

    def set_small_figure(self) -> None:
        """Write the figure in the smaller size, where it is a remark."""
        self._right = _font(12)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self.update()

    def sizeHint(self) -> QSize:
        """Qt override."""
        return QSize(120, self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self._fit()

    def _indent(self) -> int:
        return 19 if self._swatch is not None else 0

    def _fit(self) -> None:
        name = QFontMetrics(self._left).horizontalAdvance(self.text())
        figure = QFontMetrics(self._right).horizontalAdvance(self._figure)
        turn = _TURN_PX if self._is_folder else 0
        needed = self._indent() + name + _GAP_PX + figure + turn
        self._is_double = bool(self._figure) and not self._is_folder and needed > self.width()
        is_long = not self._is_folder and self._indent() + name > self.width() > 0
        self._name_px = LINE_PX + (SECOND_PX if is_long else 0)
        wanted = self._name_px + (SECOND_PX if self._is_double else 0)
        if wanted != self.minimumHeight():
            self.setFixedHeight(wanted)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt override."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_state(painter)
        line = QRect(0, 0, self.width(), LINE_PX)
        if self._swatch is not None:
            top = (LINE_PX - _SWATCH_PX) / 2
            painter.setOpacity(1.0 if self.isEnabled() else 0.35)
            painter.fillRect(QRectF(0, top, _SWATCH_PX, _SWATCH_PX), self._swatch)
            painter.setOpacity(1.0)
        right = self._paint_figure(painter, line)
        room = QRect(self._indent(), 0, self.width() - self._indent() - right, self._name_px)
        painter.setFont(self._left)
        painter.setPen(self._tokens.color("text" if self.isEnabled() else "faint"))
        painter.drawText(
            room, Qt.AlignmentFlag.AlignVCenter | _wrap(self._name_px), self._name(room)
        )
        painter.end()

    def _name(self, room: QRect) -> str:
        """The name, with an ellipsis where even two lines are too short for it."""
        lines = 1 if self._name_px == LINE_PX else 1.9
        return QFontMetrics(self._left).elidedText(
            self.text(), Qt.TextElideMode.ElideRight, round(lines * room.width())
        )

    def _paint_figure(self, painter: QPainter, line: QRect) -> int:
        """Draws the figure; how much room of the first line it takes."""
        painter.setFont(self._right)
        painter.setPen(self._tokens.color(self._tone or "muted" if self.isEnabled() else "faint"))
        turn = self._paint_turn(painter, line) if self._is_folder else 0
        if not self._figure:
            return turn
        if self._is_double:
            room = QRect(
                self._indent(), self._name_px - 3, self.width() - self._indent(), SECOND_PX
            )
            text = painter.fontMetrics().elidedText(
                self._figure, Qt.TextElideMode.ElideRight, room.width()
            )
            painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, text)
            return 0
        room = line.adjusted(0, 0, -turn, 0)
        painter.drawText(
            room, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self._figure
        )
        return painter.fontMetrics().horizontalAdvance(self._figure) + _GAP_PX + turn

    def _paint_turn(self, painter: QPainter, line: QRect) -> int:
        """The small arrow of what can be opened."""
        x, y, reach = line.right() - 5.0, LINE_PX / 2, 3.5
        points = (
            [(x - reach, y - 2), (x, y + 2), (x + reach, y - 2)]
            if self.isChecked()
            else [(x - 2, y - reach), (x + 2, y), (x - 2, y + reach)]
        )
        painter.save()
        painter.setPen(QPen(self._tokens.color("muted"), 1.4))
        for (x0, y0), (x1, y1) in pairwise(points):
            painter.drawLine(round(x0), round(y0), round(x1), round(y1))
        painter.restore()
        return _TURN_PX

    def _paint_state(self, painter: QPainter) -> None:
        around = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        if self.underMouse() and self.isEnabled():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._tokens.color("control"))
            painter.drawRoundedRect(around, 5, 5)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(self._tokens.color("focus"))
            painter.drawRoundedRect(around, 5, 5)


def _wrap(height: int) -> Qt.TextFlag:
    return Qt.TextFlag.TextWordWrap if height > LINE_PX else Qt.TextFlag.TextSingleLine


def _weight(is_bold: bool) -> QFont.Weight:
    return QFont.Weight.DemiBold if is_bold else QFont.Weight.Normal
