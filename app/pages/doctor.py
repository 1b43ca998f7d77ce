"""The Doctor page: what is well with the machine that trains, what is not, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QApplication, QLabel, QProgressBar, QWidget

from app import doctor_words as words
from app.link import HostLink
from app.pages.doctor_group import GroupCard
from app.theme import Theme, Tokens
from app.theme_icons import pixmap
from app.widgets.parts import Card, button, column, label, row, scrolled, set_look, set_tone
from engine.contract.messages import Facts, Refusal
from engine.planning import doctor
from engine.planning.checkup import Check

_WIDEST_PX = 1120
_ICON_PX = 28


class DoctorPage(QWidget):
    """Shows the engine's checks of its machine.

    Signals:
        said: a sentence for the person.
    """

    said = Signal(str)

    def __init__(self, link: HostLink, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self._link = link
        self._tokens = theme.tokens
        self.checks: list[Check] = []
        self.groups: list[GroupCard] = []
        self._is_looking = False
        self._build()
        self.again.clicked.connect(self.look)
        self.copy_button.clicked.connect(self._on_copy)
        QShortcut(QKeySequence.StandardKey.Refresh, self).activated.connect(self.look)
        link.connected.connect(self._on_connected)
        link.disconnected.connect(self._on_disconnected)
        theme.changed.connect(self._on_theme_changed)
        self.look()

    def _build(self) -> None:
        self.copy_button = button("Copy report", tip="As text for a bug report, without secrets")
        self.again = button("Check again", "primary", tip="F5")
        self.summary = Card()
        self.icon = QLabel()
        self.icon.setFixedSize(_ICON_PX, _ICON_PX)
        self.headline = label("", "headline")
        self.explanation = label("", "muted", wrap=True)
        self.busy = QProgressBar(minimum=0, maximum=0, textVisible=False)
        self.busy.setAccessibleName("The machine is being looked at")
        self.summary.column.addLayout(row(self.icon, self.headline, None, spacing=12))
        self.summary.column.addWidget(self.explanation)
        self.summary.column.addWidget(self.busy)
        self._cards = column(self.summary, spacing=13)
        self._cards.addStretch(1)
        body = QWidget()
        body.setObjectName("body")
        body.setLayout(self._cards)
        body.setMaximumWidth(_WIDEST_PX)
        area = scrolled(body, sideways=False)
        top = row(label("Doctor", "title"), None, self.copy_button, self.again, spacing=12)
        self.setLayout(column(top, area, margins=(24, 20, 24, 20), spacing=14))

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Have the engine look at its machine."""
        if self._is_looking:
            return
        self._is_looking = True
        self._show_looking()
        pending = self._link.ask(Facts)
        pending.replied.connect(self._on_facts)
        pending.refused.connect(self._on_refused)

    def _on_connected(self, _data: object) -> None:
        self.look()

    def _on_disconnected(self, sentence: str) -> None:
        self._is_looking = False
        self._show_trouble("The engine cannot be reached", sentence)

    def _on_refused(self, refusal: Refusal) -> None:
        self._is_looking = False
        # Before the first connection there is nothing to complain of: it looks once it is there.
        if refusal.code != "no_connection":
            self._show_trouble("The machine could not be looked at", refusal.sentence)
        elif self._link.outage:
            self._show_trouble("The engine cannot be reached", self._link.outage)

    def _on_facts(self, data: dict[str, Any]) -> None:
        self._is_looking = False
        try:
            checks = words.read_checks(data.get("facts") or {})
        except msgspec.ValidationError as error:
            self._show_trouble("The engine's answer cannot be read", f"{error}.")
            return
        if not checks:
            self._show_trouble(
                "Nothing was checked",
                "The engine is of a version that does not look at its machine. Install the same "
                "version in both places.",
            )
            return
        self.show_checks(checks)

    # ------------------------------------------------------------ showing

    def show_checks(self, checks: Sequence[Check]) -> None:
        """Show these."""
        self.checks = list(checks)
        self.busy.hide()
        self.again.setEnabled(True)
        self.copy_button.setEnabled(True)
        self.explanation.setText(words.explanation(checks))
        self._show_summary(words.headline(checks), words.tone(checks))
        self._show_groups()

    def _show_looking(self) -> None:
        self.busy.show()
        self.again.setEnabled(False)
        self.copy_button.setEnabled(bool(self.checks))
        if not self.checks:
            self.explanation.setText("Cards, drivers, memory, disks and packages: about 3 s.")
            self._show_summary("Looking at the machine …", "info")

    def _show_trouble(self, title: str, sentence: str) -> None:
        self.checks = []
        self.busy.hide()
        self.again.setEnabled(True)
        self.copy_button.setEnabled(False)
        self.explanation.setText(sentence)
        self._show_summary(title, "danger")
        self._show_groups()

    def _show_summary(self, text: str, tone: str) -> None:
        self.headline.setText(text)
        set_tone(self.headline, tone if tone in ("warning", "danger") else "")
        set_look(self.summary, "card", tone if tone in ("warning", "danger") else "true")
        self._tone = tone
        self._draw_icon()

    def _draw_icon(self) -> None:
        names = {"good": "circle-check", "warning": "triangle-alert", "danger": "octagon-x"}
        color = getattr(self._tokens, self._tone)
        name = names.get(self._tone, "stethoscope")
        self.icon.setPixmap(pixmap(name, color, _ICON_PX, self.devicePixelRatioF()))

    def _show_groups(self) -> None:
        for card in self.groups:
            card.hide()
            card.deleteLater()
        self.groups = [
            GroupCard(title, checks, self._tokens) for title, checks in words.groups(self.checks)
        ]
        for place, card in enumerate(self.groups):
            self._cards.insertWidget(place + 1, card)

    def _on_theme_changed(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._draw_icon()
        for card in self.groups:
            card.set_tokens(tokens)

    def _on_copy(self) -> None:
        QApplication.clipboard().setText(doctor.report(self.checks))
        self.said.emit("The report is in the clipboard. It holds no secrets and no user's name.")
