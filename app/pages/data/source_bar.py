"""Which data is looked at, and with which model's tokens."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QComboBox, QCompleter, QFileDialog, QLineEdit, QSizePolicy, QWidget

from app.link import HostLink
from app.pages.new_run.catalogue import bundled
from app.pages.new_run.data_card import FILTER
from app.pages.new_run.models import merge
from app.preferences import Preferences
from app.widgets.parts import button, row
from engine.contract.messages import ListModels

METHODS = (("sft", "Learn from answers"), ("pretrain", "Learn from text"))


class SourceBar(QWidget):
    """Chooses file, model and method.

    Signals:
        look_wanted: it is filled in.
    """

    look_wanted = Signal()

    def __init__(self, link: HostLink, preferences: Preferences) -> None:
        super().__init__()
        self._link = link
        self._preferences = preferences
        self.path = _line("Drop a file here, or write its path", "Data")
        self.model = _line("Model: a folder or a Hugging Face id", "Model")
        self._offered = QStringListModel([option.path for option in merge(bundled(), [])], self)
        completer = QCompleter(self._offered, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.model.setCompleter(completer)
        self.method = QComboBox()
        self.method.setAccessibleName("How it is learnt from")
        for name, text in METHODS:
            self.method.addItem(text, name)
        self.browse = button("Browse…", tip="Choose a file")
        self.look = button("Look", "primary", tip="Return")
        line = row(self.path, self.browse, self.model, self.method, self.look)
        line.setStretch(0, 3)
        line.setStretch(2, 2)
        self.setLayout(line)
        self.browse.clicked.connect(self._on_browse)
        self.look.clicked.connect(self.look_wanted)
        for edit in (self.path, self.model):
            edit.returnPressed.connect(self.look_wanted)
        link.connected.connect(self._on_connected)
        if link.is_connected:
            self._on_connected()

    def _on_connected(self, _data: object = None) -> None:
        self.browse.setEnabled(self._link.place.shares_files)
        pending = self._link.ask(ListModels, folders=self._preferences.model_folders)
        pending.replied.connect(self._on_inventory)

    def _on_inventory(self, data: dict[str, Any]) -> None:
        options = merge(bundled(), data.get("models") or [])
        self._offered.setStringList([option.path for option in options])

    def _on_browse(self) -> None:
        folder = str(Path(self.path.text() or Path.home()).parent)
        path, _ = QFileDialog.getOpenFileName(self, "Choose data", folder, FILTER)
        if path:
            self.take(path)

    @property
    def title(self) -> str:
        """Of the page: the file's name."""
        return PurePath(self.path.text().strip()).name or "Data"

    def take(self, path: str) -> None:
        """A file was chosen on this machine."""
        self.path.setText(self._link.place.path_there(path))
        self.look_wanted.emit()

    def fill(self, path: str, model: str, method: str) -> None:
        """Show what is looked at."""
        self.path.setText(path)
        self.model.setText(model)
        self.method.setCurrentIndex(max(0, self.method.findData(method)))


def _line(placeholder: str, name: str) -> QLineEdit:
    made = QLineEdit(placeholderText=placeholder)
    made.setAccessibleName(name)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return made
