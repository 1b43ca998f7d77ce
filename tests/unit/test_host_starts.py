"""What a start or a resume leaves behind, done or refused, and what happens to it meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.contract import messages as m
from engine.contract.lifecycle import Event
from engine.contract.toml import EXAMPLE, to_raw
from engine.host import requests, resuming
from engine.host.checks import Looked
from engine.host.connection import Refused
from engine.store.checkpoints import Choice
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
