"""Which run trains: one at a time, first come, first served."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable

from engine.contract.lifecycle import LIVE, RESTING, Event, IllegalMove, State
from engine.contract.messages import Severity
from engine.failpoints import reach
from engine.host.attempt import Attempt
from engine.host.back_off import BackOff
from engine.host.book import Book, give_up, spec_of
from engine.host.comeback import Comeback
from engine.host.course import Course, goes_on_from, newest_save
from engine.host.pool import Pool
from engine.host.power import Nothing, SleepGuard
from engine.host.settings import Settings
from engine.store.checkpoints import Choice, SaveUnreadable, newest_verified
from engine.store.runs import ORPHAN
from engine.store.soundness import passed_over
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)

_KILLED_SECONDS = 10.0
"""How long a killed worker may take to be gone."""


class Scheduler:
    """Takes runs from the book's queue and brings each through an attempt."""

    def __init__(
        self, book: Book, pool: Pool, settings: Settings, comeback: Comeback,
        sleep_guard: SleepGuard | None = None,
    ) -> None:  # fmt: skip
        self._book = book
        self._sleep_guard = sleep_guard or SleepGuard(Nothing())
        self._comeback = comeback
        self.back_off = BackOff(book, comeback)
        self._pool = pool
        self._settings = settings
        self._news = asyncio.Event()
        self._news.set()  # Runs may wait from the time of an earlier host.
        self._launching = ""
        self._attempt: Attempt | None = None
        self.card = asyncio.Lock()
        """Held by whoever computes, a run or a rehearsal: two would share the card's memory."""
        self._leaving = asyncio.Event()
        self._chosen: dict[str, Choice] = {}
        """Checkpoints that were verified just now, so that they are not read twice."""

    @property
    def is_busy(self) -> bool:
        """Whether a run trains, recovers or waits; one that has ended does not, though its worker
        may need a moment to be gone."""
        at_work = bool(self._launching) and self._book.state(self._launching) not in RESTING
        return at_work or self._has_next

    def enqueue(self, run: str, start: Choice | None = None) -> None:
        """Put a queued run at the end of the queue; one that was paused has kept its place."""
        if run not in self._book.queue:
            self._book.queue.append(run)
        if start:
            self._chosen[run] = start
        self._news.set()

    async def stop(self, run: str, *, now: bool) -> None:
        """Stop a run that waits or trains. Raises :class:`IllegalMove`, :class:`StoreError`."""
        if self._launching == run and self._book.state(run) is State.RECOVERING:
            # The worker of the attempt that ended may still be about to go.
            self.back_off.call_off(run)
        elif self._attempt and self._attempt.run == run:
            self._attempt.stop(now=now)
        elif self._launching == run:
            self._book.move(run, Event.STOP)
        else:
            await self._stop_waiting(run)

    def pause(self, run: str) -> None:
        """Give the card back. Raises :class:`IllegalMove` if the run has no worker to save."""
        state = self._book.state(run)
        if state is State.RECOVERING and self._launching == run:
            self.back_off.pause(run)
        elif self._attempt and self._attempt.run == run and state in LIVE - {State.STOPPING}:
            self._attempt.pause()
        elif state is not State.PAUSED:
            raise IllegalMove(f"A run that is {state.value} cannot pause: it has nothing to save.")

    def save(self, run: str) -> None:
        """Save soon. Raises :class:`IllegalMove` if the run has no worker to do so."""
        state = self._book.state(run)
        if not self._attempt or self._attempt.run != run or state not in LIVE:
            raise IllegalMove(f"A run that is {state.value} has nothing to save.")
        if self._attempt.course.is_over:
            raise IllegalMove("The run has saved already, and its worker is about to be gone.")
        self._attempt.save()

    async def has_left(self, run: str, timeout_s: float) -> bool:
        """Wait until the run's worker is gone."""
        deadline = time.monotonic() + timeout_s
        while self._launching == run and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return self._launching != run

    async def work(self, first: Awaitable[None]) -> None:
        """Serve the queue for ever, after ``first`` (the recovery) is done."""
        await first
        while not self._leaving.is_set():
            await self._pool.keep()
            await self._news.wait()
            self._news.clear()
            while self._has_next and not self._leaving.is_set():
                async with self.card:
                    # The wait for the card may have been long.
                    if self._has_next and not self._leaving.is_set():
                        await self._serve_safely(self._book.queue[0])

    async def leave(self, timeout_s: float) -> None:
        """Let the run that trains save and end; others stay in the queue for the next host."""
        self._leaving.set()
        self.back_off.leave()
        run = self._launching
        if not run:
            return
        if self._attempt:
            self._attempt.halt()
        if not await self.has_left(run, timeout_s) and self._attempt:
            self._attempt.kill()
            await self.has_left(run, _KILLED_SECONDS)

    # ------------------------------------------------------------ inside

    async def _serve_safely(self, run: str) -> None:
        """Whatever breaks with one run, those behind it have their turn."""
        try:
            await self._serve(run)
        except Exception as error:
            log.exception("%s: its turn broke", run)
            if self._attempt:
                self._attempt.kill("broken")
            self._launching, self._attempt = "", None
            if run in self._book.queue:
                self._take_from_queue(run)
            if run in self._book.tallies and self._book.state(run) not in RESTING:
                sentence = f"Fettle itself failed: {error}. See host.log."
                give_up(self._book, run, State.FAILED, sentence)
            await self._book.close(run)

    async def _serve(self, run: str) -> None:
        """Bring a run through its attempts, whatever happens in them."""
        if not await self._can_open(run):
            return
        if run not in self._book.queue or self._leaving.is_set():
            await self._book.close(run)
            return
        self._launching = run
        self._take_from_queue(run)
        # A run that goes on by itself keeps the card: those that wait would have it for hours.
        with self._sleep_guard.held(f"A run trains: {self._book.tallies[run].name}"):
            while await self._is_due(run):
                await self._attempt_once(run)
        self._launching = ""
        if self._book.state(run) is State.PAUSED:
            self._book.queue.insert(0, run)
            self._book.changed(run)
        await self._book.close(run)

    @property
    def _has_next(self) -> bool:
        """Whether a run waits that may begin: a paused one keeps the card free for other things."""
        known = [self._book.tallies.get(run) for run in self._book.queue[:1]]
        return any(first is None or first.state is not State.PAUSED for first in known)

    async def _is_due(self, run: str) -> bool:
        """Whether an attempt is to begin now; waits as long as a recovering run has to."""
        if self._book.state(run) is State.RECOVERING:
            await self.back_off.wait(run)
        if self._leaving.is_set():
            return False
        if self._book.state(run) is State.RECOVERING:
            self._book.move(run, Event.RESUME, step=newest_save(self._book, run))
        return self._book.state(run) is State.QUEUED

    async def _attempt_once(self, run: str) -> None:
        self._book.move(run, Event.LAUNCH)
        task = asyncio.create_task(self._launch(run))
        await asyncio.wait({task})
        error = task.exception()
        if error:
            log.error("%s: the attempt broke", run, exc_info=error)
            if self._attempt:
                await self._attempt.abandon()
        self._attempt = None
        if self._book.state(run) in LIVE:
            _end(self._book, run, f"Fettle itself failed: {error}. See host.log.")

    async def _can_open(self, run: str) -> bool:
        try:
            await self._book.open(run)
        except StoreError as error:
            log.error("%s is left out: %s", run, error)
            self._take_from_queue(run)
            give_up(self._book, run, State.FAILED, f"The run could not be started. {error}")
            return False
        return True

    async def _launch(self, run: str) -> None:
        course = Course(self._book, run, self._comeback.after_attempt)
        try:
            reach("host.launch")
            spec = spec_of(self._book, run)
            start = await self._choose(run)
            _tell_of_broken(course, start, self._book.tallies[run].reached_step)
            if self._is_stopping(run):
                course.end(Event.HALT, "stopped", "Stopped before it began.")
                return
            if self._leaving.is_set():
                self._book.move(run, Event.ENQUEUE, "The system ended Fettle before it began.")
                return
            worker = await self._pool.take()
        except SaveUnreadable as error:
            _retreat(course, error)
            return
        except StoreError as error:
            _end(self._book, run, f"The run could not be started: {error}")
            return
        except OSError as error:
            _end_for_now(course, f"The run could not be started: {error}")
            return
        self._attempt = Attempt(self._book, self._settings, run, worker, self._comeback)
        if self._is_stopping(run):
            self._attempt.stop(now=True)
        elif self._leaving.is_set():
            self._attempt.halt()
        await self._attempt.work(spec, start, self._pool.log)

    async def _choose(self, run: str) -> Choice:
        """The checkpoint to go on from; what an earlier host's worker left behind is of no use."""
        folder = self._book.folder(run)
        (folder / ORPHAN).unlink(missing_ok=True)
        if run in self._chosen:
            return self._chosen.pop(run)
        known = self._book.tallies[run]
        # With its last try a run rather does some steps again than nothing for the night.
        is_last = 0 < self._comeback.options.resume_tries <= known.tries
        return await asyncio.to_thread(newest_verified, folder, passes_over=is_last)

    def _is_stopping(self, run: str) -> bool:
        return self._book.state(run) is State.STOPPING

    def _take_from_queue(self, run: str) -> None:
        self._book.queue.remove(run)
        for other in self._book.queue:
            self._book.changed(other)

    async def _stop_waiting(self, run: str) -> None:
        if run not in self._book.queue:
            self._book.move(run, Event.STOP)  # At rest: nothing changes.
            return
        await self._book.open(run)
        if run not in self._book.queue:
            # It was its turn meanwhile.
            await self.stop(run, now=True)
            return
        self._take_from_queue(run)
        self._chosen.pop(run, None)
        sentence = _stopped_at(self._book.tallies[run].step, newest_save(self._book, run))
        Course(self._book, run).end(Event.STOP, "stopped", sentence)
        self._news.set()
        await self._book.close(run)


def _stopped_at(step: int, saved: int) -> str:
    """What is said of a run that waited, and where it goes on if not from there."""
    if not step:
        return "Stopped before it began."
    there = f" {goes_on_from('Resume', saved)}" if saved != step else ""
    return f"Stopped at step {step}.{there}"


def _tell_of_broken(course: Course, start: Choice, reached: int) -> None:
    if text := passed_over(start, reached):
        title = "A save was passed over." if start.notes else "A save was taken back."
        severity: Severity = "warning" if start.notes else "info"
        course.find(severity, "checkpoint_broken", title, cause=text, remedy="")


def _retreat(course: Course, error: SaveUnreadable) -> None:
    """The disk may be back in a while: whether to wait for it is the policy's to say."""
    if course.state is State.STOPPING:
        course.end(Event.HALT, "stopped", str(error))
        return
    course.saved_step = course.book.tallies[course.run].saved_step
    course.find(
        "error", "save_unreadable", "The newest save cannot be read.",
        cause=f"{error.filename}: {error.strerror or 'it gave no reason'}.", remedy=error.remedy,
    )  # fmt: skip
    course.end(Event.FAIL, "failed", str(error))


def _end_for_now(course: Course, sentence: str) -> None:
    """An attempt did not come about, for want of something that the machine may soon have again:
    memory, a disk that answers."""
    if course.state is State.STOPPING:
        course.end(Event.HALT, "stopped", sentence)
        return
    course.find(
        "error", "worker_not_ready", sentence, cause="The system refused it just then.",
        remedy="Resume it when memory and disks answer again.",
    )  # fmt: skip
    course.end(Event.FAIL, "failed", sentence)


def _end(book: Book, run: str, sentence: str) -> None:
    """Bring a run whose attempt did not come about to rest."""
    course = Course(book, run)
    if course.state is State.STOPPING:
        course.end(Event.HALT, "stopped", sentence)
    else:
        course.end(Event.FAIL, "failed", sentence)
