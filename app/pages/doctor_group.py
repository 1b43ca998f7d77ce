"""The checks of one group, each with its state, what was seen, why it matters and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget

from app import doctor_words as words
from app.theme import Tokens
from app.theme_icons import icon
from app.widgets.parts import Card, column, label, row
from engine.planning.checkup import Check

_NAME_PX = 210
_ICON_PX = 16
_GAP_PX = 10
_STYLE = (
    "QPushButton { background: transparent; border: 1px solid transparent; padding: 2px 4px 2px 0;"
    " text-align: left; font-weight: 500; border-radius: 4px; }"
    "QPushButton:hover { text-decoration: underline; }"
)


class GroupCard(Card):
    """A group."""

    def __init__(self, title: str, checks: Sequence[Check], tokens: Tokens) -> None:
        super().__init__(title, words.group_remark(checks))
        self.rows = [CheckRow(check, tokens) for check in checks]
        for line in self.rows:
            self.column.addWidget(line)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        for line in self.rows:
            line.set_tokens(tokens)


class CheckRow(QWidget):
    """One check; what is well keeps its explanation folded away."""

    def __init__(self, check: Check, tokens: Tokens) -> None:
        super().__init__()
        self.check = check
        self.name = QPushButton(f" {check.name}")
        self.name.setStyleSheet(_STYLE)
        self.name.setCursor(Qt.CursorShape.PointingHandCursor)
        self.name.setFixedWidth(_NAME_PX)
        self.name.setIconSize(QSize(_ICON_PX, _ICON_PX))
        self.name.setAccessibleName(f"{check.name}: {words.WORDS[check.state]}, {check.value}")
        self.name.setAccessibleDescription(f"{check.why} {check.remedy}".strip())
        self.name.setToolTip(check.name)
        self.value = _text(check.value)
        self.why = _text(check.why, "muted")
        self.remedy = _text(f"What to do: {check.remedy}" if check.remedy else "")
        self.details = QWidget()
        self.details.setLayout(
            column(self.why, self.remedy, margins=(_NAME_PX + _GAP_PX, 0, 0, 6), spacing=3)
        )
        line = row(self.name, self.value, spacing=_GAP_PX)
        line.setStretch(1, 1)
        line.setAlignment(self.name, Qt.AlignmentFlag.AlignTop)
        self.setLayout(column(line, self.details, spacing=2))
        self.why.setVisible(bool(check.why))
        self.remedy.setVisible(bool(check.remedy))
        self.details.setVisible(check.state in ("warning", "problem"))
        self.name.clicked.connect(self._on_clicked)
        self.set_tokens(tokens)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        color = getattr(tokens, words.TONES[self.check.state])
        self.name.setIcon(icon(words.ICONS[self.check.state], color, _ICON_PX))

    def _on_clicked(self) -> None:
        has_details = bool(self.check.why or self.check.remedy)
        self.details.setVisible(self.details.isHidden() and has_details)


def _text(text: str, role: str = "") -> QLabel:
    made = label(text, role, wrap=True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return made
