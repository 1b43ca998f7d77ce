"""One thread that writes while training goes on: never two things at once."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_NICE = 5
"""Of the thread: where cores are few, training comes first."""


class Writer:
    """Close it when nothing more is to be written."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saver", initializer=_give_way)
        self._work: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return self._work is not None and not self._work.done()

    def begin(self, work: Callable[[], None]) -> None:
        """Do this in the thread, once what is done there is done. Raises what that raised."""
        self.wait()
        self._work = self._thread.submit(work)

    def wait(self) -> float:
        """Wait until nothing is being written; gives the seconds. Raises what the work raised."""
        began = time.monotonic()
        work, self._work = self._work, None
        if work is not None:
            work.result()
        return time.monotonic() - began

    def close(self) -> None:
        """Wait, and let the thread go; whatever the work raises is left to whoever has it."""
        self._thread.shutdown()


def _give_way() -> None:
    if sys.platform == "linux":
        # On Linux each thread has its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
