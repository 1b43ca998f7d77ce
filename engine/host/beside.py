"""A worker that traces while a run is at work: of a low priority, and without the card."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from engine.host.connection import Refused
from engine.host.settings import Settings
from engine.host.worker import Worker, spawn
from engine.planning.look import free_ram_bytes

log = logging.getLogger(__name__)

NEEDED_BYTES = 2 << 30
"""Of RAM that is free: PyTorch and a model without its weights, and room for the run to breathe."""
_KEPT_SECONDS = 20.0
"""A plan traces several layouts in a row, and importing takes longer than each of them."""
_NICE = 5
"""Where a run takes every core, it leaves a quarter of one: with less a plan would take minutes."""
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
"""The card is the run's: a context there would take memory that was planned for the run."""


class Beside:
    """Lends that worker; at most one at a time, as the tracer traces one model at a time."""

    def __init__(self, settings: Settings, folder: Path, log_path: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._log = log_path
        self._worker: Worker | None = None
        self._end: asyncio.TimerHandle | None = None

    async def lend(self) -> Worker:
        """Raises :class:`Refused` if too little RAM is free, ``OSError``."""
        if self._end:
            self._end.cancel()
        worker, self._worker = self._worker, None
        if worker and not worker.ended.done():
            return worker
        _check_room()
        worker = await spawn(
            self._settings, cwd=self._folder, log_path=self._log, environment=_ENVIRONMENT
        )
        _make_gentle(worker.pid)
        return worker

    async def give_back(self, worker: Worker, *, keep: Callable[[], bool]) -> None:
        """Keep it for the next trace, a moment long, or let it go."""
        if not keep():
            worker.close_stdin()
            return
        self._worker = worker
        self._end = asyncio.get_running_loop().call_later(_KEPT_SECONDS, self.close)

    def close(self) -> None:
        """Let the worker go, if there is one."""
        if self._end:
            self._end.cancel()
        if self._worker:
            self._worker.close_stdin()
            self._worker = None


def _check_room() -> None:
    free = free_ram_bytes()
    if free < NEEDED_BYTES:
        raise Refused(
            f"A run is at work, and only {free / (1 << 30):.1f} GiB of RAM is free; to look at "
            f"this beside it takes {NEEDED_BYTES >> 30} GiB. Close other programs, or try again "
            "when the run has ended.",
            "busy",
        )


def _make_gentle(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else _NICE)
    except psutil.Error as error:
        log.warning("Worker %d keeps its priority: %s", pid, error)
