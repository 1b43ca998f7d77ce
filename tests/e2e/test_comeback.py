"""Runs that go on by themselves: real hosts, workers that die, and what everybody is told."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from engine.client import Client, HostFailed, Refused
from engine.contract.lifecycle import State
from engine.contract.messages import (
    ChangeOptions,
    CheckpointSaved,
    Decision,
    Done,
    Finding,
    ListRuns,
    Pause,
    Record,
    SaveCheckpoint,
    Start,
    StateChanged,
    Step,
    Stop,
)
from engine.store.records import read_records
from tests.e2e.host_driver import (
    HostUnderTest,
    begin,
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
    queued = [r for r in records if isinstance(r, StateChanged) and r.state is State.QUEUED]
    assert [record.step for record in queued] == [None, 5, 5, 5], "where it goes on from"
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
    assert done.sentence.startswith("You stopped it before it was resumed. ")
    assert done.sentence.endswith("1 step after the last save is lost. Resume goes on from step 2.")
    wait_for_state(client, other, State.RECOVERING)
    client.request(Stop(id=0, run=other))


def test_a_run_without_a_save_says_in_a_pause_and_a_stop_that_it_begins_anew(
    automatic: HostUnderTest,
) -> None:
    automatic.environment |= {"FETTLE_RESUME_SECONDS": "300", "FAKE_DEATH": "sigkill"}
    client, run = begin(automatic, "death", at=3, save=100)
    wait_for_state(client, run, State.RECOVERING)
    paused = client.request(Pause(id=0, run=run))
    assert paused["state"] == "paused"
    anew = "3 steps are lost. There is no save: Continue begins anew."
    assert paused["sentence"].endswith(anew)
    client.request(Stop(id=0, run=run))
    records = records_to_done(run)
    (found,) = [r for r in records if isinstance(r, Finding) and r.severity == "error"]
    assert "last save" not in found.remedy
    done = records[-1]
    assert isinstance(done, Done)
    assert done.sentence == "Stopped at step 3. There is no save: Resume begins anew."


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


def test_what_the_system_ended_is_taken_up_by_the_next_host(automatic: HostUnderTest) -> None:
    """A reboot at night, or the end of a session."""
    automatic.fake("normal", steps=5000, save=0)
    process = automatic.start()
    client = automatic.connect()
    run = start_run(client, automatic.spec())
    wait_for_step(client, run, 4)
    process.terminate()
    process.wait(20)
    assert '"recovering"' in (automatic.home / "runs" / run / "status.json").read_text()
    automatic.fake("normal", steps=60, save=0)
    automatic.start()
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step, done.attempt) == ("finished", 60, 2)
    assert titles_of(records) == ["Goes on by itself"]


def test_a_worker_that_saves_for_long_is_waited_for(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000, save=0, saving_ms=1500)
    hosts.environment["FETTLE_STOP_GRACE_SECONDS"] = "0.3"
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 4)
    client.request(Stop(id=0, run=run))
    done = records_to_done(run)[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.exit_code) == ("stopped", None), "it ended by itself"
    # And so does the next host, with a worker that lost its own.
    resume_run(client, run)
    wait_for_step(client, run, done.step + 3)
    hosts.environment["FETTLE_ORPHAN_SECONDS"] = "0.3"
    _crash_host(hosts)
    client = hosts.connect()
    wait_for_state(client, run)
    # What the host tells of is on its way to the disk.
    until(lambda: _attempts_saved(hosts.home / "runs" / run) == [1, 2], "both attempts have saved")


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


def test_a_worker_that_falls_silent_is_ended_and_the_run_goes_on(
    automatic: HostUnderTest,
) -> None:
    automatic.environment["FETTLE_WATCHDOG_SCALE"] = "0.01"
    automatic.fake("mute", at=7, save=5, steps=12)
    automatic.start()
    client = automatic.connect()
    client.request(ChangeOptions(id=0, options={"resume_tries": 1}))
    run = start_run(client, automatic.spec())
    records = records_to_done(run)
    stalls = [r for r in records if isinstance(r, Finding) and r.code == "stalled"]
    assert len(stalls) == 2, "once resumed, without a newer save"
    assert stalls[0].title.startswith("Nothing has moved for ")
    assert stalls[0].title.endswith(" s while it trained.")
    assert states_of(records).count(State.RECOVERING) == 1
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step) == ("failed", 7)
    assert done.sentence.startswith("Nothing has moved for")


def test_where_nothing_goes_on_by_itself_a_stall_is_only_told(hosts: HostUnderTest) -> None:
    hosts.fake("mute", at=3)
    hosts.start(FETTLE_WATCHDOG_SCALE="0.01")
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    folder = hosts.home / "runs" / run

    def told() -> list[Finding]:
        found = read_records(folder)
        return [r for r in found if isinstance(r, Finding) and r.code == "stalled"]

    (stall,) = until(told, "the stall is told")
    assert (stall.severity, summary_of(client, run).state) == ("warning", State.TRAINING)
    assert "Stop it at once, then resume." in stall.remedy
    time.sleep(1.5)
    assert len(told()) == 1
    client.request(Stop(id=0, run=run, now=True))
    assert wait_for_state(client, run).state is State.STOPPED


# ---------------------------------------------------------------- pause and continue


def test_a_pause_frees_the_card_and_keeps_the_place(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=60, ms=20)
    wait_for_step(client, run, 7)
    other = start_run(client, hosts.spec("other"))
    client.request(Pause(id=0, run=run))
    paused = wait_for_state(client, run, State.PAUSED)
    saved = paused.step
    assert paused.sentence == f"The card is free. Continue goes on from step {saved}."
    until(lambda: not worker_of(hosts, run), "the worker has ended")
    time.sleep(0.3)
    assert summary_of(client, other).state is State.QUEUED
    assert not hosts.connect().host["busy"]
    assert client.request(Pause(id=0, run=run))["state"] == "paused"
    with pytest.raises(Refused, match="queued cannot pause"):
        client.request(Pause(id=0, run=other))
    assert resume_run(client, run)["step"] == saved
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step, done.attempt) == ("finished", 60, 2)
    assert [r.step for r in records if isinstance(r, Step)] == list(range(1, 61)), "exactly on"
    assert sum(isinstance(record, Done) for record in records) == 1
    assert wait_for_state(client, other).state is State.FINISHED


def worker_of(hosts: HostUnderTest, run: str) -> object:
    status = json.loads((hosts.home / "runs" / run / "status.json").read_text())
    return status["pid"]


def test_a_pause_outlives_the_host_and_can_end_in_a_stop(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=500, ms=10)
    process = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 3)
    waiting = start_run(client, hosts.spec("other"))
    client.request(Pause(id=0, run=run))
    wait_for_state(client, run, State.PAUSED)
    process.terminate()
    process.wait(20)
    hosts.fake("normal", steps=6)
    hosts.start()
    client = hosts.connect()
    assert summary_of(client, run).state is State.PAUSED
    assert summary_of(client, waiting).state is State.QUEUED
    client.request(Stop(id=0, run=run))
    assert wait_for_state(client, run).state is State.STOPPED
    assert wait_for_state(client, waiting).state is State.FINISHED, "the line moves on"


def test_a_worker_that_does_not_hear_of_a_pause_is_ended(hosts: HostUnderTest) -> None:
    hosts.fake("deaf", steps=5000, ms=10, save=4)
    hosts.start(FETTLE_STOP_GRACE_SECONDS="0.5")
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 5)
    client.request(Pause(id=0, run=run))
    paused = wait_for_state(client, run, State.PAUSED)
    assert "Continue goes on from step" in paused.sentence
    client.request(Stop(id=0, run=run))


def test_the_card_is_free_only_once_the_worker_is_gone(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=60, ms=20, leaving_ms=1500)
    wait_for_step(client, run, 7)
    pid = worker_of(hosts, run)
    client.request(Pause(id=0, run=run))
    wait_for_state(client, run, State.PAUSED)
    assert not psutil.pid_exists(int(str(pid)))


def test_a_stop_is_heard_while_the_worker_of_a_pausing_run_goes(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=60, ms=20, leaving_ms=2500)
    wait_for_step(client, run, 7)
    client.request(Pause(id=0, run=run))
    time.sleep(1.0)
    assert summary_of(client, run).state is State.TRAINING
    assert client.request(Stop(id=0, run=run))["state"] == "stopping"
    assert client.request(Stop(id=0, run=run))["state"] == "stopping"
    stopped = wait_for_state(client, run)
    assert stopped.state is State.STOPPED
    assert stopped.sentence == f"Stopped and saved at step {stopped.step}."


def test_what_is_called_off_stays_so_though_its_worker_is_still_going(
    automatic: HostUnderTest,
) -> None:
    automatic.environment["FAKE_POOL"] = "vram"
    client, run = begin(automatic, "fail", at=3, leaving_ms=1500)
    wait_for_state(client, run, State.RECOVERING)
    client.request(Stop(id=0, run=run))
    assert wait_for_state(client, run).state is State.STOPPED
    second = start_run(client, automatic.spec("second"))
    wait_for_state(client, second, State.RECOVERING)
    assert summary_of(client, run).attempt == 1
    client.request(Stop(id=0, run=second))


@pytest.mark.parametrize("now", [True, False])
def test_a_run_whose_worker_lost_its_host_can_be_stopped(
    automatic: HostUnderTest, now: bool
) -> None:
    if now:
        client, run = begin(automatic, "mute", steps=5000, at=6)
    else:
        client, run = begin(automatic, "normal", steps=5000, save=0, saving_ms=700)
    wait_for_step(client, run, 6)
    _crash_host(automatic)
    client = automatic.connect()
    client.request(Stop(id=0, run=run, now=now))
    ended = wait_for_state(client, run)
    assert (ended.state, ended.attempt) == (State.STOPPED, 1)
    assert isinstance(records_to_done(run)[-1], Done)


def test_a_resume_that_comes_before_the_next_host_knows_what_became_of_the_run_waits(
    hosts: HostUnderTest,
) -> None:
    client, run = begin(hosts, "normal", steps=5000, save=0, saving_ms=700)
    wait_for_step(client, run, 6)
    _crash_host(hosts)
    client = hosts.connect()
    assert resume_run(client, run)["step"] >= 6
    wait_for_state(client, run, State.TRAINING)
    client.request(Stop(id=0, run=run))


def test_a_start_is_brought_to_its_end_though_its_client_goes(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=3)
    hosts.start()
    hasty = hosts.connect()
    # No reply is waited for.
    with pytest.raises(HostFailed):
        hasty.request(Start(id=0, spec=hosts.spec()), timeout_s=0)
    hasty.close()
    other = hosts.connect()
    (run,) = until(lambda: _names(other), "the run is there")
    assert wait_for_state(other, run).state is State.FINISHED


def _attempts_saved(folder: Path) -> list[int]:
    return [
        record.attempt for record in read_records(folder) if isinstance(record, CheckpointSaved)
    ]


def _names(client: Client) -> list[str]:
    return [each["run"] for each in client.request(ListRuns(id=0))["runs"]]


def _crash_host(hosts: HostUnderTest) -> None:
    hosts.processes[-1].kill()
    hosts.processes[-1].wait()
    hosts.start()


def test_a_pause_is_kept_though_the_host_dies_before_the_worker_is_gone(
    hosts: HostUnderTest,
) -> None:
    hosts.environment["FETTLE_RESUME_AUTOMATICALLY"] = "on"
    client, run = begin(hosts, "normal", steps=400, ms=20, leaving_ms=2000)
    wait_for_step(client, run, 7)
    client.request(Pause(id=0, run=run))
    time.sleep(0.7)
    with pytest.raises(Refused, match="saved already"):
        client.request(SaveCheckpoint(id=0, run=run))
    hosts.processes[-1].kill()
    hosts.processes[-1].wait()
    hosts.start()
    client = hosts.connect()
    paused = wait_for_state(client, run, State.PAUSED)
    assert paused.attempt == 1
    assert "The card is free. Continue goes on from step" in paused.sentence
    client.request(Stop(id=0, run=run))


def test_a_run_behind_a_paused_one_says_so_and_a_resume_in_a_pause_waits_for_it(
    hosts: HostUnderTest,
) -> None:
    client, run = begin(hosts, "normal", steps=40, ms=20, leaving_ms=1200)
    wait_for_step(client, run, 7)
    client.request(Pause(id=0, run=run))
    assert resume_run(client, run)["attempt"] == 2
    wait_for_step(client, run, 20)
    client.request(Pause(id=0, run=run))
    wait_for_state(client, run, State.PAUSED)
    other = start_run(client, hosts.spec("tonight"))
    waiting = summary_of(client, other)
    assert (waiting.state, waiting.is_behind_paused) == (State.QUEUED, True)
    assert waiting.behind == summary_of(client, run).name
    client.request(Stop(id=0, run=other))
    client.request(Stop(id=0, run=run))


def test_a_run_whose_host_leaves_while_it_reads_the_saves_stays_in_the_queue(
    hosts: HostUnderTest,
) -> None:
    hosts.environment |= {
        "FETTLE_RESUME_AUTOMATICALLY": "on", "FETTLE_RESUME_SECONDS": "0.05",
        "FETTLE_FAILPOINTS": "save.verify=sleep(2)",
    }  # fmt: skip
    client, run = begin(hosts, "segfault", at=7, save=5, steps=12, ms=50)
    until(lambda: summary_of(client, run).attempt == 2, "it launches again")
    time.sleep(0.3)
    hosts.processes[-1].terminate()
    assert hosts.processes[-1].wait(30) == 0
    del hosts.environment["FETTLE_FAILPOINTS"]
    hosts.fake("normal", steps=12, ms=20)
    hosts.start()
    assert wait_for_state(hosts.connect(), run).state is State.FINISHED
