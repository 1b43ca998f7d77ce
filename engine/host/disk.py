"""One thread for slow disk work, in order: status files, fsync, opening, closing, deleting."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.failpoints import reach
from engine.store.files import write_atomic
from engine.store.journal import Journal
from engine.store.tally import STATUS_FILE, Tally

log = logging.getLogger(__name__)

T = TypeVar("T")

_STATUS_SECONDS = 2.0
"""Between two status files of a run while only steps come."""


class Disk:
    """What the event loop must not wait for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._written_at: dict[Path, float] = {}

    async def in_order(self, work: Callable[..., T], *arguments: object) -> T:
        """Do something behind what waits already; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def keep(self, folder: Path, tally: Tally, journal: Journal) -> None:
        """A power cut must not take back what was just recorded."""
        self._thread.submit(_logged, journal.sync)
        self.write_status(folder, tally, durable=True)

    def note(self, folder: Path, tally: Tally) -> None:
        """Bring the status file up to date, if that was not done a moment ago."""
        if time.monotonic() - self._written_at.get(folder, 0.0) >= _STATUS_SECONDS:
            self.write_status(folder, tally, durable=False)

    def write_status(self, folder: Path, tally: Tally, *, durable: bool) -> None:
        """Replace the status file by the tally as it is now."""
        self._written_at[folder] = time.monotonic()
        data = msgspec.json.encode(tally)
        self._thread.submit(
            _logged, partial(_write_status, folder / STATUS_FILE, data, durable=durable)
        )

    def close(self) -> None:
        """Wait until all is done."""
        self._thread.shutdown()


def _write_status(path: Path, data: bytes, *, durable: bool) -> None:
    reach("host.status")
    write_atomic(path, data, durable=durable)


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except OSError as error:
        log.error("Not written: %s", error)
