"""The datasets that are chosen: which one is shown, what is changed, what the host says of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal

from app.form import Form, complaints_of
from app.form_fields import OF_ONE_FILE
from app.link import HostLink
from app.mixture import (
    Entry,
    Key,
    changed,
    entries,
    exchanged,
    is_mixture,
    key_of,
    patch_of,
    rows_of,
)
from app.pages.new_run.previews import Previews
from engine.contract.messages import Complaint

_SOURCE = re.compile(r"dataset\.sources\[(\d+)\]")


class Chosen(QObject):
    """What the form learns from. Places are counted from 0.

    Signals:
        asked: the host is looking at the dataset that is shown.
        answered: it has, and the form is changed.
        shown: another dataset is shown.
    """

    asked = Signal()
    answered = Signal()
    shown = Signal()

    def __init__(self, form: Form, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._form = form
        self._keys = [Key()]
        self._shown = Key()
        self.place = 0
        """Which of them is shown."""
        self._previews = Previews(link, self)
        self._previews.asked.connect(self._on_asked)
        self._previews.answered.connect(self._on_answered)
        form.changed.connect(self._on_form_changed)

    # ------------------------------------------------------------ what is known

    @property
    def is_mixture(self) -> bool:
        """Whether there are several."""
        return is_mixture(self._form.draft)

    @property
    def entries(self) -> list[Entry]:
        """All of them; one without a path where there is none yet."""
        return entries(self._form.draft)

    @property
    def entry(self) -> Entry:
        """The one that is shown."""
        return self.entries[self.place]

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The answer to PreviewDataset for each; empty where there is none."""
        return [self._previews.of(key) for key in self._keys]

    @property
    def rows(self) -> tuple[int | None, bool]:
        """Rows of an epoch, None where nobody knows, and whether all were counted."""
        return rows_of(self.entries, self.facts)

    def field(self, name: str, place: int | None = None) -> str:
        """What a setting of a dataset, the shown one if none is given, is called in a complaint."""
        at = self.place if place is None else place
        return _field(name, at) if self.is_mixture else f"dataset.{name}"

    # ------------------------------------------------------------ changing

    def choose(self, path: str) -> None:
        """Take a file in place of the one that is shown, as if it had been typed."""
        if not self.is_mixture:
            self._form.apply({"dataset.path": path, **dict.fromkeys(OF_ONE_FILE)})
            return
        weight = self.entry.get("weight")
        entry = changed({"path": path}, "weight", weight)
        self._put(exchanged(self.entries, self.place, entry), self.place)

    def add(self, paths: Sequence[str]) -> None:
        """Learn from these too."""
        known = [entry for entry in self.entries if entry.get("path")]
        found = [*known, *({"path": path} for path in paths)]
        self._put(found, len(found) - 1)

    def take(self, paths: Sequence[str]) -> None:
        """Files were dropped: one takes the place of one, several are learnt from together."""
        if self.is_mixture:
            self.add(paths)
        elif len(paths) == 1:
            self.choose(paths[0])
        else:
            self._put([{"path": path} for path in paths], 0)

    def remove(self, place: int) -> None:
        """Learn from the others alone."""
        found = self.entries
        self._put(found[:place] + found[place + 1 :], max(0, self.place - (place <= self.place)))

    def weigh(self, place: int, weight: float) -> None:
        """Learn its rows so often in each epoch."""
        entry = changed(self.entries[place], "weight", weight)
        self._form.set_value("dataset.sources", exchanged(self.entries, place, entry))

    def change(self, path: str, value: Any) -> None:
        """A setting of the one that is shown, such as ``dataset.format``."""
        if not self.is_mixture:
            self._form.set_value(path, value)
            return
        entry = changed(self.entry, path.removeprefix("dataset."), value)
        self._form.set_value("dataset.sources", exchanged(self.entries, self.place, entry))

    def pick(self, place: int) -> None:
        """Show another one."""
        self.place = place
        self._form.changed.emit()

    def pick_by_field(self, path: str) -> None:
        """Show the one that a setting is of, such as ``dataset.sources[2].path``."""
        if found := _SOURCE.match(path):
            self.pick(int(found[1]) - 1)

    def _put(self, found: list[Entry], place: int) -> None:
        self.place = place
        self._form.apply(patch_of(found))

    # ------------------------------------------------------------ what the host says

    def _on_form_changed(self) -> None:
        before, self._keys = self._keys, [key_of(entry) for entry in self.entries]
        self.place = min(self.place, len(self._keys) - 1)
        self._previews.want(self._keys)
        if self._keys[self.place] != self._shown:
            self._shown = self._keys[self.place]
            self.shown.emit()
        if self._keys != before:
            self._blame(max(len(self._keys), len(before)))

    def _on_asked(self, key: Key) -> None:
        if key == self._shown:
            self.asked.emit()

    def _on_answered(self, key: Key) -> None:
        if key == self._shown:
            self.answered.emit()
        self._blame(len(self._keys))
        self._form.changed.emit()

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
                    replace(said, field=self.field(said.field.removeprefix("dataset."), place))
                    for said in complaints_of(refusal, "dataset.path")
                ]
        if found:
            self._form.refuse(found)


def _field(name: str, place: int) -> str:
    return f"dataset.sources[{place + 1}].{name}"
