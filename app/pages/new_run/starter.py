"""Starts what is filled in, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.endpoint import Place
from app.form import Form, complaints_of
from app.link import HostLink
from engine.contract.messages import Refusal, Start
from engine.contract.toml import absolute_paths


def as_the_engine_reads(raw: dict[str, Any], place: Place) -> dict[str, Any]:
    """The spec as typed. The host here has another working folder, so paths are made absolute;
    those of another machine mean nothing here."""
    return absolute_paths(raw, Path.home()) if place.kind == "this" else raw


class Starter(QObject):
    """Asks the host to start a run.

    Signals:
        busy_changed: whether an answer is awaited.
        started: name of the new run.
        refused: what the host found (list of complaints); nothing was started.
    """

    busy_changed = Signal(bool)
    started = Signal(str)
    refused = Signal(object)

    def __init__(self, form: Form, link: HostLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._form = form
        self._link = link
        self._is_busy = False

    def start(self, expected: dict[str, Any]) -> None:
        """Ask for the run; ``expected`` is what a plan foretold of it, to learn from. A second call
        before the answer does nothing."""
        if self._is_busy:
            return
        self._set_busy(True)
        pending = self._link.ask(Start, spec=self._raw(), plan=expected)
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)

    def _raw(self) -> dict[str, Any]:
        return as_the_engine_reads(self._form.draft.raw(), self._link.place)

    def _set_busy(self, is_busy: bool) -> None:
        self._is_busy = is_busy
        self.busy_changed.emit(is_busy)

    def _on_replied(self, data: dict[str, Any]) -> None:
        self._set_busy(False)
        self.started.emit(str(data["run"]))

    def _on_refused(self, refusal: Refusal) -> None:
        self._set_busy(False)
        self.refused.emit(complaints_of(refusal, "spec"))
