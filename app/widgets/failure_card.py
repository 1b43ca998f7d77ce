"""What happened, what Fettle did, what can be done: on top of a run that ended before its time."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication, QPlainTextEdit

from app.run_words import Failure
from app.widgets.parts import Card, button, label, row, set_look

_DETAIL_HEIGHT = 150


class FailureCard(Card):
    """The story of a failed or interrupted run."""

    def __init__(self) -> None:
        super().__init__("What happened")
        self.title = label("", "headline", wrap=True)
        self.cause = label("", "muted", wrap=True)
        self.did = label("", wrap=True)
        self.remedy = label("", wrap=True)
        self.detail = QPlainTextEdit(readOnly=True)
        self.detail.setProperty("role", "log")
        self.detail.setFixedHeight(_DETAIL_HEIGHT)
        self.detail.setAccessibleName("Details")
        self.details_button = button("Details")
        self.details_button.setCheckable(True)
        self.copy_button = button("Copy details")
        for text in (self.title, self.cause, self.did, self.remedy):
            text.setTextInteractionFlags(text.textInteractionFlags().TextSelectableByMouse)
        self._fill_column()
        self.details_button.toggled.connect(self.detail.setVisible)
        self.copy_button.clicked.connect(self._on_copy_clicked)

    def _fill_column(self) -> None:
        did, can = label("What Fettle did", "heading"), label("What you can do", "heading")
        for part in (self.title, self.cause, did, self.did, can, self.remedy):
            self.column.addWidget(part)
        self.column.addLayout(row(self.details_button, self.copy_button, None))
        self.column.addWidget(self.detail)
        self.detail.hide()

    def show_failure(self, failure: Failure) -> None:
        """Tell this story."""
        set_look(self, "card", failure.tone)
        self.title.setText(failure.title)
        self.cause.setText(failure.cause)
        self.did.setText(failure.did)
        self.remedy.setText(failure.remedy)
        self.detail.setPlainText(failure.detail)
        has_detail = bool(failure.detail)
        self.details_button.setVisible(has_detail)
        self.detail.setVisible(has_detail and self.details_button.isChecked())

    def _on_copy_clicked(self) -> None:
        parts = (
            self.title.text(),
            self.cause.text(),
            self.did.text(),
            self.remedy.text(),
            self.detail.toPlainText(),
        )
        QApplication.clipboard().setText("\n\n".join(filter(None, parts)))
