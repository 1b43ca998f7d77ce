"""Trying it first: the button, the rehearsal, and the card that tells of it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QPushButton

from app.link import HostLink
from app.pages.new_run.adviser import Adviser
from app.pages.new_run.rehearsal_card import RehearsalCard
from app.pages.new_run.starter import as_the_engine_reads
from app.rehearser import Rehearser
from engine.contract.messages import Refusal, Rehearsed
from engine.planning.pools import planned_pools


class Trials(QObject):
    """Wires a :class:`Rehearser` to its card.

    Signals:
        begun: something is being tried.
        refused: what the host found wrong with the spec (list of complaints).
    """

    begun = Signal()
    refused = Signal(object)

    def __init__(
        self,
        card: RehearsalCard,
        trigger: QPushButton,
        adviser: Adviser,
        link: HostLink,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._card, self._trigger, self._adviser, self._link = card, trigger, adviser, link
        self.rehearser = Rehearser(link, self)
        self.rehearser.begun.connect(self._on_begun)
        self.rehearser.advanced.connect(card.show_progress)
        self.rehearser.ended.connect(self._on_ended)
        self.rehearser.refused.connect(self._on_refused)
        card.stop_wanted.connect(self.rehearser.stop)

    def start(self, raw: dict[str, Any]) -> None:
        """Try a spec, beside the plan of it if there is one for this very machine."""
        forecaster = self._adviser.forecaster
        plan, machine = forecaster.forecast.plan, forecaster.machine
        is_of_this = forecaster.forecast.stage == "planned" and machine and machine.is_detected
        planned = {} if plan is None or not is_of_this else planned_pools(plan)
        self.rehearser.start(as_the_engine_reads(raw, self._link.place), planned)

    def _on_begun(self) -> None:
        self._trigger.setEnabled(False)
        self._card.show_begun()
        self.begun.emit()

    def _on_ended(self, found: Rehearsed) -> None:
        self._trigger.setEnabled(True)
        self._card.show_end(found)

    def _on_refused(self, refusal: Refusal) -> None:
        self._trigger.setEnabled(True)
        self._card.show_refusal(refusal)
        if refusal.complaints:
            self.refused.emit(refusal.complaints)
