"""What a start or a resume leaves behind, done or refused, and what happens to it meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engine.contract import messages as m
from engine.contract.lifecycle import Event, State
from engine.contract.toml import EXAMPLE, to_raw
from engine.host import journals, looking, requests, resuming
from engine.host.checks import Looked
from engine.host.connection import Refused
from engine.store.checkpoints import Choice
from engine.store.files import write_all
from tests.unit.test_host_duties import House, _sound, run_async

START = m.Start(id=1, spec=to_raw(EXAMPLE))


def _passed(_raw: object, _store: Path) -> Looked:
    return Looked(spec=EXAMPLE, complaints=[])


@pytest.fixture(autouse=True)
def _all_is_sound(monkeypatch: pytest.MonkeyPatch, fettle_home: Path) -> None:
    monkeypatch.setattr(requests, "look_over", _passed)
    monkeypatch.setattr(resuming, "complaints_about", _sound)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# ---------------------------------------------------------------- descriptors


def test_runs_that_wait_hold_no_descriptors(tmp_path: Path) -> None:
    async def work() -> None:
        house = House(tmp_path)
        first = (await house.ask(START)).data["run"]
        before = descriptors()
        for _ in range(20):
            await house.ask(START)
        await house.ask(m.Stop(id=2, run=first))
        await house.ask(m.Resume(id=3, run=first))
        assert descriptors() == before
        assert house.book.queue[-1] == first
        assert len(house.book.queue) == 21
        await house.book.close_all()

    run_async(work)


def test_a_resume_that_is_refused_holds_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(folder: Path) -> Choice:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    monkeypatch.setattr(resuming, "newest_verified", unreadable)

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        await house.book.close(run)
        before = descriptors()
        with pytest.raises(Refused):
            await house.ask(m.Resume(id=1, run=run))
        assert descriptors() == before
        await house.book.close_all()

    run_async(work)


def test_a_host_may_open_as_many_files_as_its_user(fettle_home: Path) -> None:
    code = """
import resource
from engine.host import main
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
main._open_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "512\n"


def test_a_journal_whose_run_has_its_turn_is_not_closed_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(is_full=False)

    def write(descriptor: int, data: bytes) -> None:
        if disk.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor, data)

    monkeypatch.setattr("engine.store.journal.write_all", write)
    monkeypatch.setattr(journals, "_TEND_SECONDS", 0.02)

    async def work() -> None:
        house = House(tmp_path)
        runs, served = [await house.make() for _ in range(2)], list[str]()
        disk.is_full = True
        for run in runs:
            house.book.move(run, Event.ENQUEUE)
            await house.book.close(run)
        close = house.book.journals.close

        async def meanwhile(run: str) -> None:
            if not served:
                served.extend({*runs} - {run})
                await house.book.open(served[0])
            await close(run)

        monkeypatch.setattr(house.book.journals, "close", meanwhile)
        tending = asyncio.create_task(house.book.journals.tend())
        disk.is_full = False
        await asyncio.sleep(0.2)
        tending.cancel()
        house.book.move(served[0], Event.LAUNCH)
        monkeypatch.setattr(house.book.journals, "close", close)
        await house.book.close_all()

    run_async(work)


# ---------------------------------------------------------------- halfway


@pytest.mark.parametrize("error", [TimeoutError(), OSError(errno.EIO, "Input/output error")])
def test_what_cannot_be_remembered_keeps_no_run_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def begins_with(_raw: object, _store: Path) -> None:
        raise error

    monkeypatch.setattr(requests, "begins_with", begins_with)

    async def work() -> None:
        house = House(tmp_path)
        run = (await house.ask(START)).data["run"]
        assert house.book.state(run) is State.QUEUED
        assert house.book.queue == [run]
        await house.book.close_all()

    run_async(work)


# ---------------------------------------------------------------- meanwhile


class Slowly:
    """Takes the place of a function, and is held up in it."""

    def __init__(self, patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        self._work = getattr(module, name)
        self._reached, self._go_on = threading.Event(), threading.Event()
        patch.setattr(module, name, self)
        self.__name__ = name

    def __call__(self, *arguments: object) -> object:
        self._reached.set()
        self._go_on.wait(10)
        return self._work(*arguments)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    def go_on(self) -> None:
        self._go_on.set()


@pytest.mark.parametrize(
    ("module", "name", "request_"),
    [
        (looking, "saved_checkpoints", m.Show(id=1, run="last")),
        (looking, "newest_certificate", m.Show(id=1, run="last")),
        (requests, "check_saves", m.VerifySaves(id=1, run="last")),
        (journals, "newest_seq", m.Follow(id=1, run="last")),
    ],
)
def test_a_run_that_is_removed_while_it_is_looked_at_is_told_to_be_gone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    request_: m.Request,
) -> None:
    slowly = Slowly(monkeypatch, module, name)
    client: Any = type("Greeted", (), {"client": "cli", "send_line": None})()

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        await house.book.close(run)
        looking = asyncio.create_task(requests.answer(house.parts, client, request_))
        await slowly.reached()
        await house.ask(m.Remove(id=2, run=run))
        slowly.go_on()
        with pytest.raises(Refused, match=r"was removed a moment ago\."):
            await looking
        assert house.hub._followers == {}
        await house.book.close_all()

    run_async(work)


def test_a_paused_run_that_is_stopped_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = Slowly(monkeypatch, resuming, "newest_verified")

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE, Event.LAUNCH, Event.PAUSE)
        house.book.queue.append(run)
        going_on = asyncio.create_task(house.ask(m.Resume(id=1, run=run)))
        await slowly.reached()
        await house.ask(m.Stop(id=2, run=run))
        slowly.go_on()
        with pytest.raises(Refused, match=r"It was stopped meanwhile\.") as refused:
            await going_on
        assert refused.value.refusal.code == "wrong_state"
        assert house.book.state(run) is State.STOPPED
        assert house.book.queue == []
        await house.book.close_all()

    run_async(work)
