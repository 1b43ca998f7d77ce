"""How conversations are written for the model, and what of them is learnt."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from app.form import Draft
from app.form_editors import FormCombo
from app.form_fields import fields
from app.form_words import choice
from app.link import HostLink
from app.widgets.parts import button, label, row
from engine.contract.template_names import AUTO, is_auto, is_file
from engine.planning.chat_templates import FIELD, bundled

LOSS = "dataset.loss_on"
_FROM_FILE = "\0file"
_FILTER = "Chat templates (*.jinja *.jinja2 *.j2);;All files (*)"


class TemplateBar(QWidget):
    """Chooses template and loss.

    Signals:
        patch_wanted: settings to change (dict).
        edit_wanted: the template is to be edited.
    """

    patch_wanted = Signal(object)
    edit_wanted = Signal()

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self._link = link
        self._chosen = AUTO
        self.template = FormCombo()
        self.template.setAccessibleName("Chat template")
        self.template.setToolTip(fields()[FIELD].help)
        self.loss = FormCombo()
        self.loss.setAccessibleName("What is learnt")
        self.loss.setToolTip(fields()[LOSS].help)
        for value in fields()[LOSS].choices:
            self.loss.addItem(choice(LOSS, value), value)
        self.edit = button("Edit…", tip="Change the template, and see at once what it writes")
        self.setLayout(
            row(
                label("Chat template", "label"), self.template, self.edit, None,
                label("Loss counts", "label"), self.loss,
            )
        )  # fmt: skip
        self.template.activated.connect(self._on_template)
        self.loss.activated.connect(self._on_loss)
        self.edit.clicked.connect(self.edit_wanted)
        self.show_draft(Draft())

    def show_draft(self, draft: Draft) -> None:
        """Show what is chosen; plain text has neither."""
        self._chosen = str(draft.get(FIELD) or AUTO)
        self._fill()
        self.loss.setCurrentIndex(max(0, self.loss.findData(draft.get(LOSS))))
        self.setVisible(draft.get("method") != "pretrain")

    def _fill(self) -> None:
        self.template.clear()
        self.template.addItem("The model's own", AUTO)
        self.template.insertSeparator(1)
        for each in bundled():
            self.template.addItem(each.title, each.name)
            self.template.setItemData(self.template.count() - 1, f"For {each.models}", _TOOL_TIP)
        self.template.insertSeparator(self.template.count())
        if is_file(self._chosen):
            self.template.addItem(file_name(self._chosen), self._chosen)
            self.template.setItemData(self.template.count() - 1, self._chosen, _TOOL_TIP)
        if self._link.place.shares_files:
            self.template.addItem("From a file…", _FROM_FILE)
        chosen = AUTO if is_auto(self._chosen) else self._chosen
        self.template.setCurrentIndex(max(0, self.template.findData(chosen)))

    def _on_template(self, index: int) -> None:
        wanted = self.template.itemData(index)
        if wanted == _FROM_FILE:
            folder = str(Path(self._chosen).parent) if is_file(self._chosen) else str(Path.home())
            path, _ = QFileDialog.getOpenFileName(self, "Choose a chat template", folder, _FILTER)
            wanted = self._link.place.path_there(path) if path else None
        if wanted is None or wanted == self._chosen:
            self._fill()  # The person thought better of it.
            return
        self.patch_wanted.emit({FIELD: wanted})

    def _on_loss(self, index: int) -> None:
        self.patch_wanted.emit({LOSS: self.loss.itemData(index)})


_TOOL_TIP = 3
"""Qt's role of an item's tooltip."""


def file_name(path: str) -> str:
    """Of a file of this or the engine's machine."""
    return (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name
