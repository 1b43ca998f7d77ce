"""One attempt with a living worker: give it the job, hear it out, end it if it does not end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.lifecycle import Event, State
from engine.contract.messages import (
    Done,
    Job,
    Message,
    Progress,
    Record,
    SaveNow,
    StopJob,
    Telemetry,
)
from engine.host.autopsy import Remains, examine, remains_of
from engine.host.book import Book
from engine.host.comeback import Comeback
from engine.host.course import Course, goes_on_from, tail_of
from engine.host.lesson import Lesson
from engine.host.oom_kills import RecentKills
from engine.host.pace import PaceKeeper
from engine.host.power import awake_seconds
from engine.host.settings import Settings
from engine.host.telemetry import Sampler
from engine.host.threads import begin
from engine.host.watchdog import Watchdog, clear_stacks, finding_of, joined
from engine.host.worker import Worker, describe_exit
from engine.store.checkpoints import Choice
from engine.store.runs import WORKER_LOG
from engine.store.staging import SAVING_SECONDS, is_saving

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class Attempt:
    """Lives from the launch of a run until its worker process is gone."""

    def __init__(
        self, book: Book, settings: Settings, run: str, worker: Worker, comeback: Comeback
    ) -> None:
        self.run = run
        self.course = Course(book, run, self._goes_on)
        self._is_leaving = False
        self._is_card_awaited = False
        """The pausing run is saved, and only its worker has yet to be gone."""
        self._book = book
        self._settings = settings
        self._worker = worker
        self._stop_asked_at: float | None = None
        self._over_at: float | None = None
        self._reason = ""
        """Why this host killed the worker; empty if it did not."""
        self._lesson = Lesson()
        self._pace = PaceKeeper(self.course, self._lesson.note)
        self._kills = RecentKills()
        self._comeback = comeback
        self._watchdog = Watchdog(settings, self.course, worker)
        self._start, self._host_log = Choice(folder=None), Path()

    async def work(self, spec: dict[str, Any], start: Choice, host_log: Path) -> None:
        """The whole attempt; the run rests when this returns, and the worker is gone."""
        self._start, self._host_log = start, host_log
        self.course.saved_step = start.step
        self._note_worker(self._worker.pid, self._worker.started_at)
        watch = asyncio.create_task(self._watch(), name=self.run)
        watch.add_done_callback(_on_watch_ended)
        try:
            if await self._is_ready():
                await self._train(spec, start)
            code = await self._worker.ended
        finally:
            watch.cancel()
        if not self.course.is_over:
            await self._conclude(code)
        elif self._is_card_awaited:
            _rest(self.course)
        self._note_worker(None, None)
        clear_stacks(self.course.folder)
        # What was foretold is foretold of the spec that the run was started with.
        if self._lesson.has_something and not self._book.tallies[self.run].patches:
            begin(self._lesson.learn, self._book.folder(self.run))

    def stop(self, *, now: bool) -> None:
        """Save and end, or with ``now`` end."""
        if self._is_card_awaited and self.course.state is not State.STOPPING:
            self._book.move(self.run, Event.STOP)
        if self.course.is_over:
            return  # It ends by itself.
        self._book.move(self.run, Event.STOP)
        if now or not self._worker.has_job:
            # There is nothing to save.
            self.kill("now")
        elif self._stop_asked_at is None:
            self._stop_asked_at = awake_seconds()
            self._worker.send(StopJob())

    def pause(self) -> None:
        """Save and end, as :meth:`stop`; the run is not over then, but paused."""
        if self.course.is_over or self.course.state is State.STOPPING:
            return
        known = self._book.tallies[self.run]
        # Kept with the run: should this host end first, the next one lets it rest all the same.
        known.is_pausing = True
        known.sentence = "Pausing: it saves at the end of this step."
        self._book.changed(self.run)
        self.halt("pause")

    def save(self) -> None:
        """Save at the next step boundary."""
        self._worker.send(SaveNow())

    def halt(self, reason: str = "system") -> None:
        """The system wants this host to end, or the card is wanted: save, and stop unasked."""
        self._is_leaving = reason == "system"
        if not self._worker.has_job:
            self.kill(reason)
            return
        self._stop_asked_at = self._stop_asked_at or awake_seconds()
        self._worker.send(StopJob())

    async def abandon(self) -> None:
        """:meth:`work` broke: end the worker, so that the next run has the GPU to itself."""
        self.kill("broken")
        await self._worker.ended

    # ------------------------------------------------------------ the worker's life

    async def _is_ready(self) -> bool:
        await asyncio.wait({self._worker.ready}, timeout=self._settings.ready_seconds)
        if not self._worker.ready.done():
            self.kill("not ready")
        return self._worker.ready.done() and not self._worker.ready.cancelled()

    async def _train(self, spec: dict[str, Any], start: Choice) -> None:
        folder = self._book.folder(self.run)
        self._pace.begin(spec)
        self._watchdog.begin()
        self._worker.listener = self._on_message
        self._worker.send(
            Job(
                kind="train",
                run=self.run,
                folder=str(folder),
                log=str(folder / WORKER_LOG),
                attempt=self.course.attempt,
                checkpoint=str(start.folder) if start.folder else None,
                spec=spec,
            )
        )
        gpu = int(spec.get("hardware", {}).get("gpu", 0))
        sampler = Sampler(self._worker.pid, gpu, self._on_sampled)
        if self._settings.telemetry:
            sampler.start()
        try:
            await self._worker.ended
        finally:
            sampler.stop()

    def _on_message(self, message: Message) -> None:
        self._watchdog.note(message)
        if isinstance(message, Record):
            self._lesson.note(message)
            self.course.take(message)
            self._pace.note(message)
            if self.course.is_over and self._over_at is None:
                self._over_at = awake_seconds()
        elif isinstance(message, Progress):
            self._book.note(self.run, msgspec.structs.replace(message, run=self.run))

    def _on_sampled(self, sample: Telemetry) -> None:
        if not self.course.is_over:
            self._lesson.note(sample)
            self.course.take(sample)
            self._pace.note(sample)

    async def _watch(self) -> None:
        """End a worker that does not do so itself."""
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._settings.exit_seconds / 2))
            now, limits = awake_seconds(), self._settings
            self._kills.look(now)
            if self._over_at and now - self._over_at > limits.exit_seconds:
                self.kill("does not end")
            elif self._stop_asked_at and _is_deaf(
                now - self._stop_asked_at, self.course, self._worker, limits
            ):
                self.kill("deaf")
            elif not self.course.is_over:
                self._watchdog.listen()
                await self._look_for_stall()

    async def _look_for_stall(self) -> None:
        """Find a worker that does not get on, keep what is seen, and end it if the run goes on."""
        stall = self._watchdog.look()
        if stall is None or self._stop_asked_at or self.course.state is State.STOPPING:
            return
        seen = await self._watchdog.see(stall)
        known = await examine(self._remains(None), self._book.store)
        if self.course.is_over or not self._watchdog.confirm():
            return
        ends = self._comeback.is_allowed
        finding = finding_of(self.course, stall, seen, is_ended=ends)
        self.course.note(joined(finding, known))
        if ends:
            self.kill("stalled")

    def kill(self, reason: str = "system") -> None:
        """End the worker at once: the host leaves and cannot wait any longer, or for a reason."""
        if self._worker.ended.done():
            return
        self._reason = self._reason or reason
        log.info("%s: worker %d is ended (%s)", self.run, self._worker.pid, reason)
        self._worker.kill()

    # ------------------------------------------------------------ an end without Done

    async def _conclude(self, code: int) -> None:
        if self._reason == "deaf":
            _find_deaf(self.course, self._settings.stop_grace_seconds)
        if self.course.state is State.STOPPING:
            sentence = f"Stopped at once. {self.course.lost_steps()}".strip()
            self.course.end(Event.HALT, "stopped", sentence, exit_code=code)
        elif self.course.is_pausing:
            self.course.end(Event.HALT, "stopped", self.course.lost_steps(), exit_code=code)
        elif self._reason == "system":
            sentence = f"The system ended Fettle. {self.course.lost_steps()}".strip()
            self.course.end(Event.LOSE, "stopped", sentence, exit_code=code)
        elif self._reason == "not ready":
            self._fail_to_start(code)
        elif self._reason == "stalled" and self.course.last_error:
            sentence = f"{self.course.last_error.title} {self.course.lost_steps()}".strip()
            self.course.end(Event.FAIL, "failed", sentence, exit_code=code)
        else:
            await self._fail(code)

    def _fail_to_start(self, code: int) -> None:
        title = f"The worker was not ready within {self._settings.ready_seconds:.0f} s."
        self.course.find(
            "error",
            "worker_not_ready",
            title,
            cause="Importing PyTorch takes too long or hangs.",
            remedy="Try again; if it stays so, install Fettle anew.",
            detail=tail_of(self._host_log),
        )
        self.course.end(Event.FAIL, "failed", title, exit_code=code)

    async def _fail(self, code: int) -> None:
        self.course.note(await examine(self._remains(code), self._book.store))
        sentence = f"The worker {describe_exit(code)}. {self.course.lost_steps()}".strip()
        self.course.end(Event.FAIL, "failed", sentence, exit_code=code)

    def _remains(self, code: int | None) -> Remains:
        return remains_of(
            self._book, self.course, code, idle_log=self._host_log,
            idle_log_start=self._worker.log_start, resumed_step=self._start.step,
            oom_kills=self._kills.before,
        )  # fmt: skip

    def _goes_on(self, course: Course, event: Event, done: Done) -> bool:
        """Whether the run does not come to rest with this attempt."""
        if course.is_pausing and event is not Event.FINISH:
            course.is_over = self._is_card_awaited = True
            if self._worker.ended.done():
                _rest(self.course)
            return True
        if self._is_leaving and event is not Event.FAIL:
            # The next host takes it up, as it does after a power cut.
            return self._comeback.after_loss(course, event, done)
        return self._comeback.after_attempt(course, event, done)

    # ------------------------------------------------------------ for the next host

    def _note_worker(self, pid: int | None, started_at: float | None) -> None:
        known = self._book.tallies[self.run]
        known.pid, known.pid_started_at = pid, started_at
        self._book.changed(self.run)


def _rest(course: Course) -> None:
    """The pausing run's worker is gone, so that the card is free; unless a stop came since."""
    lost = course.lost_steps()
    if course.state is State.STOPPING:
        there = f" and saved at step {course.saved_step}" if course.saved_step else ""
        course.end(Event.HALT, "stopped", f"Stopped{there}. {lost}".strip())
    else:
        course.rest(course.last_error.title if course.last_error else "")


def _is_deaf(asked_s: float, course: Course, worker: Worker, limits: Settings) -> bool:
    """Whether a worker that was asked to stop so long ago does not; one that saves may take
    longer."""
    over_s = asked_s - limits.stop_grace_seconds
    if over_s <= 0:
        return False
    return over_s > SAVING_SECONDS or not is_saving(course.folder, worker.pid)


def _find_deaf(course: Course, grace_seconds: float) -> None:
    course.find(
        "warning",
        "worker_deaf",
        f"The worker did not stop in {grace_seconds:.0f} s and was ended.",
        cause="It may be stuck in the GPU driver or on the disk.",
        remedy=goes_on_from("Resume", course.saved_step),
    )


def _on_watch_ended(watch: asyncio.Task[None]) -> None:
    error = None if watch.cancelled() else watch.exception()
    if error:
        log.error("%s: nobody watches its worker any more", watch.get_name(), exc_info=error)
