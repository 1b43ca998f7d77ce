"""Inspections take turns, and each can be stopped, also before its turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.contract.dataset_report import QUEUED, STARTING
from engine.contract.messages import Inspected, Message, Progress, ShowSamples
from engine.host import inspecting
from engine.host.connection import Refused
from engine.host.inspecting import Inspector, show_samples
from engine.host.settings import Settings
from tests.unit.plan_forms import spec_of


class Told(list[str]):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[str, str]] = []

    async def __call__(self, message: Message) -> None:
        if isinstance(message, Progress):
            self.waits.append((message.run, message.unit))
            return
        assert isinstance(message, Inspected)
        self.append(message.run)


@pytest.fixture
def inspector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inspector:
    """Its work is to wait for the event of its name."""
    pool: Any = SimpleNamespace(folder=tmp_path, log=tmp_path / "log")
    made = Inspector(pool, Settings())
    made.gates = {}  # type: ignore[attr-defined]

    async def work(name: str, *_: Any) -> Inspected:
        gates: dict[str, asyncio.Event] = made.gates  # type: ignore[attr-defined]
        await gates.setdefault(name, asyncio.Event()).wait()
        return Inspected(run=name)

    monkeypatch.setattr(made, "_inspect", work)
    return made


def begun(inspector: Inspector, name: str, told: Told) -> asyncio.Task[None]:
    work = inspector.work(name, spec_of(), told, is_busy=lambda: False, computes=lambda: False)
    return asyncio.create_task(work)


def test_one_that_waits_can_be_stopped(inspector: Inspector) -> None:
    async def story() -> None:
        told = Told()
        first, second, third = (begun(inspector, name, told) for name in "abc")
        await asyncio.sleep(0.01)
        assert inspector.stop("b")
        await asyncio.wait_for(second, 1)
        assert not inspector.stop("b")
        inspector.gates["a"].set()  # type: ignore[attr-defined]
        await asyncio.wait_for(first, 1)
        await asyncio.sleep(0.01)
        inspector.gates["c"].set()  # type: ignore[attr-defined]
        await asyncio.wait_for(third, 1)
        assert told == ["a", "c"]

    asyncio.run(story())


def test_who_waits_is_told_what_for(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "_SILENT_SECONDS", 0.02)

    async def story() -> None:
        told = Told()
        first, second = begun(inspector, "a", told), begun(inspector, "b", told)
        await asyncio.sleep(0.1)
        assert set(told.waits) == {("b", QUEUED)}
        for name, work in (("a", first), ("b", second)):
            await asyncio.sleep(0.05)
            inspector.gates[name].set()  # type: ignore[attr-defined]
            await asyncio.wait_for(work, 1)
        assert told == ["a", "b"]
        assert not inspector._lock.locked()

    asyncio.run(story())


class Mute:
    """A worker that is slow to say anything."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.listener: Any = None

    def send(self, job: Message) -> None:
        pass


def test_the_start_of_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "_SILENT_SECONDS", 0.02)

    async def story() -> None:
        told, worker = Told(), Mute()
        asked = asyncio.create_task(inspecting._ask(cast("Any", worker), "a", spec_of(), told))
        await asyncio.sleep(0.1)
        assert set(told.waits) == {("a", STARTING)}
        worker.listener(Inspected())
        assert (await asyncio.wait_for(asked, 1)).run == "a"

    asyncio.run(story())


def test_one_whose_client_goes_makes_way(inspector: Inspector) -> None:
    async def story() -> None:
        told = Told()
        first, second = begun(inspector, "a", told), begun(inspector, "b", told)
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.sleep(0.01)
        inspector.gates["b"].set()  # type: ignore[attr-defined]
        await asyncio.wait_for(second, 1)
        assert told == ["b"]

    asyncio.run(story())


@pytest.mark.parametrize("data", ["0" * 40, "../../etc", ""])
def test_tokens_that_are_not_there_are_refused(data: str, fettle_home: Path) -> None:
    with pytest.raises(Refused) as caught:
        asyncio.run(show_samples(ShowSamples(id=1, data=data)))
    assert caught.value.refusal.code == "not_found"
