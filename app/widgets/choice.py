"""One of several buttons is down, and the keyboard reaches each of them."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QPushButton


class Choice(QObject):
    """Makes buttons exclusive.

    Not a QButtonGroup: that takes all but one of its buttons out of the tab order.

    Signals:
        chosen: the button that a person pressed.
    """

    chosen = Signal(object)

    def __init__(self, parent: QObject, *buttons: QPushButton) -> None:
        super().__init__(parent)
        self.buttons = buttons
        for button in buttons:
            button.setCheckable(True)
            button.toggled.connect(self._on_toggled)
            button.clicked.connect(self._on_clicked)

    def _on_toggled(self, is_down: bool) -> None:
        if is_down:
            for other in self.buttons:
                if other is not self.sender():
                    other.setChecked(False)

    def _on_clicked(self) -> None:
        pressed = self.sender()
        if isinstance(pressed, QPushButton):
            # A second press does not let it up: one is always chosen.
            pressed.setChecked(True)
            self.chosen.emit(pressed)
