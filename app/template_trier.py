"""Has a chat template tried by the engine while it is being written, and kept there."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from engine.contract.messages import KeepTemplate, Refusal, TemplateTried, TryTemplate


class Wanted(NamedTuple):
    """What is to be tried."""

    spec: dict[str, Any]
    template: str | None
    row: str
    format: str


class TemplateTrier(QObject):
    """One question at a time; of those asked meanwhile only the newest counts.

    Signals:
        tried: its :class:`TemplateTried`.
        kept: the path of a template that was kept (on the engine's machine).
        refused: why there is no answer, for people.
    """

    tried = Signal(object)
    kept = Signal(str)
    refused = Signal(str)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._is_asking = False
        self._next: Wanted | None = None

    def ask(self, wanted: Wanted) -> None:
        """Try this one."""
        if self._is_asking:
            self._next = wanted
            return
        self._is_asking = True
        pending = self._link.ask(TryTemplate, **wanted._asdict())
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)

    def keep(self, text: str, name: str) -> None:
        """Write it into the engine's folder."""
        pending = self._link.ask(KeepTemplate, text=text, name=name)
        pending.replied.connect(self._on_kept)
        pending.refused.connect(self._on_not_kept)

    def _on_replied(self, data: dict[str, Any]) -> None:
        if not self._goes_on():
            self.tried.emit(msgspec.convert(data, TemplateTried))

    def _on_refused(self, refusal: Refusal) -> None:
        if not self._goes_on():
            lines = [f"{c.problem} {c.remedy}".strip() for c in refusal.complaints]
            self.refused.emit(" ".join(lines) or refusal.sentence)

    def _goes_on(self) -> bool:
        """Whether something newer is asked, so that this answer is of no interest."""
        self._is_asking = False
        wanted, self._next = self._next, None
        if wanted is not None:
            self.ask(wanted)
        return wanted is not None

    def _on_kept(self, data: dict[str, Any]) -> None:
        self.kept.emit(str(data["path"]))

    def _on_not_kept(self, refusal: Refusal) -> None:
        self.refused.emit(refusal.sentence)
