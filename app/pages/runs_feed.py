"""All runs as the host at hand tells them: keeps the list's model up to date."""

from __future__ import annotations

import msgspec
from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from app.pages.runs_model import RunsModel
from engine.contract.messages import ListRuns, Refusal, RunSummary


class RunsFeed(QObject):
    """What is known of the runs where the engine lives.

    Signals:
        changed: runs, or whether they are known at all.
        refused: the host would not list them; why, for people.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(self, link: HostLink, model: RunsModel, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._model = model
        self.is_loaded = False
        self.trouble = ""
        """Why nothing is known, for people; empty once something is."""
        link.connected.connect(self.ask)
        link.disconnected.connect(self._on_disconnected)
        link.moved.connect(self._on_moved)
        link.run_changed.connect(self._on_run_changed)
        link.run_removed.connect(self._on_run_removed)

    def ask(self, _hello: object = None) -> None:
        """Have the runs listed."""
        pending = self._link.ask(ListRuns)
        pending.replied.connect(self.take)
        pending.refused.connect(self._on_refused)

    def take(self, data: dict[str, object]) -> None:
        """The host listed its runs."""
        self.is_loaded, self.trouble = True, ""
        self._model.reset(msgspec.convert(data["runs"], list[RunSummary]))
        self.changed.emit()

    def _on_refused(self, refusal: Refusal) -> None:
        self.refused.emit(refusal.sentence)

    def _on_disconnected(self, sentence: str) -> None:
        if not self.is_loaded:
            self.trouble = sentence
            self.changed.emit()

    def _on_moved(self) -> None:
        self.is_loaded, self.trouble = False, ""
        self._model.reset([])
        self.changed.emit()

    def _on_run_changed(self, summary: RunSummary) -> None:
        self._model.put(summary)
        self.changed.emit()

    def _on_run_removed(self, run: str) -> None:
        self._model.remove(run)
        self.changed.emit()
