"""The top of the page: the run's name, what can be done with the form, and Start."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QMenu, QPushButton, QSizePolicy, QWidget

from app.form import Form
from app.form_editors import FormLine
from app.form_fields import fields
from app.widgets.parts import button, label, row

# Made into key sequences later: Qt looks at the platform for that, so there must be an application.
_KEYS = (
    ("undo", QKeySequence.StandardKey.Undo),
    ("redo", QKeySequence.StandardKey.Redo),
    ("start", "Ctrl+Return"),
    ("rehearse", "Ctrl+T"),
)


class Header(QWidget):
    """Names the run and starts it."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self.name = _name_line()
        self.undo = button("Undo", "quiet", tip="Take the last change back (Ctrl+Z)")
        self.redo = button("Redo", "quiet", tip="Do it again (Ctrl+Shift+Z)")
        self.more = button("More", tip="Import, export, copy as a command, start over")
        self.more.setMenu(self._make_menu())
        self.rehearse = button(
            "Try it first",
            tip="Runs the heaviest steps, an evaluation, a save and a resume on your data, "
            "measures them, and leaves nothing behind (Ctrl+T)",
        )
        self.start = button("Start training", "primary", tip="Ctrl+Return")
        title = label("New run", "title")
        line = row(
            title, self.name, None, self.undo, self.redo, self.more, self.rehearse, self.start,
            spacing=12,
        )  # fmt: skip
        line.setStretch(1, 20)
        self.setLayout(line)
        self.name.textEdited.connect(self._on_name_edited)
        self.name.left.connect(form.seal)
        self.undo.clicked.connect(form.undo)
        self.redo.clicked.connect(form.redo)
        form.changed.connect(self._on_form_changed)

    def bind_keys(self, page: QWidget) -> None:
        """Let the keys press the buttons from anywhere on the page."""
        for name, keys in _KEYS:
            target: QPushButton = getattr(self, name)
            shortcut = QShortcut(QKeySequence(keys), page)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(target.click)

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        self.import_action = menu.addAction("Import TOML…")
        self.export_action = menu.addAction("Export TOML…")
        self.copy_action = menu.addAction("Copy as `fettle train`")
        menu.addSeparator()
        self.reset_action = menu.addAction("Settings back to normal")
        return menu

    def _on_name_edited(self, text: str) -> None:
        self._form.set_value("name", text if text.strip() else None)

    def _on_form_changed(self) -> None:
        draft = self._form.draft
        given = draft.values.get("name")
        shown = given if isinstance(given, str) else ""
        if self.name.text() != shown and not self.name.hasFocus():
            self.name.setText(shown)
        self.name.setPlaceholderText(draft.suggested_name() or "Name of the run")
        self.undo.setEnabled(self._form.can_undo)
        self.redo.setEnabled(self._form.can_redo)


def _name_line() -> FormLine:
    line = FormLine()
    line.setObjectName("name")
    line.setAccessibleName("Name of the run")
    line.setToolTip(fields()["name"].help)
    line.setMinimumWidth(160)
    line.setMaximumWidth(340)
    line.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return line
