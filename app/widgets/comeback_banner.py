"""A run that goes on by itself: when, and the two things a person may want instead."""

from __future__ import annotations

import time
from functools import partial

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QSizePolicy

from app.failure_words import comeback_of
from app.widgets.parts import Card, button, column, label, row, set_look
from engine.contract.messages import RunSummary

_COUNT_MS = 500


class ComebackBanner(Card):
    """Counts down to the next attempt of a recovering run; hidden for all others.

    Signals:
        wanted: a verb of :class:`app.pages.run_actions.RunActions`.
    """

    wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._summary: RunSummary | None = None
        set_look(self, "card", "warning")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.when = label("", "headline")
        self.why = label("", "muted", wrap=True)
        self.now_button = button("Now", "primary", tip="Go on from the newest save at once")
        self.leave_button = button("Do not", tip="Leave the run as it is; it can be resumed later")
        self.now_button.clicked.connect(partial(self.wanted.emit, "resume"))
        self.leave_button.clicked.connect(partial(self.wanted.emit, "leave_be"))
        texts = column(self.when, self.why, spacing=2)
        line = row(texts, self.now_button, self.leave_button, spacing=10)
        line.setStretch(0, 1)
        self.column.addLayout(line)
        self._count = QTimer(self, interval=_COUNT_MS)
        self._count.timeout.connect(self._on_counted)
        self.hide()

    def show_summary(self, summary: RunSummary) -> None:
        """Show when this run goes on, if it is one that does."""
        self._summary = summary
        text = comeback_of(summary, time.time())
        if text:
            self.why.setText(summary.sentence)
            self._on_counted()
            self._count.start()
        else:
            self._count.stop()
        self.setVisible(bool(text))

    def _on_counted(self) -> None:
        if self._summary is not None:
            self.when.setText(comeback_of(self._summary, time.time()))
