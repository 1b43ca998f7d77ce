"""The datasets that are chosen: which one is shown, what is changed, what the host says of each."""

from __future__ import annotations

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
    Rows,
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


class Chosen(QObject):
    """What the form learns from. Places are counted from 0.

    Signals:
        shown: another dataset is shown.
        known: the host looks at the one that is shown, or has.
    """

    shown = Signal()
    known = Signal()

    def __init__(self, form: Form, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._form = form
        self._keys = [Key()]
        self._shown = Key()
        self.place = 0
        """Which of them is shown."""
        self._weighed = -1
        """Whose weight was changed last."""
        self._blamed: set[str] = set()
        """Settings that the host said something against, as they are called now."""
        self._previews = Previews(link, self)
        self._previews.told.connect(self._on_told)
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
    def problems(self) -> list[bool]:
        """Of each, whether the host cannot tell what it is."""
        return [self._previews.refusal(key) is not None for key in self._keys]

    @property
    def is_looking(self) -> bool:
        """Whether the host is looking at the one that is shown."""
        return self._previews.is_asked(self._shown)

    @property
    def rows(self) -> Rows:
        """How many there are."""
        return rows_of(self.entries, self.facts)

    def field(self, name: str, place: int | None = None) -> str:
        """What a setting of a dataset, the shown one if none is given, is called in a complaint."""
        at = self.place if place is None else place
        return f"dataset.sources[{at + 1}].{name}" if self.is_mixture else f"dataset.{name}"

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
            self.place = 0
            patch = patch_of([{"path": path} for path in paths])
            self._form.apply({**dict.fromkeys(OF_ONE_FILE), **patch})

    def remove(self, place: int) -> None:
        """Learn from the others alone."""
        found = self.entries
        self._put(found[:place] + found[place + 1 :], max(0, self.place - (place <= self.place)))

    def weigh(self, place: int, weight: float) -> None:
        """Learn its rows so often in each epoch."""
        if place != self._weighed:
            self._form.seal()
        self._weighed = place
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
        self._form.seal()
        self.place = place
        self._form.changed.emit()

    def _put(self, found: list[Entry], place: int) -> None:
        self.place = place
        self._form.apply(patch_of(found))

    # ------------------------------------------------------------ what the host says

    def _on_form_changed(self) -> None:
        self._keys = [key_of(entry) for entry in self.entries]
        self.place = min(self.place, len(self._keys) - 1)
        self._previews.want(self._keys)
        if self._keys[self.place] != self._shown:
            self._shown = self._keys[self.place]
            self.shown.emit()
        self._blame()

    def _on_told(self, key: Key) -> None:
        if key == self._shown:
            self.known.emit()
        self._form.changed.emit()

    def _blame(self) -> None:
        """What the host says against datasets stands beside those that it is of, whatever else is
        changed."""
        found: dict[str, Complaint] = {}
        for place, key in enumerate(self._keys):
            if refusal := self._previews.refusal(key):
                for said in complaints_of(refusal, "dataset.path"):
                    field = self.field(said.field.removeprefix("dataset."), place)
                    found[field] = replace(said, field=field)
        for field in self._blamed - set(found):
            self._form.accept(field)
        self._blamed = set(found)
        told = {complaint.field for complaint in self._form.complaints}
        if missing := [complaint for field, complaint in found.items() if field not in told]:
            self._form.refuse(missing)
