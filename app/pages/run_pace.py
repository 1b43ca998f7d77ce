"""Keeps the card of a run's pace up to date, while somebody looks at it."""

from __future__ import annotations

from functools import partial

import msgspec
from PySide6.QtCore import QObject, QTimer

from app.link import HostLink
from app.widgets.pace_card import PaceCard
from engine.contract.messages import Show
from engine.diagnosis.pace.shares import Pace

ASK_MS = 10_000
"""The host reads some thousand lines for an answer."""


class PaceKeeper(QObject):
    """Takes what the host says when a run is looked at, and asks again while the card is open."""

    def __init__(self, link: HostLink, card: PaceCard, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._card = card
        self._run = ""
        self._timer = QTimer(self, interval=ASK_MS)
        self._timer.timeout.connect(self._on_due)
        card.folder.head.toggled.connect(self._on_toggled)

    def look_at(self, run: str) -> None:
        """Another run is looked at; empty is none."""
        if run == self._run:
            return
        self._run = run
        self._card.show_pace(None)
        if run:
            self._timer.start()
        else:
            self._timer.stop()

    def take(self, data: dict[str, object]) -> None:
        """What the host said of the run, asked by others."""
        if self._run:
            self._card.show_pace(pace_in(data))

    def _ask(self) -> None:
        pending = self._link.ask(Show, run=self._run)
        pending.replied.connect(partial(self._on_shown, self._run))

    def _on_shown(self, run: str, data: dict[str, object]) -> None:
        if run == self._run:
            self.take(data)

    def _on_toggled(self, is_open: bool) -> None:
        if is_open and self._run:
            self._ask()

    def _on_due(self) -> None:
        around = self._card.parentWidget()
        if around is None or not around.isVisible():
            return
        # A folded card only has to come up, once there is something to tell.
        if self._card.isHidden() or self._card.folder.is_open:
            self._ask()


def pace_in(data: dict[str, object]) -> Pace | None:
    """The pace in the reply to :class:`Show`; None before there is one, or from an older host."""
    raw = data.get("pace")
    try:
        return msgspec.convert(raw, Pace) if raw else None
    except msgspec.ValidationError:
        return None
