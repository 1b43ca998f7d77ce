"""What the worker says to the host, without ever waiting for it.

A thread writes. Records must arrive and are queued; heartbeats and progress are replaced by newer
ones while they wait. When the host is gone, writing ends silently and the newest records stay here,
for ``orphan.jsonl``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

import msgspec

from engine.contract.messages import NEWEST_WINS, Done, Heartbeat, Message, Record, Step, encode
from engine.contract.wire import frame
from engine.store.files import write_all, write_atomic

log = logging.getLogger(__name__)

QUEUE_LIMIT = 200_000
"""Messages that may wait; then the oldest steps are let go, never an event."""
KEPT_RECORDS = 20_000
HEARTBEAT_SECONDS = 1.0


class Outbox:
    """Sends messages over a descriptor from a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._queue: deque[tuple[bool, bytes]] = deque()
        self._newest: dict[tuple[str, str], bytes] = {}
        self._recent: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._next_seq = 1
        self._closing = False
        self._said_done = False
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.moves = 0
        """What the job got done, for the heartbeat; counted by its own thread alone."""
        self.dropped_steps = 0
        """Steps that a host which does not read has cost so far."""

    def start(self) -> None:
        """Begin to write, and to send a heartbeat each second."""
        self._writer.start()
        self._pulse.start()

    def send(self, message: Message) -> None:
        """Queue a message; records get their ``worker_seq``. Never blocks. Done is the last word:
        what comes after it is not sent.

        Raises :class:`engine.contract.wire.FrameTooLong`.
        """
        with self._changed:
            if self._said_done:
                return
            self._said_done = isinstance(message, Done)
            if isinstance(message, NEWEST_WINS):
                key = (type(message).__name__, getattr(message, "run", ""))
                self._newest[key] = frame(message)
            else:
                self._enqueue(message)
            self._changed.notify_all()

    def _enqueue(self, message: Message) -> None:
        if isinstance(message, Record):
            message = msgspec.structs.replace(message, worker_seq=self._next_seq)
            line = frame(message)
            self._next_seq += 1
            self._recent.append(message)
        else:
            line = frame(message)
        self._queue.append((isinstance(message, Step), line))
        if len(self._queue) > QUEUE_LIMIT:
            self._drop_oldest_step()

    def _drop_oldest_step(self) -> None:
        for place, (is_step, _) in enumerate(self._queue):
            if is_step:
                del self._queue[place]
                self.dropped_steps += 1
                return

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Write what waits, for at most so long, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_seconds)

    def leave_orphan(self, folder: Path) -> None:
        """Put the newest records into ``orphan.jsonl`` of a run folder, for the next host, if the
        disk takes them."""
        with self._changed:
            lines = [encode(record) + b"\n" for record in self._recent]
        try:
            write_atomic(folder / "orphan.jsonl", b"".join(lines))
        except OSError as error:
            log.warning("What was said last is lost: %s", error)

    def _write(self) -> None:
        try:
            while (lines := self._next_lines()) is not None:
                write_all(self._descriptor, lines)
        except OSError:
            # The host is gone. The inbox sees that too and decides what it means.
            return

    def _next_lines(self) -> bytes | None:
        with self._changed:
            while not (self._queue or self._newest or self._closing):
                self._changed.wait()
            if not (self._queue or self._newest):
                return None
            lines = [line for _, line in self._queue]
            self._queue.clear()
            lines = [*self._newest.values(), *lines]
            self._newest.clear()
            return b"".join(lines)

    def _beat(self) -> None:
        while not self._closing:
            self.send(Heartbeat(at=time.time(), moves=self.moves))
            time.sleep(HEARTBEAT_SECONDS)
