"""What is said of steps that are lost: once, and where the run goes on then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from engine.contract.lifecycle import Event
from engine.contract.messages import Step
from engine.contract.toml import EXAMPLE, to_raw
from engine.host.back_off import BackOff
from engine.host.book import Book, Listener
from engine.host.comeback import Comeback
from engine.host.course import Course
from engine.host.settings import Settings
from engine.store import runs

Work = Callable[[Book, str], None]


@pytest.fixture
def tell(tmp_path: Path, fettle_home: Path) -> Callable[[Work], Book]:
    """Lets something happen to a run that has done 10 steps without a save."""

    async def live(work: Work) -> Book:
        book = Book(tmp_path / "runs", Listener())
        book.load()
        now = datetime.now().astimezone()
        folder = runs.create(book.store, name="t", spec=to_raw(EXAMPLE), versions={}, now=now)
        run = await book.add(folder)
        for event in (Event.ENQUEUE, Event.LAUNCH, Event.PREPARE, Event.TRAIN):
            book.move(run, event)
        step(book, run, 10)
        work(book, run)
        await book.close_all()
        return book

    return lambda work: asyncio.run(live(work))


def step(book: Book, run: str, number: int) -> None:
    book.record(run, Step(at=time.time(), step=number, loss=2.0, learning_rate=1e-4, step_ms=10.0))


def test_what_was_lost_before_is_not_lost_again_by_an_attempt_without_a_step(
    tell: Callable[[Work], Book],
) -> None:
    def work(book: Book, run: str) -> None:
        assert Course(book, run).lost_steps() == "10 steps are lost."
        book.move(run, Event.RETRY, "It died.", resumes_at=time.time())
        book.move(run, Event.RESUME, step=0)
        book.move(run, Event.LAUNCH)
        assert Course(book, run).lost_steps() == ""
        step(book, run, 1)
        assert Course(book, run).lost_steps() == "1 step is lost."

    tell(work)


def test_a_pause_before_the_next_attempt_says_that_it_begins_anew(
    tell: Callable[[Work], Book],
) -> None:
    def work(book: Book, run: str) -> None:
        book.move(run, Event.RETRY, "It died. 10 steps are lost.", resumes_at=time.time() + 300)
        BackOff(book, Comeback(Settings(telemetry=False))).pause(run)

    (known,) = tell(work).tallies.values()
    assert known.sentence == ("It died. 10 steps are lost. There is no save: Continue begins anew.")
