"""The host tells a change that takes an earlier one back, by what it wrote itself."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path

from engine.contract.lifecycle import Event, State
from engine.contract.messages import Decision, Done, Finding
from engine.contract.patching import Patch
from engine.contract.toml import EXAMPLE, to_raw
from engine.host.book import Book, Listener
from engine.host.comeback import Comeback
from engine.host.course import Course
from engine.host.settings import Settings
from engine.store import runs, tally

CHECKPOINTING = "training.gradient_checkpointing"
FULL, OFFLOAD = {CHECKPOINTING: "full"}, {CHECKPOINTING: "offload"}


def begin(book: Book, run: str) -> None:
    if book.state(run) is not State.QUEUED:
        book.move(run, Event.ENQUEUE if book.state(run) is State.CREATED else Event.RESUME)
    for event in (Event.LAUNCH, Event.PREPARE, Event.TRAIN):
        book.move(run, event)


def die(book: Book, run: str, pool: str, patch: Patch) -> bool:
    """An attempt that ends for want of that memory; whether the run goes on."""
    course = Course(book, run, Comeback(Settings(telemetry=False)).after_attempt)
    course.note(
        Finding(
            at=time.time(), attempt=course.attempt, severity="error", code=f"no_{pool}", title="T.",
            problem="oom", pool="ram" if pool == "ram" else "vram", patch=patch,
        )
    )  # fmt: skip
    course.end(Event.FAIL, "failed", "It died.")
    return book.state(run) is State.RECOVERING


def test_two_pools_do_not_change_a_run_to_and_fro(tmp_path: Path, fettle_home: Path) -> None:
    book = Book(tmp_path / "runs", Listener())
    book.load()

    async def work() -> str:
        now = datetime.now().astimezone()
        raw = to_raw(EXAMPLE)
        raw["training"]["gradient_checkpointing"] = "full"
        run = await book.add(runs.create(book.store, name="t", spec=raw, versions={}, now=now))
        went_on = 0
        for number in range(24):
            begin(book, run)
            ram = number % 2 == 1
            if not die(book, run, "ram" if ram else "vram", FULL if ram else OFFLOAD):
                break
            went_on += 1
        assert went_on == 3
        await book.close_all()
        return run

    run = asyncio.run(work())
    assert book.state(run) is State.FAILED
    told = [e for e in tally.read_records(book.folder(run)) if isinstance(e, Decision)]
    assert [e.patch for e in told if e.patch] == [OFFLOAD]
    assert "takes back what helped before" in told[-1].reason
    assert isinstance(list(tally.read_records(book.folder(run)))[-1], Done)
    # And a host that is started anew knows as much.
    assert tally.load(book.folder(run)).own_patches == 1


def test_a_pause_says_what_ended_the_run_before_it_could(tmp_path: Path, fettle_home: Path) -> None:
    book = Book(tmp_path / "runs", Listener())
    book.load()

    async def work() -> str:
        now = datetime.now().astimezone()
        raw = to_raw(EXAMPLE)
        run = await book.add(runs.create(book.store, name="t", spec=raw, versions={}, now=now))
        begin(book, run)
        Course(book, run).rest("The card ran out of memory.")
        await book.close_all()
        return run

    known = book.tallies[asyncio.run(work())]
    assert known.state is State.PAUSED
    assert known.sentence == (
        "The card ran out of memory. The card is free. There is no save: Continue begins anew."
    )
