"""The time between an attempt that ended and the next one of the same run."""

from __future__ import annotations

import asyncio
import contextlib
import time

from engine.contract.lifecycle import Event, State
from engine.diagnosis.comeback import LONGEST_SECONDS
from engine.host.book import Book
from engine.host.comeback import Comeback
from engine.host.course import Course, goes_on_from, newest_save

_LOOK_SECONDS = 5.0
"""The wait is cut into such pieces: a clock that is set forward, or a sleep, ends it early."""


class BackOff:
    """Lets recovering runs wait until they are due; people may cut that short, or call it off."""

    def __init__(self, book: Book, comeback: Comeback, longest_s: float = LONGEST_SECONDS) -> None:
        """No wait is longer than ``longest_s``, whatever the clocks say."""
        self._book = book
        self._comeback = comeback
        self._longest_s = longest_s
        self._news = asyncio.Event()
        self._hurried: set[str] = set()
        self._is_leaving = False

    def hurry(self, run: str) -> None:
        """Resume the run at once."""
        self._hurried.add(run)
        self._news.set()

    def call_off(self, run: str, why: str = "You stopped it before it was resumed.") -> None:
        """Leave the run as it is, with what it ended of."""
        known = self._book.tallies[run]
        there = goes_on_from("Resume", newest_save(self._book, run)) if known.step else ""
        sentence = " ".join(filter(None, (why, known.sentence, there)))
        Course(self._book, run).end(Event.STOP, "stopped", sentence)
        self._news.set()

    def pause(self, run: str) -> None:
        """Let the run wait until it is told to go on."""
        known = self._book.tallies[run]
        there = goes_on_from("Continue", newest_save(self._book, run))
        self._book.move(run, Event.PAUSE, f"{known.sentence} {there}".strip())
        self._news.set()

    def leave(self) -> None:
        """The host leaves; the next one waits for the rest."""
        self._is_leaving = True
        self._news.set()

    async def wait(self, run: str) -> None:
        """Until the run is due, called off, or nobody waits any more."""
        if not self._comeback.is_allowed and run not in self._hurried:
            self.call_off(run, "Fettle was told not to resume runs by itself.")
        # By the clock on the wall it may go on earlier, as after a sleep; a clock that was set back
        # must not make it wait longer.
        deadline = time.monotonic() + min(self._left_s(run), self._longest_s)
        while (left_s := min(self._left_s(run), deadline - time.monotonic())) > 0:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(left_s, _LOOK_SECONDS))
        self._hurried.discard(run)

    def _left_s(self, run: str) -> float:
        is_over = self._book.state(run) is not State.RECOVERING
        if is_over or self._is_leaving or run in self._hurried:
            return 0.0
        return (self._book.tallies[run].resumes_at or 0.0) - time.time()
