"""What happened, why, what Fettle did, what can be done: on top of a run that ended before its
time."""

from __future__ import annotations

import time
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QLabel, QPlainTextEdit

from app.failure_words import Failure, moment_of, settings_of
from app.widgets.flow import Flow
from app.widgets.parts import Card, button, label, set_look
from engine.contract import effects

_DETAIL_HEIGHT = 150


class FailureCard(Card):
    """The story of a failed or interrupted run.

    Signals:
        wanted: ``fix`` (go on with what mends it) or ``report`` (save one).
    """

    wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__("What happened")
        self.failure: Failure | None = None
        """The one that is told."""
        self.title = label("", "headline", wrap=True)
        self.cause = label("", "muted", wrap=True)
        self.why_heading = label("Why Fettle thinks so", "heading")
        self.why = label("", "muted", wrap=True)
        self.did = label("", wrap=True)
        self.remedy = label("", wrap=True)
        self.detail = QPlainTextEdit(readOnly=True)
        self.detail.setProperty("role", "log")
        self.detail.setFixedHeight(_DETAIL_HEIGHT)
        self.detail.setAccessibleName("Details")
        self._make_buttons()
        for text in self._texts():
            text.setTextInteractionFlags(text.textInteractionFlags().TextSelectableByMouse)
        self._fill_column()

    def _make_buttons(self) -> None:
        self.fix_button = button("Fix and resume", "primary")
        self.details_button = button("Details")
        self.details_button.setCheckable(True)
        self.copy_button = button("Copy details")
        self.report_button = button(
            "Save report…", tip="An archive for whoever helps, without your data, tokens and names"
        )
        self.fix_button.clicked.connect(partial(self.wanted.emit, "fix"))
        self.report_button.clicked.connect(partial(self.wanted.emit, "report"))
        self.details_button.toggled.connect(self.detail.setVisible)
        self.copy_button.clicked.connect(self._on_copy_clicked)

    def _texts(self) -> tuple[QLabel, ...]:
        return self.title, self.cause, self.why, self.did, self.remedy

    def _fill_column(self) -> None:
        did, can = label("What Fettle did", "heading"), label("What you can do", "heading")
        story = (self.title, self.cause, self.why_heading, self.why, did, self.did)
        for part in (*story, can, self.remedy):
            self.column.addWidget(part)
        buttons = (self.fix_button, self.details_button, self.copy_button, self.report_button)
        self.column.addSpacing(4)
        self.column.addLayout(Flow(*buttons))
        self.column.addWidget(self.detail)
        self.detail.hide()

    def show_failure(self, failure: Failure) -> None:
        """Tell this story."""
        self.failure, finding = failure, failure.finding
        set_look(self, "card", failure.tone)
        self.aside.setText(moment_of(finding, time.time()))
        self.title.setText(finding.title.rstrip("."))
        self.cause.setText(finding.cause)
        self.why.setText(finding.why)
        self.did.setText(failure.did)
        self.remedy.setText(finding.remedy)
        self.detail.setPlainText(finding.detail)
        for part in (self.why_heading, self.why):
            part.setVisible(bool(finding.why))
        self.fix_button.setVisible(bool(finding.patch))
        effect = finding.effect or effects.sentence_of(finding.patch)
        self.fix_button.setToolTip(f"Sets {settings_of(finding.patch)}. {effect}")
        has_detail = bool(finding.detail)
        self.details_button.setVisible(has_detail)
        self.detail.setVisible(has_detail and self.details_button.isChecked())

    @property
    def has_fix(self) -> bool:
        """Whether a failure is shown that a change of settings mends."""
        return not self.isHidden() and self.failure is not None and bool(self.failure.finding.patch)

    def _on_copy_clicked(self) -> None:
        known = self.failure.finding.problem if self.failure else ""
        parts = [text.text() for text in self._texts()]
        parts += [f"Known problem: {known}" if known else "", self.detail.toPlainText()]
        QApplication.clipboard().setText("\n\n".join(filter(None, parts)))
