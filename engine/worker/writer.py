"""Two threads beside training: one copies what is to be saved, the other brings it to the disk.

The first is waited for before what it copies changes, so it has the priority of training; the
second takes its time. Never two saves at once.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Copy = TypeVar("Copy")

_NICE = 5
"""Of the thread that writes: where cores are few, training comes first."""
_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Writer:
    """Close it when nothing more is to be written. ``on_waiting`` is called every now and then
    while :meth:`wait` does."""

    def __init__(self, on_waiting: Callable[[], None]) -> None:
        self._on_waiting = on_waiting
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="saver copies")
        self._scribe = ThreadPoolExecutor(
            1, thread_name_prefix="saver writes", initializer=_give_way
        )
        self._copy: Future[Any] | None = None
        self._work: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being copied or written."""
        return self._work is not None and not self._work.done()

    @property
    def is_copying(self) -> bool:
        """Whether something is being copied."""
        return self._copy is not None and not self._copy.done()

    def begin(self, copy: Callable[[], Copy], write: Callable[[Callable[[], Copy]], None]) -> None:
        """Copy, and meanwhile begin to write; ``write`` is given what waits for the copy. All
        before it is done by then. Raises what that raised."""
        self.wait()
        copied = self._copier.submit(copy)
        self._copy = copied
        self._work = self._scribe.submit(write, copied.result)

    def settle(self) -> float:
        """Wait until nothing is being copied; gives the seconds. Raises what copying raised."""
        copy, self._copy = self._copy, None
        return self._seconds_for(copy)

    def wait(self) -> float:
        """Wait until nothing is being written; gives the seconds. Raises what that raised."""
        work, self._work = self._work, None
        return self.settle() + self._seconds_for(work)

    def close(self) -> None:
        """Wait, and let the threads go; whatever they raise is left to whoever has it."""
        self._copier.shutdown()
        self._scribe.shutdown()
        if self._work is not None and (error := self._work.exception()):
            log.error("The last save failed", exc_info=error)

    def _seconds_for(self, work: Future[Any] | None) -> float:
        began = time.monotonic()
        if work is not None:
            while not wait([work], _LOOK_SECONDS).done:
                self._on_waiting()
            work.result()
        return time.monotonic() - began


def _give_way() -> None:
    if sys.platform == "linux":
        # On Linux each thread has its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
