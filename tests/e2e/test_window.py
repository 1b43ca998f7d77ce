"""The real window against the real host: a run outlives the window, and no point is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.contract.lifecycle import State
from engine.contract.messages import Step
from engine.store.records import read_records
from tests.e2e.host_driver import (
    HostUnderTest,
    records_to_done,
    start_run,
    wait_for_state,
    wait_for_step,
)
from tests.e2e.window_driver import WindowUnderTest

STEPS = 60
WHOLE = list(range(1, STEPS + 1))

Opener = Callable[..., WindowUnderTest]


@pytest.fixture
def hosts(fettle_home: Path) -> Iterator[HostUnderTest]:
    made = HostUnderTest(fettle_home)
    made.fake("normal", steps=STEPS, ms=50)
    yield made
    made.close()


@pytest.fixture
def open_window(hosts: HostUnderTest) -> Iterator[Opener]:
    opened: list[WindowUnderTest] = []

    def open_it(*arguments: str) -> WindowUnderTest:
        opened.append(WindowUnderTest(hosts, str(len(opened)), *arguments))
        return opened[-1]

    yield open_it
    for window in opened:
        window.close()


def is_complete(state: dict[str, Any]) -> bool:
    return state.get("state") == "finished" and len(state["graph_steps"]) >= STEPS


def test_a_killed_window_loses_no_point_and_the_run_no_moment(
    hosts: HostUnderTest, open_window: Opener
) -> None:
    first = open_window("start", str(hosts.model), str(hosts.data), str(STEPS))
    seen = first.wait(lambda state: len(state.get("graph_steps", [])) >= 15, "15 steps")
    first.kill()
    client = hosts.connect()
    wait_for_step(client, seen["run"], 40)
    second = open_window("watch", seen["run"])
    after = second.wait(is_complete, "the whole run")
    assert after["graph_steps"] == WHOLE
    assert after["arrived"] == WHOLE
    assert after["graph_losses"] == pytest.approx([4 / step for step in WHOLE])
    folder = Path(wait_for_state(client, seen["run"], State.FINISHED).folder)
    times = [record.at for record in read_records(folder) if isinstance(record, Step)]
    assert max(later - before for before, later in pairwise(times)) < 2.0


def test_two_windows_and_a_follower_see_the_same_points(
    hosts: HostUnderTest, open_window: Opener
) -> None:
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec(max_steps=STEPS))
    windows = [open_window("watch", run), open_window("watch", "last")]
    records = records_to_done(run)
    for window in windows:
        seen = window.wait(is_complete, "the whole run")
        assert seen["arrived"] == WHOLE
        assert seen["graph_steps"] == WHOLE
    assert [record.step for record in records if isinstance(record, Step)] == WHOLE


def test_a_killed_host_is_started_again_and_the_run_is_interrupted(
    hosts: HostUnderTest, open_window: Opener
) -> None:
    hosts.fake("normal", steps=2000, ms=20)
    process = hosts.start()
    run = start_run(hosts.connect(), hosts.spec(max_steps=2000))
    window = open_window("watch", run)
    window.wait(lambda state: len(state.get("graph_steps", [])) >= 15, "15 steps")
    process.kill()
    process.wait()
    seen = window.wait(lambda state: state.get("state") == "interrupted", "the interruption")
    assert seen["losses"] == 1
    # Everything the worker did is in the graph, also what it did after the host had gone.
    after = window.wait(lambda state: state["graph_steps"][-1] == state["step"], "all steps")
    assert after["graph_steps"] == list(range(1, after["step"] + 1))
    assert after["arrived"] == after["graph_steps"]
