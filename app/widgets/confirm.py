"""The question before something that cannot be undone, or makes another run of it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QWidget

from app.widgets.parts import button, column, label, row


class Confirm(QDialog):
    """Asks once; Escape and Enter leave everything as it is.

    Signals:
        confirmed: the person pressed the button that does it.
    """

    confirmed = Signal()

    def __init__(
        self, parent: QWidget, *, title: str, text: str, verb: str, kind: str = "danger"
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Fettle")
        self.setModal(True)
        self.setMinimumWidth(420)
        self.keep = button("Cancel")
        self.do = button(verb, kind)
        self.keep.setDefault(True)
        self.setLayout(
            column(
                label(title, "heading", wrap=True),
                label(text, "muted", wrap=True),
                row(None, self.keep, self.do),
                margins=(20, 18, 20, 16),
                spacing=12,
            )
        )
        self.keep.clicked.connect(self.reject)
        self.do.clicked.connect(self.accept)
        self.accepted.connect(self.confirmed)
        self.keep.setFocus()
