"""The settings: a grid of nine, or all of them in groups, built from the contract's fields."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from app.form import Form
from app.form_editors import Editor, make_editor
from app.form_fields import fields
from app.form_words import BASIC, ELSEWHERE, GROUPS
from app.mixture import is_mixture
from app.pages.new_run.profile_menu import ProfileMenu
from app.preferences import Preferences
from app.widgets.choice import Choice
from app.widgets.parts import Card, button, column, label, row

COLUMNS = 3
_OF_ONE = ("dataset.skip_samples", "dataset.max_samples")
"""Of several datasets each has its own."""
_EXPERT_KEY = "new_run/expert"


class SettingsCard(Card):
    """Edits every setting that has no place of its own on the page.

    Signals:
        refilled: other editors are in view now.
    """

    refilled = Signal()

    def __init__(self, form: Form, preferences: Preferences) -> None:
        super().__init__()
        self._form = form
        self._preferences = preferences
        self.editors: dict[str, Editor] = {}
        """The editors in view, by setting."""
        self._groups: dict[str, list[QWidget]] = {}
        self._body = QWidget()
        self.setAccessibleName("Settings")
        self.machine = ProfileMenu()
        self.column.addLayout(row(label("Settings", "heading"), None, self.machine, self._views()))
        self.column.addWidget(self._body)
        self._fill()
        form.changed.connect(self._on_form_changed)

    @property
    def is_expert(self) -> bool:
        """All settings are in view."""
        return self.expert.isChecked()

    def show_all(self) -> None:
        """Bring every setting into view."""
        if not self.is_expert:
            self.expert.click()

    def _views(self) -> QWidget:
        self.basic = button("Basic", "quiet", tip="The nine settings that matter most")
        self.expert = button("Expert", "quiet", tip="Every setting")
        self._view = Choice(self, self.basic, self.expert)
        holder = QWidget()
        holder.setLayout(row(self.basic, self.expert, spacing=2))
        wanted = self._preferences.text(_EXPERT_KEY) == "yes"
        (self.expert if wanted else self.basic).setChecked(True)
        self._view.chosen.connect(self._on_view_clicked)
        return holder

    def _on_view_clicked(self) -> None:
        self._preferences.set_text(_EXPERT_KEY, "yes" if self.is_expert else "no")
        self._fill()

    # ------------------------------------------------------------ the grid

    def _fill(self) -> None:
        old = self._body
        self._body = QWidget()
        self.editors = {}
        self._groups = {}
        if self.is_expert:
            self._body.setLayout(column(*self._expert_parts(), spacing=8))
        else:
            self._body.setLayout(self._grid(list(BASIC)))
        self.column.replaceWidget(old, self._body)
        old.hide()
        old.deleteLater()
        before: QWidget = self.expert
        for editor in self.editors.values():
            QWidget.setTabOrder(before, editor.control)
            before = editor.control
        self._on_form_changed()
        self.refilled.emit()

    def _expert_parts(self) -> list[QWidget]:
        parts: list[QWidget] = []
        for table, title in GROUPS:
            paths = [p for p in fields() if p.startswith(f"{table}.") and p not in ELSEWHERE]
            heading = label(title, "heading")
            heading.setContentsMargins(0, 10, 0, 0)
            grid = QWidget()
            grid.setLayout(self._grid(paths))
            self._groups[table] = [heading, grid]
            parts += [heading, grid]
        return parts

    def _grid(self, paths: list[str]) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(10)
        for place, path in enumerate(paths):
            editor = make_editor(fields()[path])
            editor.edited.connect(self._form.set_value)
            editor.left.connect(self._form.seal)
            grid.addWidget(editor, place // COLUMNS, place % COLUMNS)
            self.editors[path] = editor
        for place in range(COLUMNS):
            grid.setColumnStretch(place, 1)
        return grid

    def _on_form_changed(self) -> None:
        draft = self._form.draft
        for path, editor in self.editors.items():
            editor.show_value(draft.get(path))
            # The rank has its place in the basic view, used or not: the grid does not jump.
            if path == "lora.r":
                editor.setEnabled("lora" in draft.tables)
            if path in _OF_ONE:
                editor.setEnabled(not is_mixture(draft))
        for table in ("lora", "quantization"):
            for part in self._groups.get(table, []):
                part.setVisible(table in draft.tables)
