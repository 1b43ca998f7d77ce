"""A real host with workers of every kind of bad behaviour: each run ends, and says how."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from engine.client import Refused
from engine.contract.lifecycle import State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Done,
    Finding,
    Follow,
    ListRuns,
    Message,
    PhaseChanged,
    Progress,
    Record,
    Remove,
    SaveCheckpoint,
    Show,
    StateChanged,
    Step,
    Stop,
    Telemetry,
)
from engine.store.records import read_records
from tests.e2e.host_driver import (
    HostUnderTest,
    begin,
    job_specs,
    messages_of,
    records_to_done,
    resume_run,
    start_run,
    summary_of,
    until,
    wait_for_state,
    wait_for_step,
)


def steps_of(records: list[Record]) -> list[int]:
    return [record.step for record in records if isinstance(record, Step)]


def done_of(records: list[Record]) -> Done:
    """The last record, which must be Done."""
    assert isinstance(records[-1], Done)
    assert isinstance(records[-2], StateChanged)
    return records[-1]


def the(records: list[Record], code: str) -> Finding:
    (found,) = [r for r in records if isinstance(r, Finding) and r.code == code]
    return found


# ---------------------------------------------------------------- all is well


def test_a_run_goes_through_its_states_to_the_end(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal")
    records = records_to_done(run)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    states = [record.state for record in records if isinstance(record, StateChanged)]
    assert states == ["queued", "starting", "preparing", "training", "finished"]
    assert steps_of(records) == list(range(1, 21))
    done = done_of(records)
    assert (done.outcome, done.step, done.synthesised) == ("finished", 20, False)
    assert done.output == str(hosts.home / "runs" / run / "output")
    assert list(read_records(hosts.home / "runs" / run)) == records
    summary = wait_for_state(client, run)
    assert (summary.step, summary.max_steps, summary.checkpoints) == (20, 20, 4)
    assert summary.bytes > 0
    assert summary.sentence == ""


def test_the_folder_has_what_the_design_says(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal")
    records_to_done(run)
    folder = hosts.home / "runs" / run
    content = json.loads((folder / "run.json").read_text())
    assert content["spec"]["training"]["learning_rate"] == 2e-4
    assert content["versions"]["fettle"]
    assert "normal" in (folder / "worker.log").read_text()
    assert not list(folder.rglob("*.pkl"))
    shown = client.request(Show(id=0, run="last"))
    assert [saved["step"] for saved in shown["checkpoints"]] == [5, 10, 15, 20]
    assert shown["spec"] == content["spec"]
    state = until(lambda: _finished_status(folder), "the status file says finished")
    assert state["pid"] is None


def _finished_status(folder: Path) -> dict[str, object] | None:
    status: dict[str, object] = json.loads((folder / "status.json").read_text())
    return status if status["state"] == "finished" and status["pid"] is None else None


def test_telemetry_is_taken_and_can_be_turned_off(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=150)
    found = [r for r in records_to_done(run) if isinstance(r, Telemetry)]
    assert found
    assert all(r.ram_used_bytes is not None and r.ram_used_bytes > 1 << 20 for r in found)
    hosts.close()
    hosts.start(FETTLE_TELEMETRY="off")
    client = hosts.connect()
    quiet = start_run(client, hosts.spec())
    assert not [r for r in records_to_done(quiet) if isinstance(r, Telemetry)]


def test_progress_reaches_followers_and_is_not_kept(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=100)
    hosts.start()
    client = hosts.connect()
    seen: list[Message] = []
    blocker = start_run(client, hosts.spec())
    run = start_run(client, hosts.spec("second"))
    client.request(Follow(id=0, run=run))
    hosts.connect().request(Stop(id=0, run=blocker))
    for message in client.messages(30):
        seen.append(message)
        if isinstance(message, Step):
            break
    assert [m.done for m in seen if isinstance(m, Progress)] == [1]
    assert b"progress" not in (hosts.home / "runs" / run / "events.jsonl").read_bytes()


# ---------------------------------------------------------------- noise and speed


@pytest.mark.parametrize("mode", ["garbage", "half", "slow"])
def test_noise_on_the_wire_costs_no_record(hosts: HostUnderTest, mode: str) -> None:
    _client, run = begin(hosts, mode)
    records = records_to_done(run)
    assert steps_of(records) == list(range(1, 21))
    assert done_of(records).outcome == "finished"
    assert ("skipped" in (hosts.home / "host" / "host.log").read_text()) == (mode == "garbage")


def test_a_flood_is_kept_whole_and_the_host_stays_responsive(hosts: HostUnderTest) -> None:
    _client, run = begin(hosts, "flood", steps=20_000, save=0)
    other = hosts.connect()
    slowest = 0.0
    while wait_for_state(other, run, *State).state != State.FINISHED:
        began = time.monotonic()
        other.request(ListRuns(id=0))
        slowest = max(slowest, time.monotonic() - began)
    assert steps_of(records_to_done(run)) == list(range(1, 20_001))
    assert slowest < 1.0


# ---------------------------------------------------------------- ends without Done


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("segfault", -11, "signal 11 (memory fault)"),
        ("exit", 7, "exit code 7"),
        ("child", 9, "exit code 9"),
    ],
)
def test_a_dead_worker_gives_a_finding_and_a_done(
    hosts: HostUnderTest, mode: str, code: int, words: str
) -> None:
    client, run = begin(hosts, mode, at=8)
    records = records_to_done(run)
    done = done_of(records)
    assert (done.outcome, done.step, done.synthesised, done.exit_code) == ("failed", 8, True, code)
    assert words in done.sentence
    assert "3 steps after the last save are lost" in done.sentence
    found = the(records, "worker_lost")
    assert "fake worker" in found.detail
    assert words in f"{found.title} {found.why}"
    assert summary_of(client, run).state == State.FAILED


def test_a_failed_run_resumes_from_its_last_save(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "segfault", at=8, save=3)
    seq = done_of(records_to_done(run)).seq
    reply = resume_run(client, run)
    assert (reply["run"], reply["attempt"], reply["step"]) == (run, 2, 6)
    records = records_to_done(run, seq)
    # It dies again at step 8, this time two steps on.
    assert steps_of(records) == [7, 8]
    assert {record.attempt for record in records} == {2}
    assert wait_for_state(client, run).attempt == 2


def test_a_run_goes_on_with_other_settings_if_asked_to(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "segfault", at=8)
    seq = done_of(records_to_done(run)).seq
    patch = {"training.max_length": 512, "quantization": {"bits": 4}, "training.packing": False}
    resume_run(client, run, patch)
    records = records_to_done(run, seq)
    (decision,) = [record for record in records if isinstance(record, Decision)]
    assert (decision.patch, decision.attempt) == (patch, 2)
    assert "training.max_length 1024 → 512, quantization none → " in decision.reason
    first, second = job_specs(hosts.home / "runs" / run)
    assert first["training"]["max_length"] == 1024
    assert second["training"]["max_length"] == 512
    shown = client.request(Show(id=0, run=run))
    assert (shown["spec"], shown["summary"]["kind"]) == (second, "QLoRA 4-bit")
    assert json.loads((hosts.home / "runs" / run / "run.json").read_text())["spec"] == first
    # What was changed holds for another host too, and for what is changed after it.
    hosts.processes[-1].kill()
    hosts.processes[-1].wait()
    hosts.start()
    client = hosts.connect()
    wait_for_state(client, run)
    seq = records[-1].seq
    resume_run(client, run, {"training.max_length": 256})
    records_to_done(run, seq)
    third = job_specs(hosts.home / "runs" / run)[-1]
    assert third == {**second, "training": {**second["training"], "max_length": 256}}


def test_a_patch_that_makes_no_sense_changes_nothing(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "segfault", at=8)
    seq = done_of(records_to_done(run)).seq
    with pytest.raises(Refused, match="cannot go on") as refused:
        resume_run(client, run, {"training.max_length": 1, "training.nothing": 1})
    fields = [complaint.field for complaint in refused.value.complaints]
    assert fields == ["training.nothing", "training.max_length"]
    assert summary_of(client, run).state == State.FAILED
    resume_run(client, run)
    records_to_done(run, seq)
    first, second = job_specs(hosts.home / "runs" / run)
    assert first == second


def test_a_damaged_save_is_set_aside_and_said_to_be(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "exit", at=12)
    seq = done_of(records_to_done(run)).seq
    newest = hosts.home / "runs" / run / "checkpoints" / "step-00000010" / "adapter.safetensors"
    newest.write_bytes(b"other bytes, 10")
    assert resume_run(client, run)["step"] == 5
    records = records_to_done(run, seq)
    assert "step 10" in the(records, "checkpoint_broken").cause
    assert steps_of(records)[0] == 6


def test_a_workers_own_failure_is_taken_as_it_says(hosts: HostUnderTest) -> None:
    _client, run = begin(hosts, "fail")
    records = records_to_done(run)
    done = done_of(records)
    assert (done.outcome, done.sentence, done.synthesised) == ("failed", "No memory left.", False)
    assert the(records, "out_of_memory").step is None


def test_a_worker_that_cannot_be_started_fails_the_run(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_WORKER_COMMAND"] = json.dumps(["/nowhere/python"])
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    done = done_of(records_to_done(run))
    assert done.outcome == "failed"
    assert "could not be started" in done.sentence


def test_a_worker_that_never_gets_ready_is_ended(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_READY_SECONDS"] = "0.5"
    _client, run = begin(hosts, "unready")
    records = records_to_done(run)
    assert done_of(records).outcome == "failed"
    assert the(records, "worker_not_ready").title == "The worker was not ready within 0 s."


def test_a_worker_that_does_not_end_after_its_done_is_ended(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_EXIT_SECONDS"] = "0.5"
    client, run = begin(hosts, "linger", steps=3)
    second = start_run(client, hosts.spec("second"))
    assert done_of(records_to_done(run)).outcome == "finished"
    assert done_of(records_to_done(second)).outcome == "finished"


def test_a_silent_worker_is_mentioned_and_can_be_stopped(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_MUTE_SECONDS"] = "0.3"
    client, run = begin(hosts, "mute", at=7)
    for message in messages_of(run):
        if isinstance(message, Finding):
            assert message.code == "worker_silent"
            break
    assert summary_of(client, run).state == State.TRAINING
    client.request(Stop(id=0, run=run, now=True))
    done = done_of(records_to_done(run))
    assert (done.outcome, done.exit_code) == ("stopped", -9)
    assert done.sentence == "Stopped at once. 2 steps after the last save are lost."


# ---------------------------------------------------------------- stop, save, remove


def test_stop_saves_and_ends(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=5000)
    wait_for_step(client, run, 7)
    client.request(Stop(id=0, run=run))
    client.request(Stop(id=0, run=run))
    records = records_to_done(run)
    done = done_of(records)
    saves = [record for record in records if isinstance(record, CheckpointSaved)]
    assert (done.outcome, done.step) == ("stopped", saves[-1].step)
    assert summary_of(client, run).state == State.STOPPED
    client.request(Stop(id=0, run=run))
    assert resume_run(client, run)["step"] == done.step


def test_stop_now_leaves_no_process(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "deaf", steps=5000)
    wait_for_step(client, run, 7)
    client.request(Stop(id=0, run=run))
    assert wait_for_state(client, run, State.STOPPING)
    client.request(Stop(id=0, run=run, now=True))
    assert done_of(records_to_done(run)).outcome == "stopped"
    host = psutil.Process(hosts.processes[-1].pid)
    until(lambda: not host.children(recursive=True), "the worker is gone")


def test_a_deaf_worker_is_ended_after_its_grace(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_STOP_GRACE_SECONDS"] = "0.5"
    client, run = begin(hosts, "deaf", steps=5000)
    wait_for_step(client, run, 7)
    client.request(Stop(id=0, run=run))
    records = records_to_done(run)
    assert done_of(records).outcome == "stopped"
    assert the(records, "worker_deaf")
    assert summary_of(client, run).state == State.STOPPED


def test_a_run_is_stopped_before_its_worker_is_ready(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "unready")
    wait_for_state(client, run, State.STARTING)
    client.request(Stop(id=0, run=run))
    assert done_of(records_to_done(run)).outcome == "stopped"


def test_save_now_saves_and_goes_on(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=5000, save=0)
    wait_for_step(client, run, 3)
    client.request(SaveCheckpoint(id=0, run=run))
    for message in messages_of(run):
        if isinstance(message, CheckpointSaved):
            assert message.reason == "asked"
            break
    wait_for_step(client, run, message.step + 3)
    assert summary_of(client, run).checkpoints == 1


def test_a_record_of_the_phase_is_what_the_summary_says(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=5000)
    for message in messages_of(run):
        if isinstance(message, PhaseChanged) and message.max_steps:
            break
    summary = summary_of(client, run)
    assert (summary.max_steps, summary.phase) == (5000, message.phase)


def test_runs_wait_for_each_other_in_order(hosts: HostUnderTest) -> None:
    client, first = begin(hosts, "normal", steps=5000)
    second, third = (start_run(client, hosts.spec(name)) for name in ("second", "third"))
    wait_for_step(client, first, 1)
    assert summary_of(client, second).queue_place == 1
    assert summary_of(client, third).queue_place == 2
    listed = [run["run"] for run in client.request(ListRuns(id=0))["runs"]]
    assert listed == [third, second, first]
    client.request(Stop(id=0, run=second))
    assert done_of(records_to_done(second)).sentence == "Stopped before it began."
    assert summary_of(client, third).queue_place == 1
    client.request(Stop(id=0, run=first))
    wait_for_step(client, third, 2)
    client.request(Stop(id=0, run=third, now=True))
    wait_for_state(client, third)


def test_only_a_run_at_rest_is_removed(hosts: HostUnderTest) -> None:
    client, run = begin(hosts, "normal", steps=5000)
    wait_for_step(client, run, 1)
    with pytest.raises(Refused, match="Stop it first") as refused:
        client.request(Remove(id=0, run=run))
    assert refused.value.code == "wrong_state"
    client.request(Stop(id=0, run=run))
    wait_for_state(client, run)
    client.request(Remove(id=0, run=run))
    assert client.request(ListRuns(id=0)) == {"runs": []}
    assert not (hosts.home / "runs" / run).exists()
    until(lambda: not list((hosts.home / "runs").iterdir()), "its files are deleted")


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (SaveCheckpoint(id=0, run="last"), "nothing to save"),
        (Stop(id=0, run="nope"), "no run 'nope'"),
    ],
)
def test_what_cannot_be_done_is_refused(
    hosts: HostUnderTest, request_: SaveCheckpoint | Stop, sentence: str
) -> None:
    client, run = begin(hosts, "normal")
    records_to_done(run)
    with pytest.raises(Refused, match=sentence):
        client.request(request_)
    with pytest.raises(Refused, match="finished cannot resume"):
        resume_run(client, run)
