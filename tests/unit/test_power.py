"""The computer stays awake while a run trains, and a sleep is no stall."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.contract.messages import Finding, Record
from engine.host import power
from engine.host.book import Book, Listener
from engine.host.course import Course
from engine.host.power import ExecutionState, Helper, SleepGuard, SleepMeter
from engine.host.settings import Settings
from engine.host.watchdog import Watchdog
from engine.store import runs
from engine.store.records import read_records

SPEC = {"name": "test", "model": {"path": "/m"}, "dataset": {"path": "/d"}}


class Fake:
    """Notes what is asked of it."""

    def __init__(self, error: OSError | None = None) -> None:
        self.calls: list[str] = []
        self._error = error

    def hold(self, why: str) -> None:
        self.calls.append(f"hold: {why}")
        if self._error:
            raise self._error

    def release(self) -> None:
        self.calls.append("release")


def test_it_is_held_within_the_block_whatever_happens_there() -> None:
    fake = Fake()
    guard = SleepGuard(fake)
    with pytest.raises(ZeroDivisionError), guard.held("A run trains"):
        raise ZeroDivisionError
    assert fake.calls == ["hold: A run trains", "release"]


def test_where_it_cannot_be_had_the_run_trains_all_the_same() -> None:
    fake = Fake(OSError("no logind"))
    with SleepGuard(fake).held("A run trains"):
        pass
    assert fake.calls[-1] == "release"


def test_windows_is_told_and_untold() -> None:
    said: list[int] = []

    def call(state: int) -> int:
        said.append(state)
        return 1

    state = ExecutionState(call)
    with SleepGuard(state).held("A run trains"):
        assert said == [0x80000001]
    assert said == [0x80000001, 0x80000000]
    with pytest.raises(OSError, match="refused"):
        ExecutionState(lambda _: 0).hold("")


@pytest.mark.skipif(sys.platform == "win32", reason="cat is a program of Unix")
def test_a_helper_lives_as_long_as_it_is_held(tmp_path: Path) -> None:
    """Whatever ends the holder ends its stdin too: the real command is a ``cat`` below logind's."""
    pid_file = tmp_path / "pid"
    helper = Helper(lambda why: ["sh", "-c", f"echo $$ > {pid_file}; exec cat"])
    with SleepGuard(helper).held("x"):
        deadline = time.monotonic() + 10
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pid = int(pid_file.read_text())
        assert psutil.pid_exists(pid)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    helper.hold("x")
    assert helper._process is not None
    os.kill(helper._process.pid, signal.SIGKILL)
    helper.release()
    helper.release()


def test_the_commands_are_what_their_programs_take() -> None:
    command = power.logind("Fettle trains night")
    assert command[0] == "systemd-inhibit"
    assert command[-1] == "cat"
    assert "--why=Fettle trains night" in command
    assert "2147483649" in power.windows_from_wsl("")[-1]


def test_a_sleep_is_told_from_clocks_that_drift() -> None:
    asleep = iter([100.0, 100.4, 7300.4, 7300.4])
    meter = SleepMeter(lambda: next(asleep))
    assert meter.slept_seconds() == 0.0
    assert meter.slept_seconds() == pytest.approx(7200.0)
    assert meter.slept_seconds() == 0.0


def test_this_computer_is_awake() -> None:
    meter = SleepMeter()
    time.sleep(0.01)
    assert meter.slept_seconds() == 0.0


def test_a_worker_is_not_blamed_for_the_sleep_of_its_computer(tmp_path: Path) -> None:
    async def work() -> list[Record]:
        book = Book(tmp_path, Listener())
        now = datetime.now().astimezone()
        folder = runs.create(tmp_path, name="test", spec=SPEC, versions={}, now=now)
        run = await book.add(folder)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker: Any = SimpleNamespace(pid=1, ready=ready, ended=ready, heard_at=time.monotonic())
        dog = Watchdog(Settings(), Course(book, run), worker)
        asleep = iter([0.0, 0.0, 7200.0, 7200.0])
        dog._sleep = SleepMeter(lambda: next(asleep))
        for _ in range(3):
            dog.listen()
        await book.close_all()
        return list(read_records(folder))

    (slept,) = [r for r in asyncio.run(work()) if isinstance(r, Finding)]
    assert (slept.code, slept.severity) == ("slept", "info")
    assert slept.title == "The computer slept for 120 min."
