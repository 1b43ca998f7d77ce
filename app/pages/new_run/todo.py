"""What keeps a run from starting: each with a way to its field, and a remedy in one click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from app.form_words import choice
from app.form_words import label as setting_name
from app.widgets.folder import Pool
from app.widgets.parts import button, column, label, row
from engine.contract.messages import Complaint

_LINK_STYLE = (
    "QPushButton { background: transparent; border: none; padding: 0; text-align: left; }"
    "QPushButton:hover, QPushButton:focus { text-decoration: underline; }"
)


class TodoList(Pool["TodoRow"]):
    """Complaints below each other.

    Signals:
        field_wanted: dotted name of the setting that a complaint is about.
        patch_wanted: the changes (dict) that mend it.
    """

    field_wanted = Signal(str)
    patch_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__(self._make_row, spacing=6)
        self._shown: list[Complaint] = []

    def show_complaints(self, complaints: Sequence[Complaint]) -> None:
        """Show these instead of what is there."""
        if list(complaints) == self._shown:
            return
        self._shown = list(complaints)
        for place, complaint in zip(self.take(len(complaints)), complaints, strict=True):
            place.show_complaint(complaint)

    def _make_row(self) -> TodoRow:
        made = TodoRow()
        made.field_wanted.connect(self.field_wanted)
        made.patch_wanted.connect(self.patch_wanted)
        return made


class TodoRow(QWidget):
    """One complaint.

    Signals: as those of :class:`TodoList`.
    """

    field_wanted = Signal(str)
    patch_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._patch: dict[str, Any] = {}
        self.name = QPushButton()
        self.name.setCursor(Qt.CursorShape.PointingHandCursor)
        self.name.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.name.setStyleSheet(_LINK_STYLE)
        self.remedy = button("Mend it", "quiet")
        self._text = label("", "muted", wrap=True)
        self.setLayout(
            column(row(self.name, None, self.remedy), self._text, margins=(0, 0, 0, 6), spacing=4)
        )
        self.name.clicked.connect(self._on_name_clicked)
        self.remedy.clicked.connect(self._on_remedy_clicked)

    def show_complaint(self, complaint: Complaint) -> None:
        """Show this one."""
        title = setting_name(complaint.field)
        self.name.setText(title)
        self.name.setProperty("field", complaint.field)
        self.name.setAccessibleName(f"Go to {title}")
        self.name.setToolTip(f"Go to this setting ({complaint.field})")
        self._text.setText(f"{complaint.problem} {complaint.remedy}".strip())
        self._patch = dict(getattr(complaint, "patch", None) or {})
        self.remedy.setVisible(bool(self._patch))
        self.remedy.setToolTip(patch_words(self._patch))
        self.remedy.setAccessibleName(f"Mend it: {patch_words(self._patch)}")

    def _on_name_clicked(self) -> None:
        self.field_wanted.emit(self.name.property("field"))

    def _on_remedy_clicked(self) -> None:
        self.patch_wanted.emit(self._patch)


def patch_words(patch: dict[str, Any]) -> str:
    """What a patch does, in words: ``Batch → 1 · Accumulation → 8``."""
    changes = []
    for path, value in patch.items():
        if value is None:
            changes.append(f"{setting_name(path)} back to normal")
        else:
            shown = choice(path, value) if not isinstance(value, list) else ", ".join(value)
            changes.append(f"{setting_name(path)} → {shown or 'none'}")
    return " · ".join(changes)
