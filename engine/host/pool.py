"""One idle worker with its imports done, so that a start does not wait for ``import torch``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from engine.host.settings import Settings
from engine.host.worker import Worker, spawn

log = logging.getLogger(__name__)


class Pool:
    """Keeps at most one idle worker, and only while somebody is likely to want it.

    While a run trains nobody calls :meth:`keep` or :meth:`lend`: another worker's imports would
    take from the training what a later start gains.
    """

    def __init__(self, settings: Settings, folder: Path, has_window: Callable[[], bool]) -> None:
        self._settings = settings
        self.folder = folder
        self._has_window = has_window
        self._idle: Worker | None = None
        self._asked_until = 0.0
        self._is_broken = False
        """The last idle worker ended by itself; another one would too, until somebody asks."""
        self._is_closed = False
        self._lent = 0
        """Workers that come back: no other is made meanwhile, which would only be in their way."""
        self._lock = asyncio.Lock()

    @property
    def log(self) -> Path:
        """Where idle workers write."""
        return self.folder / "worker.log"

    def ask(self) -> None:
        """A run is likely soon."""
        self._asked_until = time.monotonic() + self._settings.warm_seconds
        self._is_broken = False

    async def keep(self) -> None:
        """Make or drop the idle worker, as things stand; call it whenever they may have changed."""
        async with self._lock:
            asked = self._has_window() or time.monotonic() < self._asked_until
            if self._idle and self._idle.ended.done():
                log.warning("The idle worker ended by itself; see %s", self.log)
                self._idle, self._is_broken = None, True
            wanted = asked and not self._is_broken
            if wanted and self._idle is None and not self._lent:
                await self._make_idle()
            elif not wanted and self._idle:
                self._dismiss()

    async def _make_idle(self) -> None:
        """Nothing hangs on it: without one a start takes longer."""
        try:
            self._idle = await self._spawn()
        except OSError as error:
            log.warning("There is no idle worker: %s", error)
            self._is_broken = True

    async def take(self) -> Worker:
        """A worker for a job: the idle one, or a new one. Raises ``OSError``."""
        async with self._lock:
            worker, self._idle = self._idle, None
            self._is_broken = False
            if worker and not worker.ended.done():
                return worker
            return await self._spawn()

    async def lend(self) -> Worker:
        """As :meth:`take`, for a job after which :meth:`give_back` is called, whatever happens.
        Who looks at a model may train it soon."""
        self.ask()
        self._lent += 1
        try:
            return await self.take()
        except BaseException:
            # Also a caller that is cancelled has no worker to give back.
            self._lent -= 1
            raise

    async def give_back(self, worker: Worker, *, keep: Callable[[], bool]) -> None:
        """A worker that traced can take another job: if it may be kept it is the idle one, if there
        is no other. ``keep`` is asked when its turn has come. It is taken in to the end even if
        whoever waits for that is cancelled.
        """
        await asyncio.shield(self._take_in(worker, keep=keep))

    async def _take_in(self, worker: Worker, *, keep: Callable[[], bool]) -> None:
        self._lent -= 1
        async with self._lock:
            if worker.ended.done():
                return
            if keep() and self._idle is None and not self._is_closed:
                self._idle = worker
            else:
                worker.close_stdin()

    async def close(self) -> None:
        """End the idle worker; others are not kept any more."""
        async with self._lock:
            self._is_closed = True
            if self._idle:
                worker = self._idle
                self._dismiss()
                worker.kill()
                await worker.ended

    def _dismiss(self) -> None:
        if self._idle:
            # Without a stream it leaves by itself.
            self._idle.close_stdin()
            self._idle = None

    async def _spawn(self) -> Worker:
        return await spawn(self._settings, cwd=self.folder, log_path=self.log)
