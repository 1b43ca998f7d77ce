"""The data: one file or several, each with what the host knows of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog

from app.form import Form
from app.form_editors import ChoiceEditor, FormLine, TextEditor
from app.form_fields import fields
from app.link import HostLink
from app.mixture import limits_of
from app.pages.new_run.chosen import Chosen
from app.pages.new_run.dataset_view import DatasetView, in_full, in_short
from app.pages.new_run.mixture_list import MixtureList
from app.theme import Tokens
from app.widgets.parts import Card, button, row

FILTER = (
    "Data (*.json *.jsonl *.ndjson *.csv *.tsv *.parquet *.arrow *.txt *.md *.gz *.zst);;"
    "All files (*)"
)
_SOURCE = re.compile(r"dataset\.sources\[(\d+)\]")


class DataCard(Card):
    """Chooses the data. What the host says of the dataset that is shown is in :attr:`facts`.

    Signals:
        look_wanted: the person wants to see all of it as the model will; the :class:`Draft`.
    """

    look_wanted = Signal(object)

    def __init__(self, form: Form, link: HostLink, tokens: Tokens) -> None:
        super().__init__("Data", " ")
        self._form = form
        self._link = link
        self.chosen = Chosen(form, link, self)
        self.view = DatasetView(tokens)
        self._build()
        form.changed.connect(self._on_form_changed)
        link.connected.connect(self._on_connected)
        self.chosen.known.connect(self._show_preview)
        self.chosen.shown.connect(self._on_shown)

    @property
    def facts(self) -> dict[str, Any]:
        """The answer to PreviewDataset for the dataset that is shown; empty if there is none."""
        return self.chosen.facts[self.chosen.place]

    def show_source(self, path: str) -> None:
        """Show the dataset that a setting is of, such as ``dataset.sources[2].path``."""
        if found := _SOURCE.match(path):
            self.chosen.pick(int(found[1]) - 1)

    def complain(self, said: dict[str, str]) -> None:
        """Show what is wrong with the dataset that is shown; settings to sentences."""
        for editor in (self.path, self.format):
            name = editor.field.path.removeprefix("dataset.")
            editor.complain(said.get(self.chosen.field(name), ""))

    def recolor(self, tokens: Tokens) -> None:
        """Follow the theme."""
        self.view.set_tokens(tokens)
        self.view.show_example(self.facts, self._form.draft)

    def _build(self) -> None:
        self.path = TextEditor(fields()["dataset.path"])
        self.path.hide_title()
        line = self.path.control
        assert isinstance(line, FormLine)
        line.setPlaceholderText("Drop a JSON, JSONL, CSV, Parquet or text file or a folder here")
        self.format = ChoiceEditor(fields()["dataset.format"])
        self.format.hide_title()
        self.format.setFixedWidth(186)
        self._browse = button("Browse…", tip="Choose a file")
        self._browse.clicked.connect(self._on_browse)
        self.more = button("Add…", tip="Learn from more files too, each with a weight")
        self.more.clicked.connect(self._on_more)
        self.mixture = MixtureList()
        self.mixture.picked.connect(self.chosen.pick)
        self.mixture.weighed.connect(self.chosen.weigh)
        self.mixture.removed.connect(self.chosen.remove)
        self.view.mapped.connect(self._on_mapped)
        self.view.confirmed.connect(self._on_confirmed)
        self.view.look_wanted.connect(self._on_look)
        top = row(self.path, self.format, self._browse, self.more)
        for part in (self.format, self._browse, self.more):
            top.setAlignment(part, Qt.AlignmentFlag.AlignTop)
        top.setStretch(0, 1)
        self.column.addWidget(self.mixture)
        self.column.addLayout(top)
        self.column.addWidget(self.view)
        self.view.loss.edited.connect(self._form.set_value)
        for editor in (self.path, self.format):
            editor.edited.connect(self.chosen.change)
        for editor in (self.path, self.format, self.view.loss):
            editor.left.connect(self._form.seal)

    # ------------------------------------------------------------ choosing

    def _on_browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose data", self._folder(), FILTER)
        if path:
            self.chosen.choose(self._link.place.path_there(path))

    def _on_more(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add data", self._folder(), FILTER)
        if paths:
            self.chosen.add([self._link.place.path_there(path) for path in paths])

    def _folder(self) -> str:
        return str(Path(str(self.chosen.entry.get("path") or Path.home())).parent)

    def _on_mapped(self, columns: dict[str, str]) -> None:
        self._change_at_once("dataset.columns", columns or None)

    def _on_confirmed(self) -> None:
        self._change_at_once("dataset.format", self.facts.get("format"))

    def _change_at_once(self, path: str, value: Any) -> None:
        """As one step to undo."""
        self._form.seal()
        self.chosen.change(path, value)
        self._form.seal()

    def _on_look(self) -> None:
        self.look_wanted.emit(self._form.draft)

    # ------------------------------------------------------------ showing

    def _on_form_changed(self) -> None:
        entry, draft = self.chosen.entry, self._form.draft
        self.view.loss.show_value(draft.get("dataset.loss_on"))
        for editor in (self.path, self.format):
            name = editor.field.path.removeprefix("dataset.")
            editor.show_value(entry.get(name, editor.field.default))
        self._show_mixture()
        self.view.show_example(self.facts, draft)

    def _on_connected(self, _data: object) -> None:
        for part in (self._browse, self.more):
            part.setEnabled(self._link.place.shares_files)

    def _on_shown(self) -> None:
        self.view.forget()
        self._show_preview()

    def _show_mixture(self) -> None:
        found = self.chosen.entries
        self.more.setVisible(self.chosen.is_mixture or bool(found[0].get("path")))
        if self.chosen.is_mixture:
            known = zip(found, self.chosen.facts, self.chosen.problems, strict=True)
            said = [
                " · ".join(["cannot be read"] if bad else [*in_short(facts), *limits_of(entry)])
                for entry, facts, bad in known
            ]
            self.mixture.show_entries(found, self.chosen.place, said)
        self.mixture.setVisible(self.chosen.is_mixture)

    def _show_preview(self) -> None:
        """What is known of the dataset that is shown, which may be nothing."""
        facts, draft = self.facts, self._form.draft
        asked = "looking at it …" if self.chosen.is_looking else ""
        self.aside.setText(" · ".join(in_full(facts, self.chosen.entry)) if facts else asked)
        self.aside.setToolTip(str(facts.get("reason", "")))
        if facts:
            is_sft = draft.get("method") == "sft"
            self.view.show_facts(facts, self.chosen.entry, is_sft=is_sft)
        self.view.show_example(facts, draft)
