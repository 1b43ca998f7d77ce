"""Inspections take turns, and each can be stopped, also before its turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.contract.messages import Inspected, Message, ShowSamples
from engine.host.connection import Refused
from engine.host.inspecting import Inspector, show_samples
from engine.host.settings import Settings
from tests.unit.plan_forms import spec_of


class Told(list[str]):
    async def __call__(self, message: Message) -> None:
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
