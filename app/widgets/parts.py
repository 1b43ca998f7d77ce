"""Small parts that every page is made of: labels, cards, chips, buttons, rows."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.theme_icons import icon


def label(text: str = "", role: str = "", *, tone: str = "", wrap: bool = False) -> QLabel:
    """A text in one of the style sheet's roles."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    if tone:
        made.setProperty("tone", tone)
    if wrap:
        made.setWordWrap(True)
        made.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
    return made


def set_tone(widget: QWidget, tone: str) -> None:
    """Change a widget's colour by meaning: ``good``, ``info``, ``warning``, ``danger`` or none."""
    set_look(widget, "tone", tone)


def set_look(widget: QWidget, name: str, value: str) -> None:
    """Change a property that the style sheet selects by."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def button(text: str, kind: str = "", *, tip: str = "") -> QPushButton:
    """A push button; ``kind`` is ``primary``, ``danger``, ``quiet`` or none."""
    made = QPushButton(text)
    if kind:
        made.setProperty("kind", kind)
    if tip:
        made.setToolTip(tip)
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    return made


def set_icon(target: QPushButton, name: str, color: str, size: int = 16) -> None:
    """Give a button one of the bundled icons in a colour of the theme."""
    target.setIcon(icon(name, color, size))
    target.setIconSize(QSize(size, size))


class ElidedLabel(QLabel):
    """One line that ends in an ellipsis where there is no room; the tooltip has it all."""

    def minimumSizeHint(self) -> QSize:
        """Qt override: may become narrow."""
        return QSize(60, super().minimumSizeHint().height())

    def setText(self, text: str) -> None:
        """Qt override."""
        super().setText(text)
        self.setToolTip(text)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Qt override."""
        room = self.contentsRect()
        if self.fontMetrics().horizontalAdvance(self.text()) <= room.width():
            super().paintEvent(event)
            return
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room.width())
        painter.setPen(self.palette().windowText().color())
        painter.drawText(room, int(Qt.AlignmentFlag.AlignVCenter), text)


def elided(role: str = "") -> ElidedLabel:
    """An empty line that ends in an ellipsis where there is no room for it."""
    made = ElidedLabel()
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setProperty("role", role)
    return made


class Card(QFrame):
    """A framed box with a heading, a small text on the right, and a column for the rest."""

    def __init__(self, heading: str = "", aside: str = "") -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.column = column(margins=(16, 14, 16, 16), spacing=6)
        self.setLayout(self.column)
        self.heading = label(heading, "heading")
        self.aside = label(aside, "aside")
        self.top = row()
        """The line of the heading."""
        if heading:
            self.setAccessibleName(heading)
            self.top = row(self.heading, None, self.aside)
            self.column.addLayout(self.top)


class Chip(QLabel):
    """A short state word in its colour."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("chip", "true")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_word(self, word: str, tone: str) -> None:
        """Show a word in the colour of a tone."""
        self.setText(word)
        self.setAccessibleName(f"State: {word}")
        set_tone(self, tone)


def scrolled(body: QWidget, *, sideways: bool = True) -> QScrollArea:
    """A body that may be larger than its place; the keyboard goes past its frame."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    if not sideways:
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(body)
    return area


def rule() -> QFrame:
    """A thin line."""
    made = QFrame()
    made.setProperty("rule", "true")
    return made


def row(*items: QWidget | QLayout | None, spacing: int = 8) -> QHBoxLayout:
    """Things side by side; None takes the free room."""
    made = QHBoxLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(spacing)
    for item in items:
        if item is None:
            made.addStretch(1)
        elif isinstance(item, QLayout):
            made.addLayout(item)
        else:
            made.addWidget(item)
    return made


def column(
    *items: QWidget | QLayout, margins: tuple[int, int, int, int] = (0, 0, 0, 0), spacing: int = 8
) -> QVBoxLayout:
    """Things below each other."""
    made = QVBoxLayout()
    made.setContentsMargins(*margins)
    made.setSpacing(spacing)
    for item in items:
        if isinstance(item, QLayout):
            made.addLayout(item)
        else:
            made.addWidget(item)
    return made
