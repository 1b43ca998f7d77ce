"""Lists that are rewritten often, and parts of a card that can be folded away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtWidgets import QLayout, QWidget

from app.theme import Tokens
from app.widgets.line_button import LineButton
from app.widgets.parts import column, label

Row = TypeVar("Row", bound=QWidget)


class Pool(QWidget, Generic[Row]):
    """Rows that are made once and used again, so that rewriting them keeps focus and place."""

    def __init__(self, make: Callable[[], Row], *, spacing: int = 0) -> None:
        super().__init__()
        self._make = make
        self._rows: list[Row] = []
        self._column = column(spacing=spacing)
        self.setLayout(self._column)
        self.hide()

    def take(self, number: int) -> list[Row]:
        """So many rows, in view; the others are hidden."""
        while len(self._rows) < number:
            row = self._make()
            self._rows.append(row)
            self._column.addWidget(row)
        for place, row in enumerate(self._rows):
            row.setVisible(place < number)
        self.setVisible(number > 0)
        return self._rows[:number]


class Explained(QWidget):
    """A line whose explanation opens below it when it is pressed."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.line = LineButton(tokens)
        self.how = label("", "small", wrap=True)
        self.how.setContentsMargins(19, 0, 0, 6)
        self.how.hide()
        self.setLayout(column(self.line, self.how, spacing=0))
        self.line.clicked.connect(self._on_clicked)

    def explain(self, text: str) -> None:
        """Take another explanation; without any there is nothing to open."""
        if text != self.how.text():
            self.how.setText(text)
            self.line.setAccessibleDescription(text)
            self.line.setToolTip("")
        if not text:
            self.how.hide()

    def _on_clicked(self) -> None:
        self.how.setVisible(self.how.isHidden() and bool(self.how.text()))


class Folder(QWidget):
    """A heading that opens and closes what is below it."""

    def __init__(self, title: str, body: QWidget | QLayout, tokens: Tokens) -> None:
        super().__init__()
        self.head = LineButton(tokens, is_folder=True)
        self.head.show_line(title, "")
        self._title = title
        self.body = QWidget()
        self.body.setLayout(column(body))
        self.body.hide()
        self.setLayout(column(self.head, self.body, spacing=4))
        self.head.toggled.connect(self._on_toggled)

    @property
    def is_open(self) -> bool:
        """Its body is in view."""
        return self.head.isChecked()

    def open(self) -> None:
        """Show the body."""
        self.head.setChecked(True)

    def say(self, figure: str) -> None:
        """Show a remark beside the heading."""
        self.head.show_line(self._title, figure)

    def _on_toggled(self, is_open: bool) -> None:
        self.body.setVisible(is_open)
