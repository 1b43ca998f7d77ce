"""One attempt with a living worker: give it the job, hear it out, end it if it does not end."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.lifecycle import Event, State
from engine.contract.messages import Job, Message, Progress, Record, SaveNow, StopJob, Telemetry
from engine.host.autopsy import examine, remains_of
from engine.host.book import Book
from engine.host.comeback import Comeback
from engine.host.course import Course, tail_of
from engine.host.lesson import Lesson
from engine.host.oom_kills import RecentKills
from engine.host.pace import PaceKeeper
from engine.host.settings import Settings
from engine.host.telemetry import Sampler
from engine.host.threads import begin
from engine.host.worker import Worker, describe_exit
from engine.store.checkpoints import Choice
from engine.store.runs import WORKER_LOG

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class Attempt:
    """Lives from the launch of a run until its worker process is gone."""

    def __init__(
        self, book: Book, settings: Settings, run: str, worker: Worker, comeback: Comeback
    ) -> None:
        self.run = run
        self._course = Course(book, run, comeback.after_attempt)
        self._book = book
        self._settings = settings
        self._worker = worker
        self._stop_asked_at: float | None = None
        self._over_at: float | None = None
        self._reason = ""
        """Why this host killed the worker; empty if it did not."""
        self._is_mute = False
        self._lesson = Lesson()
        self._pace = PaceKeeper(self._course)
        self._kills = RecentKills()

    async def work(self, spec: dict[str, Any], start: Choice, host_log: Path) -> None:
        """The whole attempt; the run rests when this returns, and the worker is gone."""
        self._course.saved_step = start.step
        self._remember_worker()
        watch = asyncio.create_task(self._watch(), name=self.run)
        watch.add_done_callback(_on_watch_ended)
        try:
            if await self._is_ready():
                await self._train(spec, start)
            code = await self._worker.ended
        finally:
            watch.cancel()
        if not self._course.is_over:
            await self._conclude(code, host_log, start)
        self._forget_worker()
        # What was foretold is foretold of the spec that the run was started with.
        if self._lesson.has_something and not self._book.tallies[self.run].patches:
            begin(self._lesson.learn, self._book.folder(self.run))

    def stop(self, *, now: bool) -> None:
        """Save and end, or with ``now`` end."""
        if self._course.is_over:
            return  # It ends by itself.
        self._book.move(self.run, Event.STOP)
        if now or not self._worker.has_job:
            # There is nothing to save.
            self._kill("now")
        elif self._stop_asked_at is None:
            self._stop_asked_at = time.monotonic()
            self._worker.send(StopJob())

    def save(self) -> None:
        """Save at the next step boundary."""
        self._worker.send(SaveNow())

    def halt(self) -> None:
        """The system wants this host to end: save, and stop unasked."""
        if not self._worker.has_job:
            self._kill("system")
            return
        self._stop_asked_at = self._stop_asked_at or time.monotonic()
        self._worker.send(StopJob())

    async def abandon(self) -> None:
        """:meth:`work` broke: end the worker, so that the next run has the GPU to itself."""
        self._kill("broken")
        await self._worker.ended

    def kill(self) -> None:
        """The host leaves and cannot wait any longer."""
        self._kill("system")

    # ------------------------------------------------------------ the worker's life

    async def _is_ready(self) -> bool:
        await asyncio.wait({self._worker.ready}, timeout=self._settings.ready_seconds)
        if not self._worker.ready.done():
            self._kill("not ready")
        return self._worker.ready.done() and not self._worker.ready.cancelled()

    async def _train(self, spec: dict[str, Any], start: Choice) -> None:
        folder = self._book.folder(self.run)
        self._pace.begin(spec)
        self._worker.listener = self._on_message
        self._worker.send(
            Job(
                kind="train",
                run=self.run,
                folder=str(folder),
                log=str(folder / WORKER_LOG),
                attempt=self._course.attempt,
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
        if isinstance(message, Record):
            self._lesson.note(message)
            self._course.take(message)
            self._pace.note(message)
            if self._course.is_over and self._over_at is None:
                self._over_at = time.monotonic()
        elif isinstance(message, Progress):
            self._book.note(self.run, msgspec.structs.replace(message, run=self.run))

    def _on_sampled(self, sample: Telemetry) -> None:
        if not self._course.is_over:
            self._lesson.note(sample)
            self._course.take(sample)
            self._pace.note(sample)

    async def _watch(self) -> None:
        """End a worker that does not do so itself."""
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._settings.exit_seconds / 2))
            now, limits = time.monotonic(), self._settings
            self._kills.look(now)
            if self._over_at and now - self._over_at > limits.exit_seconds:
                self._kill("does not end")
            elif self._stop_asked_at and now - self._stop_asked_at > limits.stop_grace_seconds:
                self._kill("deaf")
            elif not self._course.is_over:
                self._listen(now)

    def _listen(self, now: float) -> None:
        silent = now - self._worker.heard_at > self._settings.mute_seconds
        if silent and not self._is_mute and self._worker.ready.done():
            self._course.find(
                "warning",
                "worker_silent",
                f"The worker has said nothing for {self._settings.mute_seconds:.0f} s.",
                cause="It may be stuck in the GPU driver, or the machine is very busy.",
                remedy="If nothing changes, stop at once and resume from the last save.",
            )
        self._is_mute = silent

    def _kill(self, reason: str) -> None:
        if self._worker.ended.done():
            return
        self._reason = self._reason or reason
        log.info("%s: worker %d is ended (%s)", self.run, self._worker.pid, reason)
        self._worker.kill()

    # ------------------------------------------------------------ an end without Done

    async def _conclude(self, code: int, host_log: Path, start: Choice) -> None:
        if self._reason == "deaf":
            self._find_deaf()
        if self._course.state is State.STOPPING:
            sentence = f"Stopped at once. {self._course.lost_steps()}".strip()
            self._course.end(Event.HALT, "stopped", sentence, exit_code=code)
        elif self._reason == "system":
            sentence = f"The system ended Fettle. {self._course.lost_steps()}".strip()
            self._course.end(Event.LOSE, "stopped", sentence, exit_code=code)
        elif self._reason == "not ready":
            self._fail_to_start(code, host_log)
        else:
            await self._fail(code, host_log, start)

    def _find_deaf(self) -> None:
        self._course.find(
            "warning",
            "worker_deaf",
            f"The worker did not stop in {self._settings.stop_grace_seconds:.0f} s and was ended.",
            cause="It may be stuck in the GPU driver or on the disk.",
            remedy="Resume goes on from the last save.",
        )

    def _fail_to_start(self, code: int, host_log: Path) -> None:
        title = f"The worker was not ready within {self._settings.ready_seconds:.0f} s."
        self._course.find(
            "error",
            "worker_not_ready",
            title,
            cause="Importing PyTorch takes too long or hangs.",
            remedy="Try again; if it stays so, install Fettle anew.",
            detail=tail_of(host_log),
        )
        self._course.end(Event.FAIL, "failed", title, exit_code=code)

    async def _fail(self, code: int, host_log: Path, start: Choice) -> None:
        remains = remains_of(
            self._book, self._course, code, idle_log=host_log,
            idle_log_start=self._worker.log_start, resumed_step=start.step,
            oom_kills=self._kills.before,
        )  # fmt: skip
        self._course.note(await examine(remains, self._book.store))
        sentence = f"The worker {describe_exit(code)}. {self._course.lost_steps()}".strip()
        self._course.end(Event.FAIL, "failed", sentence, exit_code=code)

    # ------------------------------------------------------------ for the next host

    def _remember_worker(self) -> None:
        known = self._book.tallies[self.run]
        known.pid, known.pid_started_at = self._worker.pid, self._worker.started_at
        self._book.changed(self.run)

    def _forget_worker(self) -> None:
        known = self._book.tallies[self.run]
        known.pid = known.pid_started_at = None
        self._book.changed(self.run)


def _on_watch_ended(watch: asyncio.Task[None]) -> None:
    error = None if watch.cancelled() else watch.exception()
    if error:
        log.error("%s: nobody watches its worker any more", watch.get_name(), exc_info=error)
