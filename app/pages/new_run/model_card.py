"""The model: chosen from a list in groups or typed, and how it is tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCompleter, QFileDialog, QListView, QPushButton, QSizePolicy

from app.form import Form, Tuning
from app.form_editors import FormCombo, FormLine
from app.form_fields import fields
from app.link import HostLink
from app.pages.new_run.catalogue import bundled
from app.pages.new_run.model_list import OPTION_ROLE, ModelDelegate, fill_list
from app.pages.new_run.models import Option, merge
from app.preferences import Preferences
from app.widgets.choice import Choice
from app.widgets.parts import Card, button, label, row, rule, set_look
from engine.contract.messages import ListModels
from engine.planning.hub_cache import is_hub_id


class Way(NamedTuple):
    """A way of tuning, as the chips show it."""

    tuning: Tuning
    title: str
    help: str


TUNINGS = (
    Way(
        "lora4",
        "LoRA 4-bit",
        "A small adapter learns; the base weights are kept in 4 bits (QLoRA). Needs the least "
        "memory.",
    ),
    Way(
        "lora8",
        "LoRA 8-bit",
        "A small adapter learns; the base weights are kept in 8 bits. About twice the memory of "
        "4-bit for the weights, and nearer to the original.",
    ),
    Way(
        "lora16",
        "LoRA 16-bit",
        "A small adapter learns; the base weights stay as they are. Fast, for models that fit.",
    ),
    Way(
        "full",
        "Full",
        "All weights learn. Needs several times the memory, and gives a whole new model.",
    ),
)
PRETRAIN_HELP = (
    "Learn from plain text, every word of it, instead of from the answers in conversations. Goes "
    "with each of the ways on the left."
)


class ModelCard(Card):
    """Chooses a model and a method.

    Signals:
        offered: the list of models on the engine's machine has come.
    """

    offered = Signal()

    def __init__(self, form: Form, link: HostLink, preferences: Preferences) -> None:
        super().__init__("Model", " ")
        self._form = form
        self._link = link
        self._preferences = preferences
        self._options: list[Option] = []
        self._is_told = False
        self._build()
        self._offer([])
        form.changed.connect(self._on_form_changed)
        link.connected.connect(self._on_connected)
        preferences.model_folders_changed.connect(self._on_connected)
        if link.is_connected:
            self._on_connected()

    @property
    def option(self) -> Option | None:
        """The chosen model, if it is one of the list."""
        path = self._form.draft.get("model.path")
        return next((option for option in self._options if option.path == path), None)

    @property
    def is_cached(self) -> bool | None:
        """Whether the chosen model is on the engine's machine; None before that is known, and for
        what no hub has."""
        path = str(self._form.draft.get("model.path") or "")
        if not self._is_told or not is_hub_id(path):
            return None
        option = self.option
        return option is not None and option.disk_bytes is not None

    def chip(self, tuning: Tuning) -> QPushButton:
        """The button of a way of tuning."""
        return self._chips[tuning]

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self.combo = _make_combo()
        line = self.combo.lineEdit()
        assert isinstance(line, FormLine)
        self.line = line
        self.line.setPlaceholderText("Choose a model, or write a Hugging Face id or a folder")
        self.line.textEdited.connect(self._on_text_edited)
        self.line.left.connect(self._form.seal)
        self.combo.activated.connect(self._on_activated)
        self._browse = button("Browse…", tip="Choose a folder with a config.json")
        self._browse.clicked.connect(self._on_browse)
        self._problem = label("", "small", tone="danger", wrap=True)
        self._problem.hide()
        top = row(self.combo, self._browse)
        top.setStretch(0, 1)
        self.column.addLayout(top)
        self.column.addWidget(self._problem)
        self.column.addSpacing(2)
        self.column.addLayout(self._build_methods())

    def _build_methods(self) -> Any:
        self._chips: dict[Tuning, QPushButton] = {}
        for tuning, text, tip in TUNINGS:
            chip = _chip(text, tip)
            chip.setObjectName(f"tuning.{tuning}")
            self._chips[tuning] = chip
        self._tunings = Choice(self, *self._chips.values())
        self._tunings.chosen.connect(self._on_tuning_clicked)
        self.pretrain = _chip("Continued pretraining", PRETRAIN_HELP)
        self.pretrain.clicked.connect(self._on_pretrain_clicked)
        line = rule()
        line.setFixedSize(1, 20)
        return row(*self._chips.values(), line, self.pretrain, None)

    # ------------------------------------------------------------ what is offered

    def _on_connected(self, _data: object = None) -> None:
        self._browse.setEnabled(self._link.place.shares_files)
        pending = self._link.ask(ListModels, folders=self._preferences.model_folders)
        pending.replied.connect(self._on_inventory)

    def _on_inventory(self, data: dict[str, Any]) -> None:
        self._is_told = True
        self._offer(data.get("models") or [])
        self._on_form_changed()
        self.offered.emit()

    def _offer(self, inventory: list[dict[str, Any]]) -> None:
        self._options = merge(bundled(), inventory)
        model = fill_list(self._options, self.combo)
        typed = self.combo.currentText()
        self.combo.setModel(model)
        self.combo.setCurrentIndex(-1)
        self.combo.setEditText(typed)
        self._complete()

    def _complete(self) -> None:
        completer = QCompleter([option.path for option in self._options], self.combo)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.activated.connect(self._on_completed)
        self.combo.setCompleter(completer)

    # ------------------------------------------------------------ what people do

    def choose(self, path: str) -> None:
        """Take a model, as if it had been typed."""
        self._form.seal()
        self._form.set_value("model.path", path.strip() or None)
        self._form.seal()

    def _on_text_edited(self, text: str) -> None:
        self._form.set_value("model.path", text.strip() or None)

    def _on_completed(self, path: str) -> None:
        self.choose(path)

    def _on_activated(self, index: int) -> None:
        option = self.combo.itemData(index, OPTION_ROLE)
        if isinstance(option, Option):
            self.choose(option.path)

    def _on_browse(self) -> None:
        start = str(self._form.draft.get("model.path") or "")
        folder = start if Path(start).is_dir() else str(Path.home())
        path = QFileDialog.getExistingDirectory(self, "Choose a model folder", folder)
        if path:
            self.choose(self._link.place.path_there(path))

    def _on_tuning_clicked(self, chosen: QPushButton) -> None:
        for tuning, chip in self._chips.items():
            if chip is chosen:
                self._form.set_tuning(tuning)

    def _on_pretrain_clicked(self, is_on: bool) -> None:
        self._form.set_value("method", "pretrain" if is_on else "sft")

    # ------------------------------------------------------------ showing

    def complain(self, text: str) -> None:
        """Say what is wrong with the model; empty if nothing is."""
        self._problem.setText(text)
        self._problem.setVisible(bool(text))
        set_look(self.combo, "state", "wrong" if text else "")

    def _on_form_changed(self) -> None:
        draft = self._form.draft
        shown = str(draft.get("model.path") or "")
        if self.combo.currentText().strip() != shown:
            self.combo.setEditText(shown)
        self._chips[draft.tuning].setChecked(True)
        self.pretrain.setChecked(draft.get("method") == "pretrain")
        option = self.option
        self.aside.setText(option.facts if option else "")
        self.aside.setToolTip(f"{option.facts}\n{option.note}".strip() if option else "")


def _make_combo() -> FormCombo:
    combo = FormCombo()
    combo.setEditable(True)
    combo.setInsertPolicy(FormCombo.InsertPolicy.NoInsert)
    combo.setObjectName("model.path")
    combo.setAccessibleName("Model")
    combo.setAccessibleDescription(fields()["model.path"].help)
    combo.setToolTip(fields()["model.path"].help)
    combo.setMaxVisibleItems(14)
    combo.setItemDelegate(ModelDelegate(combo))
    shown = combo.view()
    assert isinstance(shown, QListView)
    shown.setUniformItemSizes(True)  # Else each row is asked for its height, again and again.
    line = FormLine()
    line.setStyleSheet("border: none; background: transparent; padding: 0;")
    combo.setLineEdit(line)
    combo.setMinimumContentsLength(20)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def _chip(text: str, tip: str) -> QPushButton:
    chip = button(text, "choice", tip=tip)
    chip.setCheckable(True)
    chip.setAccessibleDescription(tip)
    return chip
