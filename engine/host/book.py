"""The host's book of runs: every run's tally, the open journals, and who is told of changes.

Records go through :meth:`Book.record` and nowhere else: numbered, written, counted, sent on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.lifecycle import Event, State, move
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Done,
    Finding,
    Message,
    Outcome,
    Record,
    RunSummary,
    StateChanged,
)
from engine.discreet import discreet
from engine.host.disk import Disk
from engine.host.journals import Journals
from engine.host.threads import begin
from engine.host.waiting import ahead_of
from engine.store import runs, tally
from engine.store.journal import Journal
from engine.store.tally import Tally
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)

_LASTING = (StateChanged, CheckpointSaved, Done)
"""Records that a power cut must not take back."""


class Listener:
    """What the book tells others; the server is one."""

    def on_record(self, run: str, seq: int, line: bytes) -> None:
        """A record was written."""

    def on_note(self, run: str, message: Message) -> None:
        """Something that is not kept, for those who follow the run."""

    def on_summary(self, run: str, *, at_once: bool) -> None:
        """The summary of a run has changed."""

    def on_removed(self, run: str) -> None:
        """A run is gone."""


class Tallies(dict[str, Tally]):
    """The tally of each run. Whoever waited for something may ask for one that is gone by now, and
    gets a :class:`StoreError` that says so."""

    def __missing__(self, run: str) -> Tally:
        raise StoreError(f"The run {run} was removed a moment ago.")


class Book:
    """All runs of one store. Lives in the event loop's thread."""

    def __init__(self, store: Path, listener: Listener) -> None:
        self.store = store
        self.tallies = Tallies()
        self.unreadable: dict[str, str] = {}
        """Runs that cannot be opened, and the sentence why."""
        self.queue: list[str] = []
        """Runs that wait, next first."""
        self._listener = listener
        self._locks: dict[str, asyncio.Lock] = {}
        self.disk = Disk()
        self.journals = Journals(store, self.disk, self._keep_status)

    def load(self) -> None:
        """Read all runs of the store. Slow; before the loop serves anybody."""
        self.store.mkdir(parents=True, exist_ok=True)
        self.journals.reserve.keep()
        for folder in runs.folders(self.store):
            try:
                self.tallies[folder.name] = tally.load(folder)
            except StoreError as error:
                self.unreadable[folder.name] = str(error)
            except OSError as error:
                self.unreadable[folder.name] = f"{folder} cannot be read: {error}."
        for sentence in self.unreadable.values():
            log.warning("%s", sentence)

    # ------------------------------------------------------------ looking

    def names(self) -> list[str]:
        """All runs, newest first."""
        return sorted(
            self.tallies, key=lambda run: (self.tallies[run].created_at, run), reverse=True
        )

    def find(self, text: str) -> str:
        """The run a person means. Raises :class:`StoreError`."""
        try:
            return runs.resolve(text, self.names(), self.store)
        except StoreError:
            if text in self.unreadable:
                raise StoreError(self.unreadable[text]) from None
            raise

    def folder(self, run: str) -> Path:
        """The run's folder."""
        return self.store / run

    def summary(self, run: str) -> RunSummary:
        """The run's line in the list. Raises :class:`StoreError` if it was removed."""
        if run not in self.queue:
            return self.tallies[run].summary(self.folder(run))
        made = self.tallies[run].summary(self.folder(run), queue_place=self.queue.index(run) + 1)
        ahead = ahead_of(run, self.tallies)
        return msgspec.structs.replace(
            made, behind=ahead.name, behind_seconds=ahead.seconds, is_behind_paused=ahead.is_paused
        )

    def state(self, run: str) -> State:
        """Where the run is in its life. Raises :class:`StoreError` if it was removed."""
        return self.tallies[run].state

    def attempt(self, run: str) -> int:
        """Number of the run's newest attempt, from 1."""
        return max(self.tallies[run].attempt, 1)

    # ------------------------------------------------------------ writing

    async def add(self, folder: Path) -> str:
        """Take in a run folder that was just made."""
        run = folder.name
        try:
            self.tallies[run] = tally.new_tally(runs.read_run(folder))
            await self.open(run)
        except StoreError:
            self.tallies.pop(run, None)
            await self.disk.in_order(runs.remove, folder)
            raise
        return run

    def lock(self, run: str) -> asyncio.Lock:
        """For what must see a run at rest from its first look to its last change."""
        return self._locks.setdefault(run, asyncio.Lock())

    async def open(self, run: str) -> None:
        """Open the run's journal, if it is not. Raises :class:`StoreError`."""
        await self.journals.open(run, self.tallies[run].seq)

    def record(self, run: str, record: Record) -> None:
        """Write a record of an open run, and tell everybody."""
        journal = self.journals.of(run)
        had_problem = bool(journal.problem)
        numbered, line = journal.append(discreet(record))
        known = self.tallies[run]
        known.apply(numbered)
        if isinstance(record, CheckpointSaved | Done):
            known.look_at_disk(self.folder(run))
        if isinstance(record, Decision) and record.patch:
            _look_at_spec(known, self.folder(run))
        self._listener.on_record(run, numbered.seq, line)
        lasting = isinstance(record, _LASTING)
        self._listener.on_summary(run, at_once=lasting)
        if lasting:
            self.disk.keep(self.folder(run), known, journal)
        else:
            self.disk.note(self.folder(run), known)
        if journal.problem and not had_problem:
            self.record(run, _finding_of(journal, self.attempt(run)))

    def move(
        self, run: str, event: Event, sentence: str = "", *,
        resumes_at: float | None = None, step: int | None = None,
    ) -> State:  # fmt: skip
        """Let something happen to a run; resuming raises its attempt, and goes on from ``step``.
        One that goes on by itself does so at ``resumes_at``, UNIX time.

        Raises :class:`IllegalMove`. A move to the same state is no record.
        """
        before = self.tallies[run].state
        after = move(before, event)
        if after is not before:
            attempt = self.attempt(run) + (event is Event.RESUME)
            change = StateChanged(
                at=time.time(), attempt=attempt, state=after, sentence=sentence,
                resumes_at=resumes_at, step=step,
            )  # fmt: skip
            self.record(run, change)
        return after

    def note(self, run: str, message: Message) -> None:
        """Pass on what is not kept."""
        self._listener.on_note(run, message)

    def changed(self, run: str) -> None:
        """The run's summary has changed by something that is no record."""
        self._listener.on_summary(run, at_once=True)
        self._keep_status(run)

    async def close(self, run: str) -> None:
        """Close the journal of a run at rest; while its records wait for room it stays open."""
        await self.journals.close(run)

    async def remove(self, run: str) -> None:
        """Delete a run at rest. Raises :class:`StoreError`."""
        await self.journals.give_up(run)
        hidden = await self.disk.in_order(runs.hide, self.folder(run))
        del self.tallies[run]
        self._locks.pop(run, None)
        self._listener.on_removed(run)
        # What is large takes long, and a run that trains waits for this thread of the disk. If the
        # host ends before, the next one deletes it.
        begin(runs.delete_hidden, hidden)

    async def close_all(self) -> None:
        """Everything is on disk when this returns, as far as there is room for it."""
        await self.journals.close_all()
        self.disk.close()

    def _keep_status(self, run: str) -> None:
        self.disk.write_status(self.folder(run), self.tallies[run], durable=True)


def spec_of(book: Book, run: str) -> dict[str, Any]:
    """The raw spec of the run's next worker: as the run was started, with all that was changed
    since. Raises :class:`StoreError`."""
    return tally.spec_of(book.folder(run), book.tallies[run].patches)


def _look_at_spec(known: Tally, folder: Path) -> None:
    try:
        known.look_at_spec(tally.spec_of(folder, known.patches))
    except StoreError as error:
        log.warning("What %s is now cannot be said: %s", known.run, error)


def give_up(book: Book, run: str, state: State, sentence: str) -> None:
    """Bring a run to rest whose journal cannot be opened: only its status says so."""
    known = book.tallies[run]
    at, attempt = time.time(), book.attempt(run)
    known.apply(StateChanged(at=at, attempt=attempt, state=state, sentence=sentence))
    known.pid = known.pid_started_at = None
    book.changed(run)
    outcome: Outcome = "failed" if state is State.FAILED else "stopped"
    done = Done(
        at=at,
        run=run,
        attempt=attempt,
        outcome=outcome,
        step=known.step,
        folder=str(book.folder(run)),
        sentence=sentence,
        synthesised=True,
    )
    # Those who follow wait for it.
    book.note(run, done)


def _finding_of(journal: Journal, attempt: int) -> Finding:
    when = "there is room" if journal.is_full else "the disk takes it"
    return Finding(
        at=time.time(),
        attempt=attempt,
        # The run survives it: an error would be taken for the reason of whatever ends the run.
        severity="warning",
        code="disk_full" if journal.is_full else "disk_unwritable",
        title="The history of the run cannot be written.",
        cause=journal.problem,
        remedy=f"Training goes on. What is missing is written once {when}.",
    )
