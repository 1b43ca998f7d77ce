"""What the time of a run's steps goes into: one line, that opens into a bar and its parts."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import Tokens
from app.widgets.folder import Explained, Folder, Pool
from app.widgets.growing_area import GrowingArea
from app.widgets.parts import Card, column, label
from engine.diagnosis.pace.shares import QUESTION, Pace, Share

_BAR_PX = 10
_GAP_PX = 1.5
_MOST_PX = 300
_COLORS: dict[str, tuple[str, float]] = {
    "computing": ("good", 1.0),
    "recompute": ("good", 0.55),
    "padding": ("warning", 1.0),
    "idle": ("danger", 0.8),
    "waiting": ("danger", 0.5),
    "copies": ("violet", 1.0),
    "optimizer": ("violet", 0.55),
    "saving": ("info", 1.0),
    "evaluating": ("info", 0.55),
}
"""Part to a colour of the theme, and how opaque it is."""


def color_of(part: str, tokens: Tokens) -> QColor:
    """The colour of a part; one that a newer engine knows is grey."""
    name, opacity = _COLORS.get(part, ("muted", 0.6))
    color = QColor(tokens.color(name))
    color.setAlphaF(opacity)
    return color


class ShareBar(QWidget):
    """The parts side by side."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._shares: list[Share] = []
        self.setFixedHeight(_BAR_PX)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_shares(self, shares: list[Share], tokens: Tokens) -> None:
        """Show these, in this order."""
        self._shares, self._tokens = shares, tokens
        self.setAccessibleName(", ".join(f"{s.name} {s.share:.0%}" for s in shares))
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt override."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        left = 0.0
        for share in self._shares:
            width = share.share * self.width()
            painter.setBrush(color_of(share.part, self._tokens))
            box = QRectF(left, 0, max(width - _GAP_PX, 0.5), self.height())
            painter.drawRoundedRect(box, 2, 2)
            left += width


class PaceCard(Card):
    """Folded it is one line. Hidden while nothing is known."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._pace: Pace | None = None
        self.setAccessibleName(QUESTION)
        self.column.setContentsMargins(16, 8, 16, 8)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.sentence = label("", "muted", wrap=True)
        self.bar = ShareBar(tokens)
        self.lines: Pool[Explained] = Pool(self._make_line)
        self.unknown = label("", "small", wrap=True)
        body = QWidget()
        body.setObjectName("body")
        body.setLayout(column(self.sentence, self.bar, self.lines, self.unknown, spacing=8))
        # The list of what happened above it keeps its room.
        area = GrowingArea(body, _MOST_PX)
        area.set_grown(True)
        self.folder = Folder(QUESTION, area, tokens)
        self.column.addWidget(self.folder)
        self.hide()

    def show_pace(self, pace: Pace | None) -> None:
        """Show where the time goes; None hides the card."""
        self._pace = pace
        self.setVisible(pace is not None)
        if pace is None:
            return
        self.sentence.setText(pace.sentence)
        self.bar.show_shares(pace.shares, self._tokens)
        for line, share in zip(self.lines.take(len(pace.shares)), pace.shares, strict=True):
            swatch = color_of(share.part, self._tokens)
            line.line.show_line(share.name, f"{100 * share.share:.0f} %", swatch=swatch)
            line.explain(share.advice)
        self.unknown.setText(" ".join(pace.unknown))
        self.unknown.setVisible(bool(pace.unknown))

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self.folder.head.set_tokens(tokens)
        if self._pace is not None:
            for line in self.lines.take(len(self._pace.shares)):
                line.line.set_tokens(tokens)
            self.show_pace(self._pace)

    def _make_line(self) -> Explained:
        return Explained(self._tokens)
