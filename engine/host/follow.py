"""Following a run: all of its past from the files, then every new record, no gap and no double.

Each follower remembers the last ``seq`` it sent. A record that comes next is sent; one that is
known is dropped; anything else means that something was missed, and then the files are read again
from there. So a client that reads slowly costs a queue of bounded length and still gets everything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

from engine.contract.messages import CaughtUp
from engine.contract.wire import frame
from engine.store import columns
from engine.store.records import EVENTS, chunks_since

_MOST_QUEUED = 2000
"""Records that wait for one slow reader; more are read from the files again."""

Send = Callable[[bytes], Awaitable[None]]


class Source(Protocol):
    """What a follower has to know about its run."""

    folder: Path
    run: str

    async def newest(self) -> int:
        """The newest ``seq`` there is."""

    def waiting_since(self, seq: int) -> list[tuple[int, bytes]]:
        """``seq`` and line of what the disk would not take yet."""


class Follower:
    """Sends one run to one client."""

    def __init__(self, source: Source, send: Send, *, since: int, as_columns: bool) -> None:
        self._source = source
        self._send = send
        self._sent = since
        self._as_columns = as_columns
        self._queue: deque[tuple[int, bytes]] = deque()
        self._behind = False
        self._news = asyncio.Event()

    def offer(self, seq: int, line: bytes) -> None:
        """A new record exists. Never waits."""
        if len(self._queue) < _MOST_QUEUED:
            self._queue.append((seq, line))
        else:
            self._queue.clear()
            self._behind = True
        self._news.set()

    async def run(self, upto: int) -> None:
        """Send the past up to record ``upto``, CaughtUp, and the present for ever.

        Ends with ``ConnectionError`` when the client is gone.
        """
        await self._send_past(upto)
        await self._send(frame(CaughtUp(run=self._source.run, seq=upto)))
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue or self._behind:
                await self._send_queue()

    async def _send_queue(self) -> None:
        queue = self._queue
        while queue and queue[0][0] <= self._sent:
            queue.popleft()
        if self._behind or (queue and queue[0][0] > self._sent + 1):
            self._behind = False
            await self._send_past(await self._source.newest())
            return
        lines = []
        while queue and queue[0][0] == self._sent + 1:
            lines.append(queue.popleft()[1])
            self._sent += 1
        if lines:
            await self._send(b"".join(lines))

    async def _send_past(self, upto: int) -> None:
        # Looked at first: what reaches the disk meanwhile must come neither twice nor not at all.
        waiting = self._source.waiting_since(self._sent)
        written = waiting[0][0] - 1 if waiting else upto
        if self._as_columns:
            await self._send_columns(min(written, upto))
        else:
            await self._send_lines(min(written, upto))
        rest = [line for seq, line in waiting if seq <= upto]
        if rest:
            await self._send(b"".join(rest))
        self._sent = max(self._sent, upto)

    async def _send_columns(self, upto: int) -> None:
        self._as_columns = False  # Whatever is missed later is little.
        folder, run = self._source.folder, self._source.run
        if upto > self._sent:
            await asyncio.to_thread(columns.refresh, folder)
            events = chunks_since(folder, self._sent, upto, (EVENTS,))
            await self._stream(lines for _, lines in events)
            await self._stream(columns.pieces_since(folder, run, self._sent, upto))

    async def _send_lines(self, upto: int) -> None:
        past = chunks_since(self._source.folder, self._sent, upto)
        await self._stream(lines for _, lines in past)

    async def _stream(self, pieces: Iterator[bytes]) -> None:
        """Send pieces; each is read in a thread while the one before is being sent."""
        piece = await asyncio.to_thread(next, pieces, b"")
        while piece:
            coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, b""))
            try:
                await self._send(piece)
            except BaseException:
                # A generator must not be left while a thread is inside it.
                await asyncio.wait({coming})
                raise
            piece = await coming
