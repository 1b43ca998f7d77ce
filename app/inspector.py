"""Has a dataset looked over, and fetches samples of it to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from engine.contract.messages import (
    Inspect,
    Inspected,
    Progress,
    Refusal,
    ShowSamples,
    StopInspection,
)
from engine.store.encoded_view import Sample


class Inspector(QObject):
    """One dataset at a time; a new one takes the place of the one before.

    Signals:
        begun: the host was asked.
        advanced: rows read, of as many (0 if unknown), and the unit that tells what is done.
        ended: its :class:`Inspected`.
        refused: a :class:`Refusal`; there is nothing to look at.
        shown: a :class:`Sample` that was asked for.
        unshown: why there is none, for people.
        found: places of samples that hold the words that were looked for.
    """

    begun = Signal()
    advanced = Signal(int, int, str)
    ended = Signal(object)
    refused = Signal(object)
    shown = Signal(object)
    unshown = Signal(str)
    found = Signal(object)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._name = ""
        self._asked = 0
        """How often so far: an answer to an earlier question is of no interest."""
        self._is_asking = False
        self._data = ""
        """Key of the tokens of what was looked over last."""
        self._max_length: int | None = None
        link.inspected.connect(self._on_inspected)
        link.progress_received.connect(self._on_progress)
        link.disconnected.connect(self._on_disconnected)
        link.moved.connect(self._on_moved)

    @property
    def is_busy(self) -> bool:
        """Whether it waits for the host."""
        return self._is_asking or bool(self._name)

    def start(self, spec: dict[str, Any]) -> None:
        """Look the dataset of a spec over."""
        self.stop()
        self._asked += 1
        self._is_asking = True
        pending = self._link.ask(Inspect, spec=spec)
        pending.setProperty("asked", self._asked)
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)
        self.begun.emit()

    def stop(self) -> None:
        """Nobody wants to know any more."""
        if self._name:
            self._link.ask(StopInspection, inspection=self._name)
        self._name, self._is_asking = "", False
        self._asked += 1

    def show_place(self, place: int, first_token: int = 0) -> None:
        """Fetch a sample of what was looked over last, from this token on."""
        self._ask(self._on_samples, places=[place], first_token=first_token)

    def show_row(self, row: int) -> None:
        """Fetch the sample of a row of the dataset; the first is 0."""
        self._ask(self._on_samples, row=row)

    def search(self, text: str) -> None:
        """Look for words."""
        self._ask(self._on_places, search=text)

    def _ask(self, answered: Callable[[dict[str, Any]], None], **wanted: Any) -> None:
        pending = self._link.ask(
            ShowSamples, data=self._data, max_length=self._max_length, **wanted
        )
        pending.replied.connect(answered)
        pending.refused.connect(self._on_unshown)

    # ------------------------------------------------------------ what arrives

    def _on_replied(self, data: dict[str, Any]) -> None:
        name = str(data.get("inspection", ""))
        if self.sender().property("asked") == self._asked:
            self._name, self._is_asking = name, False
        else:
            self._link.ask(StopInspection, inspection=name)

    def _on_refused(self, refusal: Refusal) -> None:
        if self.sender().property("asked") == self._asked:
            self._name, self._is_asking = "", False
            self.refused.emit(refusal)

    def _on_inspected(self, message: Inspected) -> None:
        if self._name and message.run == self._name:
            self._name = ""
            if message.report is not None:
                is_cut = message.report.method != "pretrain"
                self._data = message.report.data
                self._max_length = message.report.max_length if is_cut else None
            self.ended.emit(message)

    def _on_progress(self, progress: Progress) -> None:
        if self._name and progress.run == self._name:
            self.advanced.emit(progress.done, progress.total, progress.unit)

    def _on_disconnected(self, sentence: str) -> None:
        self._lose(sentence)

    def _on_moved(self) -> None:
        self._lose("The engine is at another place now. Look again.")

    def _lose(self, sentence: str) -> None:
        if self.is_busy:
            self._name, self._is_asking = "", False
            self.refused.emit(Refusal(to=0, sentence=sentence))

    def _on_unshown(self, refusal: Refusal) -> None:
        # Tokens that are gone can be made again; all else is about this sample alone.
        if refusal.code == "not_found":
            self.refused.emit(refusal)
        else:
            self.unshown.emit(refusal.sentence)

    def _on_samples(self, data: dict[str, Any]) -> None:
        if reason := data.get("reason"):
            self.unshown.emit(str(reason))
        for raw in data.get("samples", [])[:1]:
            self.shown.emit(msgspec.convert(raw, Sample, str_keys=True))

    def _on_places(self, data: dict[str, Any]) -> None:
        self.found.emit([int(place) for place in data.get("places", [])])
