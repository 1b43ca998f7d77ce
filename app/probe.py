"""Tries a place for the engine, and tells what is there. Nothing is started but its idle host."""

from __future__ import annotations

import sys
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.conversation import Conversation, Pending
from app.endpoint import Place, transport_to
from engine.contract.messages import Facts, Refusal


class Probe(QObject):
    """One try of one place.

    Signals:
        succeeded: what the host said of itself (dict), and of its machine (dict).
        failed: why not, and what to do, for people.
    """

    succeeded = Signal(object, object)
    failed = Signal(str)

    def __init__(self, place: Place, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.place = place
        self._hello: dict[str, Any] = {}
        self._is_over = False
        self._conversation = Conversation(transport_to(place), "window", self)
        self._conversation.greeted.connect(self._on_greeted)
        self._conversation.ended.connect(self._on_ended)

    def begin(self) -> None:
        """Connect and ask; answered by ``succeeded`` or ``failed``."""
        problem = self.place.problem()
        if problem:
            self._fail(problem)
        else:
            self._conversation.begin()

    def cancel(self) -> None:
        """Stop trying; nothing is told, and this object goes when the connection is down."""
        self._is_over = True
        self._conversation.ended.connect(self.deleteLater)
        self._conversation.end()

    def _on_greeted(self, hello: dict[str, Any]) -> None:
        self._hello = hello
        pending = Pending(Facts(id=self._conversation.next_id()), self)
        pending.replied.connect(self._on_facts)
        pending.refused.connect(self._on_refused)
        self._conversation.ask(pending)

    def _on_facts(self, data: dict[str, Any]) -> None:
        if not self._is_over:
            self._is_over = True
            self.succeeded.emit(self._hello, data.get("facts") or {})
            self._conversation.end()

    def _on_refused(self, refusal: Refusal) -> None:
        self._fail(refusal.sentence)
        self._conversation.end()

    def _on_ended(self, sentence: str) -> None:
        self._fail(sentence or "The connection was closed.")

    def _fail(self, sentence: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.failed.emit(sentence)


def python_version() -> str:
    """Of this window's Python."""
    return ".".join(map(str, sys.version_info[:3]))
