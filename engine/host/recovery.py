"""Runs that lost their host: wait for their workers to save, take what they left, mark them.

Whether they go on by themselves is :class:`engine.host.comeback.Comeback`'s to say; those that do
not are ``interrupted``, and people resume them with one button.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import msgspec
import psutil

from engine.contract.lifecycle import LIVE, RESTING, Event, State
from engine.contract.messages import Done, Record, decode_line
from engine.host.book import Book, give_up
from engine.host.comeback import Comeback
from engine.host.course import Course
from engine.host.power import awake_seconds
from engine.host.settings import Settings
from engine.host.worker import is_alive, kill_family
from engine.store.checkpoints import NewerCheckpoint, SaveUnreadable, newest_verified
from engine.store.records import ends_with_done, newest_failure, newest_worker_stamp
from engine.store.runs import ORPHAN
from engine.store.staging import SAVING_SECONDS, is_saving
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)

_TERMINATE_SECONDS = 30.0
_KILLED_SECONDS = 10.0
_POLL_SECONDS = 0.1


class Recovery:
    """What has to be done before the first run of this host may train."""

    def __init__(self, book: Book, settings: Settings, comeback: Comeback) -> None:
        self._book = book
        self._comeback = comeback
        self._settings = settings
        self._to_end: set[str] = set()
        states = {run: tally.state for run, tally in book.tallies.items()}
        self.lost = [run for run, state in states.items() if state in LIVE]
        """Runs found with a state that needs a worker of this host."""
        self._unborn = [run for run, state in states.items() if state is State.CREATED]
        waiting = [run for run, state in states.items() if state is State.QUEUED]
        # It kept its place, before all others.
        book.queue.extend(run for run, state in states.items() if state is State.PAUSED)
        recovering = [run for run, state in states.items() if state is State.RECOVERING]
        book.queue.extend(sorted(recovering, key=lambda run: book.tallies[run].resumes_at or 0.0))
        book.queue.extend(sorted(waiting, key=lambda run: book.tallies[run].queued_at or 0.0))

    def is_waiting_for(self, run: str) -> bool:
        """Whether the run's worker, which lost its host, may still be saving."""
        return run in self.lost

    async def stop(self, run: str, *, now: bool) -> bool:
        """A person does not want the run any more; with ``now`` its worker is not waited for.
        False if nobody waits for that worker (any more). Raises StoreError."""
        if not self.is_waiting_for(run):
            return False
        await self._book.open(run)
        if not self.is_waiting_for(run):
            return False
        self._book.move(run, Event.STOP)
        if now:
            self._to_end.add(run)
        return True

    async def has_settled(self, run: str, timeout_s: float) -> bool:
        """Wait until it is known what became of the run."""
        deadline = time.monotonic() + timeout_s
        while self.is_waiting_for(run) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return not self.is_waiting_for(run)

    async def work(self) -> None:
        """Bring every such run to rest."""
        for run in [*self.lost, *self._unborn]:
            try:
                await self._book.open(run)
                await self._recover(run)
            except Exception as error:
                # A host that ended of it, and each one after it, would serve no run at all.
                log.exception("%s is not recovered", run)
                give_up(self._book, run, State.INTERRUPTED, f"Interrupted. {error}")
            # In one go with its new state: who stops it must find it here or there.
            if self._book.state(run) in (State.RECOVERING, State.PAUSED):
                # It had the card before those that wait.
                self._book.queue.insert(0, run)
            if run in self.lost:
                self.lost.remove(run)
            await self._book.close(run)
        await self._add_missing_ends()

    async def _recover(self, run: str) -> None:
        if self._book.state(run) is State.CREATED:
            sentence = "It never began. Resume to begin it."
            Course(self._book, run).end(Event.LOSE, "stopped", sentence)
            return
        await self._wait_for_worker(run)
        course = Course(self._book, run, self._goes_on)
        course.saved_step = self._book.tallies[run].saved_step
        # What the worker said to the host before this one, with nobody left to act on it.
        course.last_error = await asyncio.to_thread(newest_failure, course.folder)
        self._adopt(course)
        if not course.is_over:
            await self._interrupt(course)
        known = self._book.tallies[run]
        known.pid = known.pid_started_at = None
        self._book.changed(run)

    def _goes_on(self, course: Course, event: Event, done: Done) -> bool:
        """Whether the run does not come to rest."""
        if course.is_pausing and event is not Event.FINISH:
            course.rest()
            return True
        return self._comeback.after_loss(course, event, done)

    async def _wait_for_worker(self, run: str) -> None:
        known = self._book.tallies[run]
        if known.pid is None or known.pid_started_at is None:
            return
        if not is_alive(known.pid, known.pid_started_at):
            return
        known.sentence = "Fettle's host had ended. The worker saves what it has."
        self._book.changed(run)
        log.info("%s: waiting for worker %d to save", run, known.pid)
        ended = await self._ends(run, known.pid, known.pid_started_at)
        known.sentence = ""
        if not ended:
            await self._kill(known.pid, known.pid_started_at)

    async def _kill(self, pid: int, started_at: float) -> None:
        """End it and see it gone: until then it may write."""
        kill_family(pid)
        give_up_at = time.monotonic() + _KILLED_SECONDS
        while is_alive(pid, started_at):
            if time.monotonic() > give_up_at:
                log.error("Worker %d was killed and does not end; is a driver stuck?", pid)
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _ends(self, run: str, pid: int, started_at: float) -> bool:
        """Wait; ask in between; whether it ended by itself."""
        began = awake_seconds()
        ask_at = began + self._settings.orphan_seconds
        asked = False
        while is_alive(pid, started_at):
            now = awake_seconds()
            if now - began < SAVING_SECONDS and is_saving(self._book.folder(run), pid):
                ask_at = max(ask_at, now)
            if run in self._to_end or now > ask_at + _TERMINATE_SECONDS:
                return False
            if not asked and now > ask_at:
                asked = True
                _terminate(pid)
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _adopt(self, course: Course) -> None:
        """Take in what the worker left and the journals do not have yet."""
        path = course.folder / ORPHAN
        newest = newest_worker_stamp(course.folder)
        for record in read_orphan(path):
            if (course.attempt, record.worker_seq) <= newest or course.is_over:
                continue
            if isinstance(record, Done) and record.outcome == "stopped":
                _tell(course, "Fettle's host ended; the worker saved first.")
            course.take(record)
        path.unlink(missing_ok=True)

    async def _interrupt(self, course: Course) -> None:
        there = await self._look_for_save(course)
        if course.state is State.STOPPING:
            sentence = f"Stopped. {there} {course.lost_steps()}".strip()
            course.end(Event.HALT, "stopped", sentence)
            return
        cause = "Fettle's host and the worker ended: a crash, or the machine went off."
        _tell(course, cause, there)
        lost = course.lost_steps()
        course.end(Event.LOSE, "stopped", f"Interrupted. {there} {lost}".strip())

    async def _look_for_save(self, course: Course) -> str:
        """Where the run can go on, as a sentence."""
        try:
            start = await asyncio.to_thread(newest_verified, course.folder)
        except NewerCheckpoint as error:
            course.saved_step = course.step
            return str(error)
        except SaveUnreadable as error:
            course.saved_step = course.step
            return str(error)
        except OSError as error:
            course.saved_step = course.step
            return f"Its saves cannot be read: {error.strerror}."
        course.saved_step = start.step
        return f"It can go on from step {start.step}." if start.folder else "It has no save yet."

    async def _add_missing_ends(self) -> None:
        """A host that ended between the last state and Done owes those who follow the Done."""
        book = self._book
        resting = [run for run, tally in book.tallies.items() if tally.state in RESTING]
        for run in await asyncio.to_thread(_without_done, book.store, resting):
            async with book.lock(run):
                if run in book.tallies and book.state(run) in RESTING:
                    await self._add_end(run)

    async def _add_end(self, run: str) -> None:
        try:
            await self._book.open(run)
        except StoreError as error:
            log.error("%s stays without its Done: %s", run, error)
            return
        Course(self._book, run).add_done()
        await self._book.close(run)


def _without_done(store: Path, names: list[str]) -> list[str]:
    """Which of these runs say nothing after their last state."""
    return [run for run in names if _says_nothing(store / run)]


def _says_nothing(folder: Path) -> bool:
    try:
        return not ends_with_done(folder)
    except OSError as error:
        log.error("%s: its end cannot be read: %s", folder.name, error)
        return False


def read_orphan(path: Path) -> list[Record]:
    """The records that a worker without a host left; unreadable lines are passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            record = decode_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(record, Record):
            found.append(record)
    return found


def _tell(course: Course, cause: str, there: str = "") -> None:
    course.find("warning", "host_lost", "The run was interrupted.", cause=cause, remedy=there)


def _terminate(pid: int) -> None:
    try:
        psutil.Process(pid).terminate()
    except psutil.Error:
        log.info("Worker %d was gone already", pid)
