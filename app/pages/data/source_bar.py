"""Which data is looked at, how it is read, and with which model's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QFileDialog, QLineEdit, QSizePolicy, QWidget

from app.data_ways import FORMAT, METHODS
from app.form import Draft
from app.form_editors import FormCombo
from app.form_fields import fields
from app.form_words import choice
from app.link import HostLink
from app.mixture import entries, is_mixture
from app.pages.data.subject import Filled
from app.pages.new_run.catalogue import bundled
from app.pages.new_run.data_card import FILTER
from app.pages.new_run.models import merge
from app.preferences import Preferences
from app.widgets.parts import button, row
from app.words import counted
from engine.contract.messages import ListModels
from engine.formats.registry import METHOD_FORMATS

_DROP = "Drop a file here, or write its path"
_MORE = "together: drop more, or write a path"
_AUTO = "auto"
_FORMAT_WIDTH = 164
_OF_SEVERAL = "Each of several datasets has its own format: New run shows them, with their weights"
_OF_NONE = "Choose a file first: the format is that of its rows"


class SourceBar(QWidget):
    """Chooses file, format, model and method.

    Signals:
        look_wanted: it is filled in.
        patch_wanted: the data is to be read in another way (dict).
    """

    look_wanted = Signal()
    patch_wanted = Signal(object)

    def __init__(self, link: HostLink, preferences: Preferences) -> None:
        super().__init__()
        self._link = link
        self._preferences = preferences
        self._is_several = False
        self.path = _line(_DROP, "Data")
        self._build_model()
        self._build_choices()
        self.browse = button("Browse…", tip="Choose a file")
        self.look = button("Look", "primary", tip="Return")
        line = row(self.path, self.browse, self.format, self.model, self.method, self.look)
        line.setStretch(0, 3)
        line.setStretch(3, 2)
        self.setLayout(line)
        self._connect()
        self._lock_format()

    # ------------------------------------------------------------ building

    def _build_model(self) -> None:
        self.model = _line("Model: folder or hub id", "Model")
        self._offered = QStringListModel([option.path for option in merge(bundled(), [])], self)
        completer = QCompleter(self._offered, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.model.setCompleter(completer)

    def _build_choices(self) -> None:
        self.method = FormCombo()
        self.method.setAccessibleName("How it is learnt from")
        for name, text in METHODS.items():
            self.method.addItem(text, name)
        self.format = FormCombo()
        self.format.setAccessibleName("Format of the rows")
        self.format.setFixedWidth(_FORMAT_WIDTH)
        self._fill_formats(_AUTO)

    def _connect(self) -> None:
        self.browse.clicked.connect(self._on_browse)
        self.look.clicked.connect(self.look_wanted)
        for edit in (self.path, self.model):
            edit.returnPressed.connect(self.look_wanted)
        self.path.textChanged.connect(self._lock_format)
        self.format.activated.connect(self._on_format)
        self.method.activated.connect(self._on_method)
        self._link.connected.connect(self._on_connected)
        if self._link.is_connected:
            self._on_connected()

    # ------------------------------------------------------------ what the person does

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

    def _on_format(self, index: int) -> None:
        chosen = self.format.itemData(index)
        self.patch_wanted.emit({FORMAT: None if chosen == _AUTO else chosen})

    def _on_method(self) -> None:
        self._fill_formats(str(self.format.currentData()))

    def _fill_formats(self, chosen: str) -> None:
        """Those that the method can learn from, and what is chosen though it cannot."""
        known = METHOD_FORMATS.get(str(self.method.currentData()), ())
        self.format.clear()
        self.format.addItem(choice(FORMAT, _AUTO), _AUTO)
        self.format.insertSeparator(1)
        for name in fields()[FORMAT].choices:
            if name in known or (name == chosen and name != _AUTO):
                self.format.addItem(choice(FORMAT, name), name)
        self.format.setCurrentIndex(max(0, self.format.findData(chosen)))

    @property
    def filled(self) -> Filled:
        """What is filled in."""
        return Filled(
            self.path.text().strip(), self.model.text().strip(),
            str(self.method.currentData()), str(self.format.currentData()),
        )  # fmt: skip

    def take(self, path: str) -> None:
        """A file was chosen on this machine."""
        self.path.setText(self._link.place.path_there(path))
        self.look_wanted.emit()

    def set_model(self, path: str) -> None:
        """Fill in a model's folder of this machine."""
        self.model.setText(self._link.place.path_there(path))

    def fill(self, draft: Draft) -> None:
        """Show what is to be looked at."""
        self.path.setText(str(draft.get("dataset.path") or ""))
        self.model.setText(str(draft.get("model.path") or ""))
        self.show_reading(draft)

    def show_reading(self, draft: Draft) -> None:
        """Show in which way the data is read, and of several files how many there are."""
        self.method.setCurrentIndex(max(0, self.method.findData(str(draft.get("method")))))
        several = self._is_several = is_mixture(draft)
        self._fill_formats(_AUTO if several else str(draft.get(FORMAT) or _AUTO))
        self._lock_format()
        together = f"{counted(len(entries(draft)), 'dataset')} {_MORE}"
        self.path.setPlaceholderText(together if several else _DROP)

    def _lock_format(self) -> None:
        """It is of the rows of one file: what is chosen before there is one would get lost."""
        has_file = bool(self.path.text().strip())
        self.format.setEnabled(has_file and not self._is_several)
        tip = fields()[FORMAT].help if has_file else _OF_NONE
        self.format.setToolTip(_OF_SEVERAL if self._is_several else tip)


def _line(placeholder: str, name: str) -> QLineEdit:
    made = QLineEdit(placeholderText=placeholder)
    made.setAccessibleName(name)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return made
