"""Who is connected, who follows which run, and who wants to hear of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.contract.messages import Message, RunChanged, RunRemoved, RunSummary
from engine.host.book import Book, Listener
from engine.host.connection import Connection
from engine.host.follow import Follower

_SUMMARY_SECONDS = 0.25
"""Between two summaries of a run while only steps come."""


class Hub(Listener):
    """Passes on what the book tells, to whoever asked for it."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.summarise: Callable[[str], RunSummary]
        """Gives the summary of a run; set once the book is there."""
        self._followers: dict[str, dict[Connection, Follower]] = {}
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def greeted(self) -> list[Connection]:
        """Clients that have said Hello."""
        return [connection for connection in self.connections if connection.client]

    def has_window(self) -> bool:
        """Whether a window is open."""
        return any(connection.client == "window" for connection in self.connections)

    def add_follower(self, run: str, connection: Connection, follower: Follower) -> None:
        """From now on the follower is offered every record of the run."""
        self._followers.setdefault(run, {})[connection] = follower

    def remove_follower(self, run: str, connection: Connection) -> None:
        """End that."""
        followers = self._followers.get(run, {})
        followers.pop(connection, None)
        if not followers:
            self._followers.pop(run, None)

    def remove_connection(self, connection: Connection) -> None:
        """A client has gone."""
        self.connections.discard(connection)
        for run in list(self._followers):
            self.remove_follower(run, connection)

    # ------------------------------------------------------------ what the book tells

    def on_record(self, run: str, seq: int, line: bytes) -> None:
        for follower in self._followers.get(run, {}).values():
            follower.offer(seq, line)

    def on_note(self, run: str, message: Message) -> None:
        for connection in self._followers.get(run, {}):
            connection.note(message, run)

    def on_summary(self, run: str, *, at_once: bool) -> None:
        self._changed.add(run)
        if at_once:
            self._tell_changes()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SUMMARY_SECONDS, self._tell_changes)

    def on_removed(self, run: str) -> None:
        self._changed.discard(run)
        for connection in self.connections:
            if connection.watches:
                connection.note(RunRemoved(run=run), run)

    def _tell_changes(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, set()
        watchers = [connection for connection in self.connections if connection.watches]
        for run in changed if watchers else ():
            message = RunChanged(summary=self.summarise(run))
            for connection in watchers:
                connection.note(message, run)


class RunSource:
    """One run, as its followers need it."""

    def __init__(self, book: Book, run: str) -> None:
        self.run = run
        self.folder: Path = book.folder(run)
        self._book = book

    async def newest(self) -> int:
        """The newest ``seq``."""
        return await self._book.journals.newest(self.run)

    def waiting_since(self, seq: int) -> list[tuple[int, bytes]]:
        """Records that a full disk keeps in memory."""
        return self._book.journals.waiting_since(self.run, seq)


_ROOM_FOR_RUNS = 900_000
"""Bytes of a list of runs that fit a line, with room to spare."""


def fit_to_line(summaries: list[RunSummary]) -> tuple[list[RunSummary], int]:
    """The list of runs cut down to what one line holds, and how many were left out.

    Older runs lose their loss curves first; then the oldest runs are left out.
    """
    sizes = [len(msgspec.json.encode(summary)) for summary in summaries]
    fitting = list(summaries)
    total = sum(sizes) + len(sizes)
    for place in range(len(fitting) - 1, -1, -1):
        if total <= _ROOM_FOR_RUNS:
            break
        fitting[place] = msgspec.structs.replace(fitting[place], loss_curve=[])
        smaller = len(msgspec.json.encode(fitting[place]))
        total, sizes[place] = total - sizes[place] + smaller, smaller
    while total > _ROOM_FOR_RUNS:
        fitting.pop()
        total -= sizes.pop() + 1
    return fitting, len(summaries) - len(fitting)
