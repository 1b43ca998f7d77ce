"""What a host owes when something in it breaks: a free GPU, bounded answers, one journal a run."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from engine.contract import messages as m
from engine.contract.lifecycle import Event, State
from engine.contract.messages import Done, ListRuns, Request
from engine.contract.wire import frame
from engine.host import attempt, journals, recovery, requests, resuming, worker
from engine.host.book import Book
from engine.host.comeback import Comeback
from engine.host.connection import Answer, Connection, Refused
from engine.host.hub import Hub
from engine.host.inspecting import Inspector
from engine.host.parts import Parts
from engine.host.pool import Pool
from engine.host.recovery import Recovery
from engine.host.rehearsal import Rehearsals
from engine.host.scheduler import Scheduler
from engine.host.settings import Settings
from engine.host.tracing import Tracer
from engine.host.worker import is_alive, start_time_of
from engine.store import checkpoints, runs
from engine.store.journal import Journal
from engine.store.records import read_records
from engine.store.upgrade import StoreError

if sys.platform == "win32":
    pytest.skip("workers here are Unix commands", allow_module_level=True)

SPEC = {"name": "test", "model": {"path": "/m"}, "dataset": {"path": "/d"}}


class House:
    """The parts of a host in a folder of the test's, without its socket."""

    def __init__(self, home: Path, *command: str, automatic: bool = False) -> None:
        settings = Settings(
            worker_command=command or ("/bin/false",), telemetry=False,
            resume_automatically=automatic,
        )  # fmt: skip
        self.hub = Hub()
        self.book = Book(home / "runs", self.hub)
        self.book.load()
        self.hub.summarise = self.book.summary
        self.pool = Pool(settings, home, self.hub.has_window)
        self.scheduler = Scheduler(self.book, self.pool, settings, Comeback(settings))
        self.recovery = Recovery(self.book, settings, Comeback(settings))
        self.parts = Parts(
            token="",
            book=self.book,
            hub=self.hub,
            pool=self.pool,
            scheduler=self.scheduler,
            recovery=self.recovery,
            rehearsals=Rehearsals(self.pool, settings, self.scheduler.card),
            tracer=Tracer(self.pool, settings),
            inspector=Inspector(self.pool, settings),
            keep_warm=_nothing,
            leave=_nothing,
        )

    async def make(self, *events: Event) -> str:
        """A run to which these events have happened."""
        now = datetime.now().astimezone()
        folder = runs.create(self.book.store, name="test", spec=SPEC, versions={}, now=now)
        run = await self.book.add(folder)
        for event in events:
            self.book.move(run, event)
        return run

    async def ask(self, request: Request) -> Answer:
        """What a greeted client gets."""
        connection: Any = type("Greeted", (), {"client": "cli", "may_only_leave": False})()
        return await requests.answer(self.parts, connection, request)


def _nothing() -> None:
    """Nobody is there."""


def run_async(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


# ---------------------------------------------------------------- attempts


def test_when_an_attempt_breaks_its_worker_does_not_keep_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyError("a mistake")

    ready = json.dumps({"type": "ready", "pid": 1, "import_seconds": 0, "versions": {}})
    monkeypatch.setattr(attempt, "Job", broken)

    async def work() -> None:
        house = House(tmp_path, "/bin/sh", "-c", f"echo '{ready}'; exec sleep 100")
        run = await house.make(Event.ENQUEUE)
        taken = []
        take = house.pool.take

        async def remember() -> worker.Worker:
            taken.append(await take())
            return taken[0]

        monkeypatch.setattr(house.pool, "take", remember)
        house.scheduler.enqueue(run)
        serving = asyncio.create_task(house.scheduler.work(asyncio.sleep(0)))
        while house.book.state(run) is not State.FAILED:
            await asyncio.sleep(0.01)
        assert taken[0].ended.done()
        assert not is_alive(taken[0].pid, taken[0].started_at)
        serving.cancel()
        await house.book.close_all()

    run_async(work)


def test_a_killed_orphan_is_gone_before_its_run_is_touched(tmp_path: Path) -> None:
    async def work() -> None:
        house = House(tmp_path)
        process = await asyncio.create_subprocess_exec("sleep", "100", start_new_session=True)
        started_at = start_time_of(process.pid)
        assert started_at is not None
        await house.recovery._kill(process.pid, started_at)
        assert not is_alive(process.pid, started_at)
        await process.wait()
        await house.book.close_all()

    run_async(work)


READY_AND_BUSY = """
import sys, time
print('{"type":"ready","pid":0,"import_seconds":0}', flush=True)
sys.stdin.readline()
print('{"type":"phase_changed","at":0,"phase":"loading model"}', flush=True)
time.sleep(100)
"""


def test_of_a_rehearsal_whose_client_goes_nothing_is_left(fettle_home: Path) -> None:
    """Telling it something fails first, and while the rehearsal clears up it is cancelled too."""

    async def work() -> None:
        house = House(fettle_home, sys.executable, "-c", READY_AND_BUSY)
        rehearsals = house.parts.rehearsals
        folders: list[Path] = []

        async def tell(_message: m.Message) -> None:
            folders.extend((fettle_home / "rehearsals").iterdir())
            asyncio.get_running_loop().call_soon(trying.cancel)
            raise ConnectionResetError

        trying = asyncio.create_task(rehearsals.work("rehearsal-1", SPEC, {}, tell))
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert folders == [fettle_home / "rehearsals" / "rehearsal-1"]
        while (fettle_home / "rehearsals").exists():
            await asyncio.sleep(0.01)
        assert not rehearsals.is_busy
        await house.book.close_all()

    run_async(work)


# ---------------------------------------------------------------- answers


def test_answers_of_a_client_that_does_not_read_do_not_pile_up() -> None:
    asked: list[int] = []

    async def answer(_connection: Connection, request: Request) -> Answer:
        asked.append(request.id)
        return Answer({"large": "x" * 500_000})

    async def work() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        connection = Connection(reader, writer, answer)
        connection.client = "cli"
        serving = asyncio.create_task(connection.serve())
        theirs.sendall(b"".join(frame(ListRuns(id=n)) for n in range(100)))
        await asyncio.sleep(0.5)
        assert 0 < len(asked) < 20
        await asyncio.to_thread(_read_lines, theirs, 100)
        assert asked == list(range(100))
        theirs.close()
        await serving

    run_async(work)


def _read_lines(stream: socket.socket, count: int) -> None:
    while count > 0:
        count -= stream.recv(1 << 16).count(b"\n")


# ---------------------------------------------------------------- one run at a time


def _sound(_spec: object, *, is_for_run: bool = True) -> tuple[None, list[m.Complaint]]:
    """Nothing is wrong with it, but that a new run would be wasted: one that is there goes on."""
    return None, [m.Complaint(field="dataset.path", problem="Wasted.")] if is_for_run else []


def test_a_run_is_not_removed_while_a_resume_verifies_its_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    verify = checkpoints.newest_verified

    def slowly(folder: Path) -> object:
        reached.set()
        go_on.wait(10)
        return verify(folder)

    monkeypatch.setattr(resuming, "complaints_about", _sound)
    monkeypatch.setattr(resuming, "newest_verified", slowly)

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        resuming = asyncio.create_task(house.ask(m.Resume(id=1, run=run)))
        await asyncio.to_thread(reached.wait, 10)
        removing = asyncio.create_task(house.ask(m.Remove(id=2, run=run)))
        await asyncio.sleep(0.1)
        assert not removing.done()
        go_on.set()
        assert (await resuming).data["attempt"] == 2
        with pytest.raises(Refused, match="Stop it first"):
            await removing
        await house.book.close_all()

    run_async(work)


def test_who_comes_after_a_removal_is_told_of_it(tmp_path: Path) -> None:
    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        async with house.book.lock(run):
            asked = [asyncio.create_task(house.ask(m.Remove(id=n, run=run))) for n in (1, 2)]
            await asyncio.sleep(0.01)
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert first == Answer({"run": run})
        assert isinstance(second, Refused)
        assert "removed a moment ago" in str(second)
        assert not house.book.folder(run).exists()
        await house.book.close_all()

    run_async(work)


def test_two_who_open_a_run_share_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Journal] = []

    class Counted(Journal):
        def __init__(self, folder: Path, run: str, counted: int) -> None:
            super().__init__(folder, run, counted)
            made.append(self)

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        await house.book.close(run)
        monkeypatch.setattr(journals, "Journal", Counted)
        await asyncio.gather(house.book.open(run), house.book.open(run))
        assert len(made) == 1
        await house.book.close_all()

    run_async(work)


def test_a_large_run_that_is_deleted_does_not_hold_up_the_disk_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    rmtree = shutil.rmtree

    def slowly(path: Path, ignore_errors: bool) -> None:
        go_on.wait(10)
        rmtree(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slowly)

    async def work() -> None:
        house = House(tmp_path)
        run, other = await house.make(Event.STOP), await house.make(Event.STOP)
        await house.ask(m.Remove(id=1, run=run))
        assert not house.book.folder(run).exists()
        await house.book.close(other)
        (left,) = house.book.store.glob(".removed-*")
        go_on.set()
        while left.exists():
            await asyncio.sleep(0.01)
        await house.book.close_all()

    run_async(work)


# ---------------------------------------------------------------- a disk in trouble


def test_a_disk_that_fails_under_a_resume_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(folder: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    monkeypatch.setattr(resuming, "complaints_about", _sound)
    monkeypatch.setattr(resuming, "newest_verified", failing)

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        with pytest.raises(Refused, match="cannot be written to"):
            await house.ask(m.Resume(id=1, run=run))
        assert house.book.state(run) is State.STOPPED
        await house.book.close_all()

    run_async(work)


@pytest.mark.parametrize("moment", range(12))
def test_a_stop_is_kept_at_whatever_moment_of_a_recovery_it_comes(
    tmp_path: Path, moment: int
) -> None:
    """The run goes on by itself the moment its worker is gone."""

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.ENQUEUE, Event.LAUNCH)
        await house.book.close_all()
        house = House(tmp_path, automatic=True)
        recovering = asyncio.create_task(house.recovery.work())
        for _ in range(moment):
            await asyncio.sleep(0.0005)
        await house.ask(m.Stop(id=1, run=run))
        await recovering
        assert house.book.state(run) is State.STOPPED
        assert run not in house.book.queue
        await house.book.close_all()
        *_, last = read_records(house.book.folder(run))
        assert isinstance(last, Done)

    run_async(work)


def test_saves_that_cannot_be_read_do_not_stop_the_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(recovery, "newest_verified", failing)

    async def work() -> None:
        before = House(tmp_path)
        run = await before.make(Event.ENQUEUE, Event.LAUNCH)
        await before.book.close_all()
        house = House(tmp_path)
        await house.recovery.work()
        assert house.book.state(run) is State.INTERRUPTED
        *_, done = read_records(house.book.folder(run))
        assert isinstance(done, Done)
        assert "cannot be read" in done.sentence
        await house.book.close_all()

    run_async(work)


def test_a_run_that_could_not_begin_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_folder: Path, _run: str, _counted: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journals, "Journal", failing)

    async def work() -> None:
        house = House(tmp_path)
        with pytest.raises(StoreError, match="is full"):
            await house.make()
        assert list(house.book.store.iterdir()) == []
        assert house.book.names() == []
        await house.book.close_all()

    run_async(work)
