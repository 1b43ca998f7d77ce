"""Two threads beside training: one copies what is to be saved, then the other writes the copy.

The first is waited for before what it copies changes, so it has the priority of training; the
second takes its time. Never two saves at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Copy = TypeVar("Copy")

_NICE = 5
"""Of the thread that writes: where cores are few, training comes first."""


class Writer:
    """Close it when nothing more is to be written."""

    def __init__(self) -> None:
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="saver copies")
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="saver writes", initializer=_give_way
        )
        self._copy: Future[Any] | None = None
        self._work: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being copied or written."""
        return self._work is not None and not self._work.done()

    def begin(self, copy: Callable[[], Copy], write: Callable[[Copy], None]) -> None:
        """Copy, then write what was copied, once all before it is done. Raises what that raised."""
        self.wait()
        copied = self._copier.submit(copy)
        self._copy = copied
        self._work = self._thread.submit(lambda: write(copied.result()))

    def settle(self) -> float:
        """Wait until nothing is being copied; gives the seconds. Raises what copying raised."""
        copy, self._copy = self._copy, None
        return _seconds_for(copy)

    def wait(self) -> float:
        """Wait until nothing is being written; gives the seconds. Raises what that raised."""
        work, self._work = self._work, None
        return self.settle() + _seconds_for(work)

    def close(self) -> None:
        """Wait, and let the threads go; whatever they raise is left to whoever has it."""
        self._copier.shutdown()
        self._thread.shutdown()


def _seconds_for(work: Future[Any] | None) -> float:
    began = time.monotonic()
    if work is not None:
        work.result()
    return time.monotonic() - began


def _give_way() -> None:
    if sys.platform == "linux":
        # On Linux each thread has its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
