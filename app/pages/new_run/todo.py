"""What is to do: each thing with a way to its field, and a remedy in one click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from app.form_words import label as setting_name
from app.pages.new_run.todo_items import Todo, patch_words
from app.theme import Tokens
from app.theme_icons import icon
from app.widgets.folder import Pool
from app.widgets.parts import button, column, label, row

_LINK_STYLE = (
    "QPushButton { background: transparent; border: none; padding: 0; text-align: left; }"
    "QPushButton:hover, QPushButton:focus { text-decoration: underline; }"
)
_ICON_PX = 15
_ICONS = {"info": "info", "danger": "octagon-x", "warning": "triangle-alert"}


class TodoList(Pool["TodoRow"]):
    """Things to do below each other.

    Signals:
        field_wanted: dotted name of the setting that one is about.
        patch_wanted: the changes (dict) that do it, and words for them.
    """

    field_wanted = Signal(str)
    patch_wanted = Signal(object, str)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__(self._make_row, spacing=6)
        self._tokens = tokens
        self._shown: list[Todo] = []

    def show_todos(self, found: Sequence[Todo]) -> None:
        """Show these instead of what is there."""
        if list(found) == self._shown:
            return
        self._shown = list(found)
        for place, todo in zip(self.take(len(found)), found, strict=True):
            place.show_todo(todo, self._tokens)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        shown, self._shown = self._shown, []
        self.show_todos(shown)

    def _make_row(self) -> TodoRow:
        made = TodoRow()
        made.field_wanted.connect(self.field_wanted)
        made.patch_wanted.connect(self.patch_wanted)
        return made


class TodoRow(QWidget):
    """One thing.

    Signals: as those of :class:`TodoList`.
    """

    field_wanted = Signal(str)
    patch_wanted = Signal(object, str)

    def __init__(self) -> None:
        super().__init__()
        self._patch: dict[str, Any] = {}
        self.name = QPushButton()
        self.name.setCursor(Qt.CursorShape.PointingHandCursor)
        self.name.setStyleSheet(_LINK_STYLE)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.remedy = button("", "small")
        self._text = label("", "muted", wrap=True)
        self._remedy_row = QWidget()
        self._remedy_row.setLayout(row(self.remedy, None))
        self.setLayout(
            column(self.name, self._text, self._remedy_row, margins=(0, 0, 0, 6), spacing=4)
        )
        self.name.clicked.connect(self._on_name_clicked)
        self.remedy.clicked.connect(self._on_remedy_clicked)

    def show_todo(self, todo: Todo, tokens: Tokens) -> None:
        """Show this one."""
        title = todo.title or setting_name(todo.field)
        self.name.setText(title)
        self.name.setProperty("field", todo.field)
        self.name.setAccessibleName(f"Go to {setting_name(todo.field)}: {title}")
        self.name.setToolTip(f"{title}\nGo to this setting ({todo.field})")
        self.name.setIcon(icon(_ICONS[todo.tone], getattr(tokens, todo.tone), _ICON_PX))
        self._text.setText(todo.text)
        self._patch = todo.patch
        self._remedy_row.setVisible(bool(todo.verb))
        self.remedy.setText(todo.verb or "Mend it")
        self.remedy.setToolTip(patch_words(todo.patch))

    def _on_name_clicked(self) -> None:
        self.field_wanted.emit(self.name.property("field"))

    def _on_remedy_clicked(self) -> None:
        self.patch_wanted.emit(self._patch, self.remedy.text())
