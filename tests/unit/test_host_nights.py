"""What may happen to a host in a night: a machine without memory, a full disk, a clock that is set,
a power cut on the other machine."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from app.following import Followed
from engine.contract.lifecycle import Event, State
from engine.contract.messages import CaughtUp, Done, Step
from engine.host import attempt, back_off, course, journals, pool, recovery
from engine.host.comeback import Comeback
from engine.host.course import Course
from engine.host.settings import Settings
from engine.store.files import write_all
from engine.store.journal import Journal
from engine.store.records import read_records
from engine.store.reserve import NAME
from engine.store.tally import load
from tests.unit.test_host_duties import House, run_async


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def step(number: int) -> Step:
    return Step(at=1.0, step=number, loss=1.0, learning_rate=1e-4, step_ms=1.0)


def numbered(seq: int) -> Step:
    """As a client gets it."""
    return msgspec.structs.replace(step(seq), seq=seq)


# ---------------------------------------------------------------- the queue goes on


def test_without_an_idle_worker_runs_are_served_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def refused(*_arguments: object, **_more: object) -> None:
        tried.append(1)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    async def work() -> None:
        house = House(tmp_path)
        monkeypatch.setattr(pool, "spawn", refused)
        house.pool.ask()
        serving = asyncio.create_task(house.scheduler.work(asyncio.sleep(0)))
        await until(lambda: bool(tried))
        await house.pool.keep()
        assert len(tried) == 1, "it is tried again although nobody asked"
        monkeypatch.undo()
        run = await house.make(Event.ENQUEUE)
        house.scheduler.enqueue(run)
        await until(lambda: house.book.state(run) is State.FAILED)
        assert not serving.done()
        serving.cancel()
        await house.book.close_all()

    run_async(work)


def test_a_run_whose_turn_breaks_does_not_keep_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        house = House(tmp_path)
        first, second = await house.make(Event.ENQUEUE), await house.make(Event.ENQUEUE)
        real = house.scheduler._can_open

        async def broken(run: str) -> bool:
            if run == first:
                raise KeyError("a mistake")
            return await real(run)

        monkeypatch.setattr(house.scheduler, "_can_open", broken)
        house.scheduler.enqueue(first)
        house.scheduler.enqueue(second)
        serving = asyncio.create_task(house.scheduler.work(asyncio.sleep(0)))
        await until(lambda: house.book.state(second) is State.FAILED)
        assert house.book.state(first) is State.FAILED
        assert "Fettle itself failed" in house.book.tallies[first].sentence
        assert not house.scheduler.is_busy
        serving.cancel()
        await house.book.close_all()

    run_async(work)


def test_an_end_that_cannot_be_read_does_not_end_the_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_folder: Path) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE, Event.STOP)
        monkeypatch.setattr(recovery, "ends_with_done", refused)
        await house.recovery.work()
        assert house.book.state(run) is State.STOPPED
        await house.book.close_all()

    run_async(work)


def test_a_run_that_breaks_the_recovery_keeps_no_host_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_run: str) -> None:
        raise ValueError("a mistake")

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE, Event.LAUNCH)
        lost = recovery.Recovery(house.book, Settings(), Comeback(Settings()))
        monkeypatch.setattr(lost, "_recover", broken)
        await lost.work()
        assert house.book.state(run) is State.INTERRUPTED
        assert lost.lost == []
        await house.book.close_all()

    run_async(work)


def test_saves_that_cannot_be_listed_end_no_run_that_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_folder: Path) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def work() -> None:
        house = House(tmp_path, automatic=True)
        due = await house.make(Event.ENQUEUE, Event.LAUNCH)
        house.book.move(due, Event.RETRY, "Lost.", resumes_at=time.time())
        waiting = await house.make(Event.ENQUEUE)
        house.book.tallies[waiting].step = house.book.tallies[waiting].saved_step = 4
        monkeypatch.setattr(course, "newest_step", away)
        assert await house.scheduler._is_due(due)
        assert house.book.state(due) is State.QUEUED
        house.scheduler.enqueue(waiting)
        await house.scheduler.stop(waiting, now=False)
        assert house.book.state(waiting) is State.STOPPED
        assert house.book.tallies[waiting].sentence == "Stopped at step 4."
        await house.book.close_all()

    run_async(work)


# ---------------------------------------------------------------- the disk is full at the end


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A disk that can be full; the reserve gives it room again."""
    disk = SimpleNamespace(is_full=False)

    def write(descriptor: int, data: bytes) -> None:
        if disk.is_full and (tmp_path / NAME).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor, data)

    monkeypatch.setattr("engine.store.journal.write_all", write)
    monkeypatch.setattr(journals, "_TEND_SECONDS", 0.02)
    return disk


def end(house: House, run: str) -> None:
    for number in range(1, 4):
        house.book.record(run, step(number))
    Course(house.book, run).end(Event.STOP, "stopped", "Stopped at step 3.")


def test_the_end_of_a_run_is_written_once_there_is_room(
    tmp_path: Path, disk: SimpleNamespace
) -> None:
    async def work() -> None:
        house = House(tmp_path)
        tending = asyncio.create_task(house.book.journals.tend())
        run = await house.make(Event.ENQUEUE)
        disk.is_full = True
        end(house, run)
        await house.book.close(run)
        assert house.book.journals.has_unwritten
        told = [seq for seq, _ in house.book.journals.waiting_since(run, 0)]
        disk.is_full = False
        await until(lambda: not house.book.journals.has_unwritten)
        await until(lambda: not house.book.journals._open)
        kept = list(read_records(house.book.folder(run)))
        assert isinstance(kept[-1], Done)
        assert {record.seq for record in kept} >= set(told)
        assert [record.step for record in kept if isinstance(record, Step)] == [1, 2, 3]
        tending.cancel()
        await house.book.close_all()

    run_async(work)


def test_a_run_that_was_stopped_stays_so_though_the_disk_stays_full(
    tmp_path: Path, disk: SimpleNamespace
) -> None:
    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE)
        disk.is_full = True
        end(house, run)
        await house.book.close(run)
        newest = house.book.tallies[run].seq
        await house.book.close_all()
        kept = list(read_records(house.book.folder(run)))
        assert isinstance(kept[-1], Done)
        assert not any(isinstance(record, Step) for record in kept)
        # The next host knows it as stopped, and goes on with the numbers.
        known = load(house.book.folder(run))
        assert (known.state, known.seq) == (State.STOPPED, newest)
        disk.is_full = False
        house = House(tmp_path)
        await house.book.open(run)
        house.book.move(run, Event.RESUME)
        assert house.book.tallies[run].seq == newest + 1
        await house.book.close_all()

    run_async(work)


def test_a_run_is_removed_although_its_end_could_not_be_written(
    tmp_path: Path, disk: SimpleNamespace
) -> None:
    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE)
        disk.is_full = True
        end(house, run)
        await house.book.close(run)
        await house.book.remove(run)
        assert not house.book.journals.has_unwritten
        assert house.book.names() == []
        assert (tmp_path / NAME).exists(), "the room is for what stays"
        await house.book.close_all()

    run_async(work)


def test_the_reserve_is_there_before_it_is_needed(tmp_path: Path) -> None:
    async def work() -> None:
        await House(tmp_path).book.close_all()

    run_async(work)
    assert (tmp_path / NAME).stat().st_size > 100_000


# ---------------------------------------------------------------- clocks


class Clock:
    """Both clocks of a module; the one on the wall can be set."""

    def __init__(self) -> None:
        self.behind_s = 0.0
        self.monotonic = time.monotonic

    def time(self) -> float:
        return time.time() - self.behind_s


def test_a_clock_that_is_set_back_lengthens_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        house = House(tmp_path, automatic=True)
        run = await house.make(Event.ENQUEUE, Event.LAUNCH)
        clock = Clock()
        monkeypatch.setattr(back_off, "time", clock)
        house.book.move(run, Event.RETRY, "Lost.", resumes_at=clock.time() + 0.3)
        waiting = asyncio.create_task(house.scheduler.back_off.wait(run))
        await asyncio.sleep(0.05)
        clock.behind_s = 3 * 3600.0
        began = time.monotonic()
        await waiting
        assert time.monotonic() - began < 3
        # A host that starts with such a clock waits no longer than is ever waited.
        brief = back_off.BackOff(house.book, house.scheduler._comeback, longest_s=0.1)
        began = time.monotonic()
        await brief.wait(run)
        assert time.monotonic() - began < 3
        await house.book.close_all()

    run_async(work)


def test_a_sleep_is_no_deafness(tmp_path: Path) -> None:
    """What limits a worker's last save is a clock that stands still while the computer sleeps."""
    awake = attempt.awake_seconds()
    time.sleep(0.05)
    assert 0.04 < attempt.awake_seconds() - awake < 5
    assert recovery.awake_seconds is attempt.awake_seconds
    assert not hasattr(attempt, "time"), "a clock that counts sleep"


# ---------------------------------------------------------------- a power cut on the other machine


def test_what_a_power_cut_took_back_does_not_hide_what_comes_after() -> None:
    followed = Followed()
    followed.ask()
    assert followed.accept({"seq": 0})
    followed.take_border(CaughtUp(run="r", seq=0))
    assert all(followed.take_record(numbered(seq)) for seq in range(1, 501))
    followed.ask()
    assert not followed.accept({"seq": 480})
    assert followed.since == 480
    followed.ask()
    assert followed.accept({"seq": 480})
    followed.take_border(CaughtUp(run="r", seq=480))
    assert not followed.take_record(numbered(480))
    assert followed.take_record(numbered(481))


def test_a_power_cut_in_the_middle_of_the_past_hides_nothing_either() -> None:
    followed = Followed()
    followed.ask()
    assert followed.accept({"seq": 500})
    assert all(followed.take_record(numbered(seq)) for seq in range(1, 301))
    followed.ask()
    assert followed.accept({"seq": 280})
    assert [followed.take_record(numbered(seq)) for seq in (280, 281)] == [False, True]


def test_a_journal_goes_on_behind_what_was_counted(tmp_path: Path) -> None:
    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE)
        await house.book.close(run)
        house.book.tallies[run].seq = 40
        await house.book.open(run)
        house.book.record(run, step(1))
        assert house.book.tallies[run].seq == 41
        await house.book.close_all()
        journal = Journal(house.book.folder(run), run)
        assert journal.seq == 41
        journal.close()

    run_async(work)
