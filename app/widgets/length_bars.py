"""How long the samples of a dataset are: a bar for each stretch of lengths, and where it is cut."""

from __future__ import annotations

import bisect

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import length_words
from app.theme import Tokens
from engine.contract.dataset_report import DatasetReport

HEIGHT_PX = 84
_LEAST_BAR_PX = 2.0
_GAP_PX = 1.0
_SPACE_PX = 2


class LengthBars(QWidget):
    """A histogram. What lies beyond the line loses its end; hovering tells the numbers."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._edges: list[int] = []
        self._counts: list[int] = []
        self._report: DatasetReport | None = None
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT_PX)
        self.setMouseTracking(True)

    def show_report(self, report: DatasetReport) -> None:
        """Show the lengths of this one."""
        self._report = report
        self._edges, self._counts = report.edges, report.counts
        self.setAccessibleName(length_words.in_one_sentence(report))
        self.update()

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self.update()

    def sizeHint(self) -> QSize:
        """Qt override."""
        return QSize(120, HEIGHT_PX)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Qt override: a tip for each bar."""
        number = self.bar_at(event.position().x())
        if self._report is not None and number is not None:
            self.setToolTip(length_words.of_bar(self._report, number))

    def bar_at(self, x: float) -> int | None:
        """Which bar is there, counted from 0; None beside them."""
        if not self._counts or not 0 <= x < self.width():
            return None
        return min(int(x / self.width() * len(self._counts)), len(self._counts) - 1)

    # ------------------------------------------------------------ painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt override."""
        if not self._counts or self._report is None:
            return
        painter = QPainter(self)
        metrics = painter.fontMetrics()
        cut = length_words.cut_of(self._report)
        floor = self.height() - metrics.height() - _SPACE_PX
        self._paint_bars(painter, metrics.height() + _SPACE_PX if cut else 0, floor, cut)
        painter.setPen(QPen(self._tokens.color("control"), 1))
        painter.drawLine(0, floor, self.width(), floor)
        self._paint_ends(painter, metrics)
        if cut:
            self._paint_cut(painter, metrics, floor, cut)
        painter.end()

    def _x(self, length: float) -> float:
        return self.width() * length / self._edges[-1]

    def _paint_bars(self, painter: QPainter, top: int, floor: int, cut: int | None) -> None:
        most = max(self._counts) or 1
        for number, count in enumerate(self._counts):
            if not count:
                continue
            left, right = self._x(self._edges[number]), self._x(self._edges[number + 1])
            # A single sample among thousands is to be seen too.
            high = max(_LEAST_BAR_PX, (floor - top) * count / most)
            bar = QRectF(left, floor - high, max(1.0, right - left - _GAP_PX), high)
            is_cut = cut is not None and self._edges[number] >= cut
            painter.fillRect(bar, self._tokens.color("warning" if is_cut else "info"))

    def _paint_ends(self, painter: QPainter, metrics: QFontMetrics) -> None:
        assert self._report is not None
        painter.setPen(self._tokens.color("muted"))
        line = QRectF(0, self.height() - metrics.height(), self.width(), metrics.height())
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(line, Qt.AlignmentFlag.AlignRight, length_words.end_of(self._report))

    def _paint_cut(self, painter: QPainter, metrics: QFontMetrics, floor: int, cut: int) -> None:
        if cut > self._edges[-1]:
            return
        x = self._x(cut)
        color = "warning" if bisect.bisect_left(self._edges, cut) < len(self._counts) else "muted"
        painter.setPen(QPen(self._tokens.color(color), 1.5))
        painter.drawLine(round(x), 0, round(x), floor)
        text = length_words.of_cut(cut)
        is_left = x + metrics.horizontalAdvance(text) + 6 > self.width()
        left = x - metrics.horizontalAdvance(text) - 5 if is_left else x + 5
        painter.drawText(round(left), metrics.ascent(), text)
