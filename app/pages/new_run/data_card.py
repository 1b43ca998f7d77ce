"""The data: one file or several, each with what the host knows of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog

from app.form import Form, complaints_of
from app.form_editors import ChoiceEditor, FormLine, TextEditor
from app.form_fields import OF_ONE_FILE, fields
from app.link import HostLink
from app.mixture import Entry, Key, changed, entries, is_mixture, key_of, patch_of, rows_of
from app.pages.new_run.dataset_view import DatasetView, in_full, in_short
from app.pages.new_run.mixture_list import MixtureList
from app.pages.new_run.previews import Previews
from app.theme import Tokens
from app.widgets.parts import Card, button, row
from engine.contract.messages import Complaint

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
        self._place = 0
        """Which of several datasets is shown, from 0."""
        self._keys: list[Key] = []
        """Of all of them."""
        self._shown = Key()
        self._previews = Previews(link, self)
        self.view = DatasetView(tokens)
        self._build()
        form.changed.connect(self._on_form_changed)
        link.connected.connect(self._on_connected)
        self._previews.asked.connect(self._on_asked)
        self._previews.answered.connect(self._on_answered)

    @property
    def facts(self) -> dict[str, Any]:
        """The answer to PreviewDataset for the dataset that is shown; empty if there is none."""
        return self._previews.of(self._shown)

    @property
    def rows(self) -> tuple[int | None, bool]:
        """Rows of an epoch, None where nobody knows, and whether all were counted."""
        found = entries(self._form.draft)
        return rows_of(found, [self._previews.of(key_of(entry)) for entry in found])

    def choose(self, path: str) -> None:
        """Take a file in place of the one that is shown, as if it had been typed."""
        if not is_mixture(self._form.draft):
            self._form.apply({"dataset.path": path, **dict.fromkeys(OF_ONE_FILE)})
            return
        found = entries(self._form.draft)
        weight = found[self._place].get("weight")
        found[self._place] = changed({"path": path}, "weight", weight)
        self._put(found, self._place)

    def add(self, paths: Sequence[str]) -> None:
        """Learn from these too."""
        known = [entry for entry in entries(self._form.draft) if entry.get("path")]
        found = [*known, *({"path": path} for path in paths)]
        self._put(found, len(found) - 1)

    def take(self, paths: Sequence[str]) -> None:
        """Files were dropped: one takes the place of one, several are learnt from together."""
        if is_mixture(self._form.draft):
            self.add(paths)
        elif len(paths) == 1:
            self.choose(paths[0])
        else:
            self._put([{"path": path} for path in paths], 0)

    def show_source(self, path: str) -> None:
        """Show the dataset that a setting is of, such as ``dataset.sources[2].path``."""
        if found := _SOURCE.match(path):
            self._on_picked(int(found[1]) - 1)

    def complain(self, said: dict[str, str]) -> None:
        """Show what is wrong with the dataset that is shown; settings to sentences."""
        for editor in (self.path, self.format):
            name = editor.field.path.removeprefix("dataset.")
            editor.complain(said.get(self._field(name, self._place), ""))

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
        self.mixture.picked.connect(self._on_picked)
        self.mixture.weighed.connect(self._on_weighed)
        self.mixture.removed.connect(self._on_removed)
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
            editor.edited.connect(self._set)
        for editor in (self.path, self.format, self.view.loss):
            editor.left.connect(self._form.seal)

    # ------------------------------------------------------------ changing

    def _entry(self) -> Entry:
        found = entries(self._form.draft)
        self._place = min(self._place, len(found) - 1)
        return found[self._place]

    def _put(self, found: list[Entry], place: int) -> None:
        """Learn from these, as one step to undo, and show that at ``place``."""
        self._place = place
        self._form.apply(patch_of(found))

    def _set(self, path: str, value: Any) -> None:
        """A setting of the dataset that is shown."""
        if not is_mixture(self._form.draft):
            self._form.set_value(path, value)
            return
        found = entries(self._form.draft)
        found[self._place] = changed(found[self._place], path.removeprefix("dataset."), value)
        self._form.set_value("dataset.sources", found)

    def _set_at_once(self, path: str, value: Any) -> None:
        self._form.seal()
        self._set(path, value)
        self._form.seal()

    def _on_browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose data", self._folder(), FILTER)
        if path:
            self.choose(self._link.place.path_there(path))

    def _on_more(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add data", self._folder(), FILTER)
        if paths:
            self.add([self._link.place.path_there(path) for path in paths])

    def _folder(self) -> str:
        return str(Path(str(self._entry().get("path") or Path.home())).parent)

    def _on_picked(self, place: int) -> None:
        self._place = place
        self._form.changed.emit()

    def _on_weighed(self, place: int, weight: float) -> None:
        found = entries(self._form.draft)
        found[place] = changed(found[place], "weight", weight)
        self._form.set_value("dataset.sources", found)

    def _on_removed(self, place: int) -> None:
        found = entries(self._form.draft)
        self._put(found[:place] + found[place + 1 :], self._place - (place < self._place))

    def _on_mapped(self, columns: dict[str, str]) -> None:
        self._set_at_once("dataset.columns", columns or None)

    def _on_confirmed(self) -> None:
        self._set_at_once("dataset.format", self.facts.get("format"))

    def _on_look(self) -> None:
        self.look_wanted.emit(self._form.draft)

    # ------------------------------------------------------------ asking

    def _on_form_changed(self) -> None:
        entry, draft = self._entry(), self._form.draft
        self.view.loss.show_value(draft.get("dataset.loss_on"))
        for editor in (self.path, self.format):
            name = editor.field.path.removeprefix("dataset.")
            editor.show_value(entry.get(name, editor.field.default))
        keys, before = [key_of(each) for each in entries(draft)], self._keys
        self._keys = keys
        self._previews.want(keys)
        if keys[self._place] != self._shown:
            self._shown = keys[self._place]
            self.aside.setText("")
            self.view.forget()
            if self.facts:
                self._show_preview()
        self._show_mixture()
        self.view.show_example(self.facts, draft)
        if keys != before:
            self._blame(max(len(keys), len(before)))

    def _blame(self, count: int) -> None:
        """What the host says against datasets stands beside those that it is of; so many there may
        have been before."""
        self._form.accept("dataset.path")
        for place in range(count):
            self._form.accept(_field("path", place))
        found: list[Complaint] = []
        for place, key in enumerate(self._keys):
            if refusal := self._previews.refusal(key):
                found += [
                    replace(said, field=self._field(said.field.removeprefix("dataset."), place))
                    for said in complaints_of(refusal, "dataset.path")
                ]
        if found:
            self._form.refuse(found)

    def _field(self, name: str, place: int) -> str:
        """What a setting of one of the datasets is called in a complaint."""
        return _field(name, place) if is_mixture(self._form.draft) else f"dataset.{name}"

    def _on_connected(self, _data: object) -> None:
        for part in (self._browse, self.more):
            part.setEnabled(self._link.place.shares_files)

    def _on_asked(self, key: Key) -> None:
        if key == self._shown:
            self.aside.setText("looking at it …")

    def _on_answered(self, key: Key) -> None:
        if key == self._shown:
            self.aside.setText("")
            if self.facts:
                self._show_preview()
        self._blame(len(self._keys))
        self._form.changed.emit()

    # ------------------------------------------------------------ showing

    def _show_mixture(self) -> None:
        draft = self._form.draft
        found = entries(draft)
        self.more.setVisible(bool(found[0].get("path")) or is_mixture(draft))
        if is_mixture(draft):
            said = [" · ".join(in_short(self._previews.of(key_of(entry)))) for entry in found]
            self.mixture.show_entries(found, self._place, said)
        self.mixture.setVisible(is_mixture(draft))

    def _show_preview(self) -> None:
        entry, draft = self._entry(), self._form.draft
        self.aside.setText(" · ".join(in_full(self.facts, entry)))
        self.aside.setToolTip(str(self.facts.get("reason", "")))
        self.view.show_facts(self.facts, entry, is_sft=draft.get("method") == "sft")
        self.view.show_example(self.facts, draft)


def _field(name: str, place: int) -> str:
    return f"dataset.sources[{place + 1}].{name}"
