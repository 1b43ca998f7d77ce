"""A finished run teaches how far its plan was off, so that the next plan on this card is nearer."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from engine.contract.messages import Done, Message, Step, Telemetry
from engine.paths import home
from engine.planning import learnt
from engine.planning.learnt import Expected
from engine.store.runs import read_run
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)


class Lesson:
    """Notes the greatest memory of an attempt. Sizes in bytes."""

    def __init__(self) -> None:
        self._reserved = 0
        self._process = 0
        self._is_finished = False

    def note(self, message: Message) -> None:
        """Take from a record what it says of the card's memory, and how the run ended."""
        if isinstance(message, Step):
            self._reserved = max(self._reserved, message.vram_peak_bytes or 0)
        elif isinstance(message, Telemetry):
            self._process = max(self._process, message.vram_process_bytes or 0)
        elif isinstance(message, Done):
            self._is_finished = message.outcome == "finished"

    @property
    def has_something(self) -> bool:
        """Whether the attempt finished on a card."""
        return self._is_finished and self._reserved > 0

    def learn(self, folder: Path) -> None:
        """Compare with the plan in the run's folder, if it has one. A failure is only logged."""
        try:
            raw = read_run(folder).plan
            if raw:
                expected = msgspec.convert(raw, Expected)
                learnt.record(home(), expected, self.measured_bytes(expected))
        except (StoreError, msgspec.ValidationError, OSError) as error:
            log.warning("%s: nothing is learnt from it: %s", folder.name, error)

    def measured_bytes(self, expected: Expected) -> int:
        """What the run took of the card at its peak. The driver knows best, where it tells; it is
        asked once a second, so what torch says is the least that it was."""
        if self._process >= self._reserved:
            return self._process
        return self._reserved + expected.context_bytes
