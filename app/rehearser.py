"""Tries what is filled in before it is started: asks for a rehearsal and follows it to its end."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from engine.contract.messages import (
    Message,
    PhaseChanged,
    Pool,
    Progress,
    Refusal,
    Rehearse,
    Rehearsed,
    StopRehearsal,
)


class Rehearser(QObject):
    """One rehearsal at a time.

    Signals:
        begun: the host was asked.
        advanced: what it is busy with, and how far that is (done, total; 0 if unknown).
        ended: its :class:`Rehearsed`.
        refused: a :class:`Refusal`; nothing was tried.
    """

    begun = Signal()
    advanced = Signal(str, int, int)
    ended = Signal(object)
    refused = Signal(object)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._name = ""
        self._is_asked = False
        self._is_unwanted = False
        self._phase = ""
        link.rehearsal_received.connect(self._on_message)
        link.progress_received.connect(self._on_progress)
        link.disconnected.connect(self._on_disconnected)
        link.moved.connect(self._on_moved)

    @property
    def is_busy(self) -> bool:
        """A rehearsal is asked for or goes on."""
        return self._is_asked or bool(self._name)

    def start(self, spec: dict[str, Any], planned: dict[Pool, int]) -> None:
        """Try a spec. Does nothing while another is tried."""
        if self.is_busy:
            return
        self._is_asked, self._is_unwanted, self._phase = True, False, ""
        pending = self._link.ask(Rehearse, spec=spec, planned=planned)
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)
        self.begun.emit()

    def stop(self) -> None:
        """End it; ``ended`` still comes."""
        if self._name:
            self._link.ask(StopRehearsal, rehearsal=self._name)
        self._is_unwanted = self._is_asked

    # ------------------------------------------------------------ what arrives

    def _on_replied(self, data: dict[str, Any]) -> None:
        self._is_asked = False
        self._name = str(data.get("rehearsal", ""))
        if self._is_unwanted:
            self.stop()

    def _on_refused(self, refusal: Refusal) -> None:
        self._is_asked, self._name = False, ""
        self.refused.emit(refusal)

    def _on_message(self, message: Message) -> None:
        if not self._name or getattr(message, "run", "") != self._name:
            return
        if isinstance(message, Rehearsed):
            self._name = ""
            self.ended.emit(message)
        elif isinstance(message, PhaseChanged):
            self._phase = message.detail or str(message.phase)
            self.advanced.emit(self._phase, 0, 0)

    def _on_progress(self, progress: Progress) -> None:
        if self._name and progress.run == self._name:
            self.advanced.emit(self._phase or str(progress.phase), progress.done, progress.total)

    def _on_disconnected(self, sentence: str) -> None:
        self._lose(f"The connection was lost, and the rehearsal ended with it. {sentence}")

    def _on_moved(self) -> None:
        self._lose("The engine is at another place now; the rehearsal ended.")

    def _lose(self, sentence: str) -> None:
        if self._name:
            name, self._name = self._name, ""
            self.ended.emit(Rehearsed(run=name, verdict="stopped", sentence=sentence))
