"""The course of one attempt: what a worker's records mean for the state of its run.

The same for a living worker, whose records come over a pipe, and for one that lost its host and
left them in ``orphan.jsonl``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.contract.lifecycle import Event, Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Finding,
    Outcome,
    PhaseChanged,
    Record,
    Severity,
    StateChanged,
    Step,
)
from engine.host.book import Book
from engine.store.checkpoints import newest_step
from engine.store.runs import OUTPUT, WORKER_LOG

log = logging.getLogger(__name__)

_TRAINS = frozenset({Phase.FIRST_STEP, Phase.TRAINING})
_OUTCOMES: dict[State, Outcome] = {State.FINISHED: "finished", State.FAILED: "failed"}
_TAIL_BYTES = 4000


def goes_on_from(verb: str, saved_step: int) -> str:
    """Where a run goes on, in the words of the button: ``Resume goes on from step 100.``"""
    if not saved_step:
        return f"There is no save: {verb} begins anew."
    return f"{verb} goes on from step {saved_step}."


def newest_save(book: Book, run: str) -> int:
    """Step of the run's newest save, 0 without any; what was last known of it while the disk does
    not say."""
    try:
        return newest_step(book.folder(run))
    except OSError as error:
        log.warning("%s: its saves cannot be listed: %s", run, error)
        return book.tallies[run].saved_step


class Course:
    """Takes an attempt to its end. After :attr:`is_over` it takes nothing more.

    ``goes_on`` is asked at an end before the time, with the event and Done that it would be; if it
    brings the run to ``recovering`` and says so, that Done is not written.
    """

    def __init__(
        self, book: Book, run: str, goes_on: Callable[[Course, Event, Done], bool] | None = None
    ) -> None:
        self.book = book
        self._goes_on = goes_on
        self.run = run
        self.attempt = book.attempt(run)
        self.folder = book.folder(run)
        self.is_over = False
        self.saved_step = 0
        """Step of the last checkpoint of this attempt."""
        self.log_start = _size_of(self.folder / WORKER_LOG)
        """How long the log of the run was before this attempt."""
        self.has_stepped = False
        """Whether this attempt did a step."""
        self.last_error: Finding | None = None
        """The newest finding of this attempt about why it ended."""

    @property
    def state(self) -> State:
        """Where the run is now."""
        return self.book.state(self.run)

    @property
    def step(self) -> int:
        """The last step done."""
        return self.book.tallies[self.run].step

    def take(self, record: Record) -> None:
        """A worker's record."""
        if self.is_over or isinstance(record, StateChanged):
            log.warning("%s: a %s out of place is dropped", self.run, type(record).__name__)
            return
        record = msgspec.structs.replace(record, attempt=self.attempt)
        if isinstance(record, Done):
            self._take_done(record)
            return
        self._advance(record)
        if isinstance(record, CheckpointSaved):
            self.saved_step = record.step
        self.has_stepped = self.has_stepped or isinstance(record, Step)
        if isinstance(record, Finding):
            self.note(record)
        else:
            self.book.record(self.run, record)

    def note(self, finding: Finding) -> None:
        """Record a finding about this attempt."""
        if finding.severity == "error":
            self.last_error = finding
        self.book.record(self.run, finding)

    def find(
        self,
        severity: Severity,
        code: str,
        title: str,
        *,
        cause: str,
        remedy: str,
        detail: str = "",
    ) -> None:
        """Say something of the run that a person should know."""
        self.note(
            Finding(
                at=time.time(),
                attempt=self.attempt,
                severity=severity,
                code=code,
                title=title,
                cause=cause,
                remedy=remedy,
                detail=detail,
                step=self.step or None,
            ),
        )

    def end(
        self, event: Event, outcome: Outcome, sentence: str, *, exit_code: int | None = None
    ) -> None:
        """The attempt is over and its worker did not say so."""
        self._finish(
            event,
            Done(
                at=time.time(),
                attempt=self.attempt,
                outcome=outcome,
                step=self.step,
                sentence=sentence,
                synthesised=True,
                exit_code=exit_code,
            ),
        )

    def recover(self, sentence: str, *, resumes_at: float) -> None:
        """The attempt is over, and the run goes on by itself at that UNIX time."""
        self.is_over = True
        self.book.move(self.run, Event.RETRY, sentence, resumes_at=resumes_at)

    @property
    def is_pausing(self) -> bool:
        """Whether a person wants it to give the card back and to keep its place."""
        return self.book.tallies[self.run].is_pausing and self.state is not State.STOPPING

    def rest(self, error: str = "") -> None:
        """The attempt is over, its worker gone, and the run waits until it is told to go on;
        ``error`` is what ended it before it could pause."""
        self.is_over = True
        there = goes_on_from("Continue", self.saved_step)
        sentence = f"{error} The card is free. {there} {self.lost_steps()}"
        self.book.move(self.run, Event.PAUSE, sentence.strip())

    def add_done(self) -> None:
        """The run rests, but a host ended before it could write its Done."""
        known = self.book.tallies[self.run]
        output = self.folder / OUTPUT
        done = Done(
            at=known.ended_at or time.time(),
            attempt=self.attempt,
            outcome=_OUTCOMES.get(self.state, "stopped"),
            step=self.step,
            sentence=known.sentence,
            folder=str(self.folder),
            output=str(output) if self.state is State.FINISHED and output.is_dir() else None,
            synthesised=True,
        )
        self.is_over = True
        self.book.record(self.run, done)

    def lost_steps(self) -> str:
        """A sentence on the steps that no checkpoint has, or nothing."""
        lost = self.step - self.saved_step
        if lost <= 0:
            return ""
        steps, are = ("1 step", "is") if lost == 1 else (f"{lost} steps", "are")
        since = " after the last save" if self.saved_step else ""
        return f"{steps}{since} {are} lost."

    # ------------------------------------------------------------ inside

    def _advance(self, record: Record) -> None:
        """Move the state as far as the record shows that the worker has come."""
        phase = record.phase if isinstance(record, PhaseChanged) else None
        trains = phase in _TRAINS or isinstance(record, Step)
        if self.state is State.STARTING and (phase or trains):
            self.book.move(self.run, Event.PREPARE)
        if self.state is State.PREPARING and trains:
            self.book.move(self.run, Event.TRAIN)

    def _take_done(self, done: Done) -> None:
        if self.state is State.STARTING and done.outcome == "finished":
            self.book.move(self.run, Event.PREPARE)
        events = {"finished": Event.FINISH, "stopped": Event.HALT, "failed": Event.FAIL}
        self._finish(events[done.outcome], done)

    def _finish(self, event: Event, done: Done) -> None:
        if self._goes_on and self._goes_on(self, event, done):
            return
        self.is_over = True
        self.book.move(self.run, event, done.sentence)
        output = str(self.folder / done.output) if done.output else None
        self.book.record(
            self.run, msgspec.structs.replace(done, folder=str(self.folder), output=output)
        )


def tail_of(path: Path) -> str:
    """The last lines of a text file; empty if there is none."""
    return end_of(path, 0, _TAIL_BYTES).strip()


def end_of(path: Path, start: int, size: int) -> str:
    """The last ``size`` bytes of a text file at most, none of them before ``start``; empty if there
    is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - size, start))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
