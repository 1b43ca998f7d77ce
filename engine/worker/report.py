"""What a job tells people while it works, and the moments at which it may be interrupted."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import msgspec

from engine.contract import effects
from engine.contract.lifecycle import Phase
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Finding,
    PhaseChanged,
    Progress,
    Record,
    Step,
)
from engine.discreet import discreet
from engine.worker.inbox import Wishes
from engine.worker.outbox import Outbox

KEPT_STEPS = 60
"""Steps that are looked back at when something goes wrong."""
_PROGRESS_SECONDS = 0.1


class Halted(Exception):
    """The job was asked to end before it had anything to save."""


class Report:
    """Sends the records of one attempt of one run."""

    def __init__(self, outbox: Outbox, wishes: Wishes, *, run: str = "", attempt: int = 1) -> None:
        self._outbox = outbox
        self._run = run
        self._attempt = attempt
        self._progress_at = 0.0
        self.phase = Phase.WAITING
        self.step = 0
        """The last one that was told."""
        self.saved_step = 0
        """Of the last checkpoint of this attempt, 0 without any."""
        self.steps: deque[Step] = deque(maxlen=KEPT_STEPS)
        """The newest."""
        self.wishes = wishes

    def send(self, record: Record) -> None:
        """Send a record in the name of this run and attempt."""
        if isinstance(record, Step):
            self.step = record.step
            self.steps.append(record)
        elif isinstance(record, CheckpointSaved):
            self.saved_step = record.step
        record = msgspec.structs.replace(record, run=self._run, attempt=self._attempt)
        self._outbox.send(discreet(record))

    def enter(self, phase: Phase, *, max_steps: int = 0, detail: str = "") -> None:
        """The job is busy with something else now. Raises :class:`Halted` if it is to end."""
        self.raise_if_ending()
        self.show(phase, max_steps=max_steps, detail=detail)

    def show(self, phase: Phase, *, max_steps: int = 0, detail: str = "") -> None:
        """Like :meth:`enter`, for the phases that must not be left half done."""
        if phase is not self.phase:
            self.phase = phase
            self.send(PhaseChanged(at=time.time(), phase=phase, max_steps=max_steps, detail=detail))

    def progress(self, done: int, total: int, unit: str) -> None:
        """How far the phase is. Cheap to call often. Raises :class:`Halted` if it is to end."""
        now = time.monotonic()
        if now - self._progress_at < _PROGRESS_SECONDS and done != total:
            return
        self._progress_at = now
        self.raise_if_ending()
        self._outbox.send(
            Progress(run=self._run, phase=self.phase, done=done, total=total, unit=unit)
        )

    def moved(self) -> None:
        """Something was got done, too small to be told. Costs next to nothing."""
        self._outbox.moves += 1

    def raise_if_ending(self) -> None:
        """Raises :class:`Halted` if the job is to end."""
        if self.wishes.ending:
            raise Halted

    def decided(self, title: str, reason: str, cost: str = "") -> None:
        """Fettle chose something by itself."""
        self.send(Decision(at=time.time(), title=title, reason=reason, cost=cost))

    def found(self, code: str, title: str, **texts: Any) -> None:
        """Something a person should know; ``texts`` are fields of :class:`Finding`. What a patch
        does to the result follows from it, where nobody says more."""
        texts.setdefault("severity", "warning")
        patch = texts.get("patch") or {}
        texts.setdefault("changes_result", effects.changes_result(patch))
        texts.setdefault("effect", effects.sentence_of(patch))
        self.send(Finding(at=time.time(), code=code, title=title, **texts))
