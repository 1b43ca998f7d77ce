"""Runs that go on by themselves: real hosts, workers that die, and what everybody is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine.client import Client
from engine.contract.lifecycle import State
from engine.contract.messages import (
    ChangeOptions,
    Decision,
    Done,
    Finding,
    Record,
    StateChanged,
    Step,
    Stop,
)
from tests.e2e.host_driver import (
    HostUnderTest,
    records_to_done,
    resume_run,
    start_run,
    summary_of,
    until,
    wait_for_state,
    wait_for_step,
)


@pytest.fixture
def automatic(hosts: HostUnderTest) -> HostUnderTest:
    """Hosts that resume runs by themselves, after next to no time."""
    hosts.environment["FETTLE_RESUME_AUTOMATICALLY"] = "on"
    hosts.environment["FETTLE_RESUME_SECONDS"] = "0.05"
    return hosts


def begin(hosts: HostUnderTest, mode: str, **options: float) -> tuple[Client, str]:
    hosts.fake(mode, **options)
    hosts.start()
    client = hosts.connect()
    return client, start_run(client, hosts.spec())


def states_of(records: list[Record]) -> list[State]:
    return [record.state for record in records if isinstance(record, StateChanged)]


def titles_of(records: list[Record]) -> list[str]:
    return [record.title for record in records if isinstance(record, Decision)]


def test_a_crash_in_the_midst_is_got_over_without_anybody(automatic: HostUnderTest) -> None:
    """The fake worker dies at step 7 of each attempt that comes by it; the second begins at 5, so
    it dies again; the save of step 5 is no progress, and N bounds it."""
    client, run = begin(automatic, "segfault", at=7, save=5, steps=12)
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.attempt) == ("failed", 4)
    assert sum(isinstance(record, Done) for record in records) == 1
    assert states_of(records).count(State.RECOVERING) == 3
    assert titles_of(records) == ["Goes on by itself"] * 3 + ["Not resumed by itself"]
    last = [record for record in records if isinstance(record, Decision)][-1]
    assert "resumed 3 times without coming further than the save of step 5" in last.reason
    # A person who resumes it begins to count anew.
    resume_run(client, run)
    again = records_to_done(run, since=done.seq)
    assert states_of(again).count(State.RECOVERING) == 3


def test_progress_counts_anew_and_the_run_finishes(automatic: HostUnderTest) -> None:
    """Each attempt saves two more steps and dies: more deaths than tries, and it gets there."""
    automatic.environment["FAKE_DIE_AFTER"] = "2"
    _, run = begin(automatic, "dying", save=1, steps=11)
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step) == ("finished", 11)
    assert states_of(records).count(State.RECOVERING) == 5
    steps = [record.step for record in records if isinstance(record, Step)]
    assert sorted(set(steps)) == list(range(1, 12))


def test_the_wait_can_be_cut_short_or_called_off(automatic: HostUnderTest) -> None:
    automatic.environment["FETTLE_RESUME_SECONDS"] = "300"
    client, run = begin(automatic, "segfault", at=3, save=2, steps=6)
    waiting = wait_for_state(client, run, State.RECOVERING)
    assert waiting.resumes_at is not None
    assert 250 < waiting.resumes_at - time.time() <= 300
    assert waiting.ended_at is None
    assert automatic.connect().host["busy"]
    other = start_run(client, automatic.spec("other"))
    assert resume_run(client, run)["step"] == 2
    until(lambda: summary_of(client, run).attempt == 2, "it goes on at once")
    wait_for_state(client, run, State.RECOVERING)
    assert summary_of(client, other).state is State.QUEUED, "the one that recovers keeps the card"
    client.request(Stop(id=0, run=run))
    assert wait_for_state(client, run).state is State.STOPPED
    done = records_to_done(run)[-1]
    assert isinstance(done, Done)
    assert done.sentence.startswith("You chose not to resume it.")
    wait_for_state(client, other, State.RECOVERING)
    client.request(Stop(id=0, run=other))


def test_what_people_chose_holds(automatic: HostUnderTest) -> None:
    automatic.fake("segfault", at=3, save=2)
    automatic.start()
    client = automatic.connect()
    chosen = client.request(ChangeOptions(id=0, options={"resume_automatically": False}))
    assert chosen["options"] == {
        "resume_automatically": False,
        "resume_tries": 3,
        "remember_memory": True,
    }
    run = start_run(client, automatic.spec())
    assert wait_for_state(client, run).state is State.FAILED
    client.request(ChangeOptions(id=0, options={"resume_automatically": True, "resume_tries": 1}))
    run = start_run(client, automatic.spec())
    records = records_to_done(run)
    assert states_of(records).count(State.RECOVERING) == 1


def test_a_run_that_lost_its_host_goes_on_with_the_next(automatic: HostUnderTest) -> None:
    automatic.fake("normal", steps=200, ms=10, save=5)
    process = automatic.start()
    client = automatic.connect()
    run = start_run(client, automatic.spec())
    wait_for_step(client, run, 12)
    waiting = start_run(client, automatic.spec("other"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    automatic.environment["FAKE_MS"] = "1"
    automatic.start()
    client = automatic.connect()
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step, done.attempt) == ("finished", 200, 2)
    assert State.INTERRUPTED not in states_of(records)
    (lost,) = [r for r in records if isinstance(r, Finding) and r.code == "host_lost"]
    assert lost.severity == "warning"
    assert wait_for_state(client, waiting).state is State.FINISHED


def test_a_wait_outlives_the_host(automatic: HostUnderTest) -> None:
    automatic.environment["FETTLE_RESUME_SECONDS"] = "2"
    automatic.fake("segfault", at=3, save=2, steps=6)
    process = automatic.start()
    client = automatic.connect()
    run = start_run(client, automatic.spec())
    wait_for_state(client, run, State.RECOVERING)
    process.terminate()
    process.wait(10)
    status = (automatic.home / "runs" / run / "status.json").read_text()
    assert '"recovering"' in status
    automatic.fake("normal", steps=6)
    automatic.start()
    done = records_to_done(run)[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.attempt) == ("finished", 2)


def test_a_stop_that_was_asked_for_is_kept(automatic: HostUnderTest) -> None:
    """The host dies while a run stops: the next one does not take the run up again."""
    automatic.fake("deaf", steps=5000, ms=5)
    process = automatic.start(FETTLE_STOP_GRACE_SECONDS="60")
    client = automatic.connect()
    run = start_run(client, automatic.spec())
    wait_for_step(client, run, 3)
    client.request(Stop(id=0, run=run))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    automatic.start(FETTLE_ORPHAN_SECONDS="0.2")
    client = automatic.connect()
    assert wait_for_state(client, run).state in (State.STOPPED, State.INTERRUPTED)
    assert not Path(automatic.home / "runs" / run / "orphan.jsonl").exists()
    time.sleep(0.3)
    assert summary_of(client, run).attempt == 1


def test_three_deaths_at_the_last_rung_are_the_end(automatic: HostUnderTest) -> None:
    """There is nothing left to change: it is tried three times more, told, and no loop."""
    automatic.environment["FAKE_POOL"] = "vram"
    _, run = begin(automatic, "fail", at=4, save=3)
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.attempt) == ("failed", 4)
    errors = [r for r in records if isinstance(r, Finding) and r.severity == "error"]
    assert [error.pool for error in errors] == ["vram"] * 4
    assert titles_of(records)[-1] == "Not resumed by itself"
