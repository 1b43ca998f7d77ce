"""What the host says to the worker: one job, then wishes, until the stream ends."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from types import FrameType

from engine.contract.messages import Job, SaveNow, StopJob
from engine.contract.wire import Garbage, LineReader

log = logging.getLogger(__name__)
_CHUNK = 1 << 16


class Wishes:
    """What others want of a running job. Set from any thread, looked at between steps."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        """Save, and end."""
        self.save = threading.Event()
        """Save, and go on."""
        self.host_lost = threading.Event()
        """Nobody listens any more: save, and end."""
        self.signalled = threading.Event()
        """The system wants the process to end: save, and end."""

    @property
    def ending(self) -> bool:
        """The job is to end at the next opportunity."""
        return self.stop.is_set() or self.host_lost.is_set() or self.signalled.is_set()

    @property
    def reason(self) -> str:
        """Why it ends, as in :class:`engine.contract.messages.CheckpointSaved`."""
        if self.host_lost.is_set():
            return "host_lost"
        return "signal" if self.signalled.is_set() else "stop"


class Inbox:
    """Reads commands in a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="inbox", daemon=True)
        self.wishes = Wishes()

    def start(self) -> None:
        """Begin to read, and to take SIGTERM for a wish."""
        signal.signal(signal.SIGTERM, self._on_signalled)
        self._reader.start()

    def job(self) -> Job | None:
        """The job; waits for it. None if there will be none."""
        return self._jobs.get()

    def _read(self) -> None:
        lines = LineReader()
        while chunk := self._next_chunk():
            for message in lines.feed(chunk):
                self._take(message)
        self.wishes.host_lost.set()
        self._jobs.put(None)

    def _next_chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:
            return b""

    def _take(self, message: object) -> None:
        match message:
            case Job():
                self._jobs.put(message)
            case StopJob():
                self.wishes.stop.set()
            case SaveNow():
                self.wishes.save.set()
            case Garbage():
                log.warning("Skipped a line from the host: %s", message)

    def _on_signalled(self, number: int, frame: FrameType | None) -> None:
        # SimpleQueue.put may be called from a signal handler.
        self.wishes.signalled.set()
        self._jobs.put(None)
