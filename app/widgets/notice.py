"""One sentence on top of a page about what was just done, or why it was not. Leaves by itself."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QFrame, QSizePolicy

from app.widgets.parts import button, label, row, set_tone

SHOWN_MS = 8000


class Notice(QFrame):
    """A sentence in its colour; bad news stays until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.text = label("", wrap=True)
        self.close_button = button("Close", "quiet")
        line = row(self.text, self.close_button)
        line.setContentsMargins(16, 8, 8, 8)
        line.setStretch(0, 1)
        self.setLayout(line)
        self._leave = QTimer(self, singleShot=True, interval=SHOWN_MS)
        self._leave.timeout.connect(self.hide)
        self.close_button.clicked.connect(self.hide)
        self.hide()

    def say(self, sentence: str, tone: str) -> None:
        """Show a sentence in the colour of a tone (``good``, ``info``, ``warning``, ``danger``)."""
        self.text.setText(sentence)
        self.setAccessibleName(sentence)
        set_tone(self.text, tone)
        self.show()
        if tone == "danger":
            self._leave.stop()
        else:
            self._leave.start()
