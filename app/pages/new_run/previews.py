"""Asks the host what datasets look like, and remembers it for as long as they are chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.link import HostLink
from app.mixture import Key
from app.pages.new_run.starter import as_the_engine_reads
from engine.contract.messages import PreviewDataset, Refusal

_ASK_AFTER_MS = 250
_AT_ONCE = 4
"""Questions under way: each has a thread of the host read a file."""


class Previews(QObject):
    """What is known of the datasets that are chosen now.

    Signals:
        told: the host is looking at this :class:`Key`, or has.
    """

    told = Signal(object)

    def __init__(self, link: HostLink, parent: QObject, after_ms: int = _ASK_AFTER_MS) -> None:
        super().__init__(parent)
        self._link = link
        self._wanted: tuple[Key, ...] = ()
        self._facts: dict[Key, dict[str, Any]] = {}
        self._refusals: dict[Key, Refusal] = {}
        self._asked: set[Key] = set()
        """Not answered yet."""
        self._delay = QTimer(self, singleShot=True, interval=after_ms)
        self._delay.timeout.connect(self._on_delay)
        link.connected.connect(self._on_connected)

    def want(self, keys: Sequence[Key]) -> None:
        """These are chosen now; what was known of others is forgotten."""
        self._wanted = tuple(dict.fromkeys(keys))
        self._facts = {key: facts for key, facts in self._facts.items() if key in keys}
        self._refusals = {key: said for key, said in self._refusals.items() if key in keys}
        if self._open():
            self._delay.start()

    def of(self, key: Key) -> dict[str, Any]:
        """The answer to PreviewDataset; empty if there is none."""
        return self._facts.get(key, {})

    def refusal(self, key: Key) -> Refusal | None:
        """Why the host cannot tell; None if it can, or was not asked."""
        return self._refusals.get(key)

    def is_asked(self, key: Key) -> bool:
        """Whether the host is looking at it."""
        return key in self._asked

    def _open(self) -> list[Key]:
        """What is to be asked."""
        known = {*self._facts, *self._refusals, *self._asked}
        return [key for key in self._wanted if key.path.strip() and key not in known]

    def _on_connected(self, _data: object) -> None:
        self._refusals.clear()
        self._asked.clear()
        self.want(self._wanted)

    def _on_delay(self) -> None:
        # What is of no interest any more keeps nobody waiting.
        free = _AT_ONCE - len(self._asked.intersection(self._wanted))
        if free > 0 and self._link.is_connected:
            for key in self._open()[:free]:
                self._ask(key)

    def _ask_more(self) -> None:
        if not self._delay.isActive():  # Else it comes, when nothing is being typed any more.
            self._on_delay()

    def _ask(self, key: Key) -> None:
        spec = as_the_engine_reads({"dataset": {"path": key.path}}, self._link.place)
        pending = self._link.ask(
            PreviewDataset, path=spec["dataset"]["path"], format=key.format,
            columns=json.loads(key.columns), roles=json.loads(key.roles),
        )  # fmt: skip
        pending.setProperty("about", list(key))
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)
        self._asked.add(key)
        self.told.emit(key)

    def _on_replied(self, data: dict[str, Any]) -> None:
        key = self._asked_for()
        if key in self._wanted:
            self._facts[key] = data
        self.told.emit(key)
        self._ask_more()

    def _on_refused(self, refusal: Refusal) -> None:
        key = self._asked_for()
        if key in self._wanted and refusal.code != "no_connection":
            self._refusals[key] = refusal
        self.told.emit(key)
        self._ask_more()

    def _asked_for(self) -> Key:
        key = Key(*self.sender().property("about"))
        self._asked.discard(key)
        return key
