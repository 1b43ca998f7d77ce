"""The life of a host: one a home, started by anybody, gone when idle; what comes after a crash."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

import engine
from engine import paths
from engine.client import HostLost, Refused, read_token
from engine.contract.lifecycle import State
from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Finding,
    Hello,
    Leave,
    ListRuns,
    Message,
    Record,
    Refusal,
    Reply,
    Request,
    StateChanged,
    Stop,
    Warm,
)
from engine.contract.wire import LineReader, frame
from engine.store.records import read_records
from tests.allowance import is_within
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


def log_of(hosts: HostUnderTest) -> str:
    return (hosts.home / "host" / "host.log").read_text()


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    """Ended; whether somebody has asked for its exit code does not matter."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---------------------------------------------------------------- one host


def test_of_eight_started_at_once_one_stays(hosts: HostUnderTest) -> None:
    started = [hosts.start() for _ in range(8)]
    client = hosts.connect()
    until(lambda: sum(p.poll() is None for p in started) == 1, "seven have left")
    assert sorted(p.poll() or 0 for p in started) == [0] * 8
    (stayed,) = [p for p in started if p.poll() is None]
    assert client.host["pid"] == stayed.pid
    assert client.request(ListRuns(id=0)) == {"runs": []}


def test_what_a_killed_host_left_is_no_obstacle(hosts: HostUnderTest) -> None:
    first = hosts.start()
    hosts.connect()
    first.kill()
    first.wait()
    assert Path(paths.socket_address()).exists()
    second = hosts.start()
    assert hosts.connect().host["pid"] == second.pid


def test_an_idle_host_leaves_without_a_trace(hosts: HostUnderTest) -> None:
    process = hosts.start(FETTLE_IDLE_SECONDS="0.5")
    client = hosts.connect()
    time.sleep(1.0)
    assert process.poll() is None, "a client is still there"
    client.close()
    assert process.wait(10) == 0
    assert not Path(paths.socket_address()).exists()


def test_a_host_with_a_run_is_not_idle(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=150)
    process = hosts.start(FETTLE_IDLE_SECONDS="0.3")
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    client.close()
    assert process.wait(30) == 0
    records = list(read_records(hosts.home / "runs" / run))
    assert isinstance(records[-1], Done)
    assert records[-1].outcome == "finished"


def test_a_home_that_cannot_be_used_is_said(hosts: HostUnderTest) -> None:
    (hosts.home / "host").write_text("in the way")
    process = hosts.start()
    assert process.wait(10) == 1
    text = (hosts.home / "host-under-test.log").read_text()
    assert "The host cannot start" in text
    assert "Traceback" not in text


def test_a_setting_that_is_no_number_is_said(hosts: HostUnderTest) -> None:
    assert hosts.start(FETTLE_IDLE_SECONDS="soon").wait(10) == 1
    text = (hosts.home / "host-under-test.log").read_text()
    assert "FETTLE_IDLE_SECONDS='soon'" in text


def _lengthen(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"a line\n" * 800_000 + b"the newest line\n")


def test_a_long_log_is_shortened_by_the_host_that_writes_it(hosts: HostUnderTest) -> None:
    log = hosts.home / "host" / "host.log"
    log.parent.mkdir(mode=0o700)
    _lengthen(log)
    hosts.start()
    hosts.connect()
    assert "a line" not in log_of(hosts)
    assert "Listening" in log_of(hosts)
    assert log.with_name("host.log.1").read_text().endswith("the newest line\n")
    log.with_name("host.log.1").unlink()
    _lengthen(log)
    assert hosts.start().wait(20) == 0
    assert not log.with_name("host.log.1").exists()
    assert "Listening" in log_of(hosts)


def test_a_log_that_cannot_be_shortened_keeps_no_host_from_starting(hosts: HostUnderTest) -> None:
    log = hosts.home / "host" / "host.log"
    log.with_name("host.log.1").mkdir(parents=True)
    _lengthen(log)
    process = hosts.start()
    assert hosts.connect().host["pid"] == process.pid
    assert "cannot be shortened" in log_of(hosts)


# ---------------------------------------------------------------- who may connect


class Stranger:
    """Talks to the socket line by line, without the manners of the client library."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(paths.socket_address())
        self.socket.settimeout(10)
        self._reader = LineReader()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self) -> list[Message]:
        """What comes next; empty when the host has hung up."""
        while chunk := self.socket.recv(1 << 16):
            found = self._reader.feed(chunk)
            if found:
                return [m for m in found if isinstance(m, Message)]
        return []

    def ask(self, request: Request) -> Message:
        self.say(frame(request))
        (answer,) = self.hear()
        return answer


@pytest.fixture
def stranger(hosts: HostUnderTest) -> Iterator[Stranger]:
    hosts.start()
    hosts.connect()
    found = Stranger()
    yield found
    found.socket.close()


def test_a_wrong_token_is_refused_and_opens_nothing(stranger: Stranger) -> None:
    for token in ("", "wrong", read_token()[:-1], read_token() + "0"):
        answer = stranger.ask(Hello(id=4, version=engine.__version__, token=token))
        assert isinstance(answer, Refusal)
        assert (answer.to, answer.code) == (4, "token")
    answer = stranger.ask(ListRuns(id=5))
    assert isinstance(answer, Refusal)
    assert answer.code == "token"


def test_another_version_may_only_ask_an_idle_host_to_leave(
    hosts: HostUnderTest, stranger: Stranger
) -> None:
    answer = stranger.ask(Hello(id=1, version="9.9", token=read_token()))
    assert isinstance(answer, Refusal)
    assert (answer.code, "you are Fettle 9.9" in answer.sentence) == ("version", True)
    assert isinstance(stranger.ask(ListRuns(id=2)), Refusal)
    assert isinstance(stranger.ask(Leave(id=3)), Reply)
    assert hosts.processes[-1].wait(10) == 0


def test_another_protocol_is_refused_in_a_sentence(stranger: Stranger) -> None:
    hello = Hello(id=1, version=engine.__version__, token=read_token(), protocol=2)
    answer = stranger.ask(hello)
    assert isinstance(answer, Refusal)
    assert answer.code == "version"


def test_a_training_host_does_not_make_way(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    late = Stranger()
    answer = late.ask(Hello(id=1, version="9.9", token=read_token()))
    assert isinstance(answer, Refusal)
    assert "It is training" in answer.sentence
    answer = late.ask(Leave(id=3))
    late.socket.close()
    assert isinstance(answer, Refusal)
    assert answer.code == "busy"
    wait_for_step(client, run, 2)


def test_garbage_from_a_client_is_skipped(stranger: Stranger) -> None:
    hello = Hello(id=1, version=engine.__version__, token=read_token())
    stranger.say(b"GET / HTTP/1.1\r\n\r\n\x00\xff\n" + b"y" * (1 << 20) + b"zzz\n{}\n")
    assert isinstance(stranger.ask(hello), Reply)
    stranger.say(b'{"type":"list_runs","id":2,"new":"field"}\n{"type":"dance","id":3}\n')
    (answer,) = stranger.hear()
    assert isinstance(answer, Reply)
    assert answer.to == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to be somebody else")
def test_another_user_cannot_talk_to_the_host(hosts: HostUnderTest) -> None:
    hosts.start()
    hosts.connect()
    assert _as_nobody() == "PermissionError"
    # Even with every door open, the system's word on who it is decides.
    for path in (hosts.home, hosts.home / "host"):
        path.chmod(0o777)
    Path(paths.socket_address()).chmod(0o777)
    paths.token_file().chmod(0o666)
    assert _as_nobody() == "hung up"
    assert "another user" in log_of(hosts)


_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
s = socket.socket(socket.AF_UNIX); s.settimeout(10)
try:
    s.connect({address!r})
    s.sendall({hello!r})
    print("answered" if s.recv(100) else "hung up")
except OSError as error:
    print("hung up" if isinstance(error, ConnectionError) else type(error).__name__)
"""


def _as_nobody() -> str:
    nobody = pwd.getpwnam("nobody")
    hello = frame(Hello(id=1, version=engine.__version__, token=read_token()))
    script = _NOBODY.format(
        uid=nobody.pw_uid, gid=nobody.pw_gid, address=paths.socket_address(), hello=hello
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# ---------------------------------------------------------------- the end of a host


def _crash(hosts: HostUnderTest) -> None:
    hosts.processes[-1].kill()
    hosts.processes[-1].wait()


def test_after_a_crash_the_next_host_takes_what_the_worker_left(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000, save=0, saving_ms=300)
    first = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 7)
    (worker,) = workers_of(first)
    _crash(hosts)
    hosts.start()
    client = hosts.connect()
    # It asks while the worker may still be saving: the host answers all the same.
    assert summary_of(client, run).state in (State.TRAINING, State.INTERRUPTED)
    summary = wait_for_state(client, run)
    assert summary.state == State.INTERRUPTED
    assert is_gone(worker)
    records = records_to_done(run)
    steps = [r.step for r in records if r.__class__.__name__ == "Step"]
    assert steps == list(range(1, steps[-1] + 1))
    saves = [r for r in records if isinstance(r, CheckpointSaved)]
    assert (saves[-1].reason, saves[-1].step) == ("host_lost", steps[-1])
    assert [r.code for r in records if isinstance(r, Finding)] == ["host_lost"]
    assert not (hosts.home / "runs" / run / "orphan.jsonl").exists()
    assert resume_run(client, run)["step"] == steps[-1]


def test_a_crash_of_everything_is_marked_and_resumable(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    first = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 8)
    for process in [psutil.Process(first.pid), *workers_of(first)]:
        process.kill()
    first.wait()
    _tear(hosts.home / "runs" / run / "metrics.jsonl")
    hosts.start()
    client = hosts.connect()
    summary = wait_for_state(client, run)
    assert summary.state == State.INTERRUPTED
    assert "It can go on from step" in summary.sentence
    records = records_to_done(run)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.synthesised) == ("stopped", True)
    assert [r.code for r in records if isinstance(r, Finding)] == ["host_lost"]
    assert [r.seq for r in records] == sorted({r.seq for r in records})
    assert resume_run(client, run)["step"] >= 5


def _tear(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-20])


def test_an_orphan_that_does_not_end_is_ended(hosts: HostUnderTest) -> None:
    hosts.fake("mute", steps=5000, at=6)
    first = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 6)
    (worker,) = workers_of(first)
    _crash(hosts)
    hosts.start()
    client = hosts.connect()
    until(
        lambda: summary_of(client, run).sentence.startswith("Fettle's host had ended"),
        "it waits for the worker",
    )
    client.request(Stop(id=0, run=run, now=True))
    wait_for_state(client, run)
    assert is_gone(worker)


def test_the_queue_survives_its_host(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=40, ms=60)
    hosts.start()
    client = hosts.connect()
    runs = [start_run(client, hosts.spec(name)) for name in ("one", "two", "three")]
    wait_for_step(client, runs[0], 1)
    _crash(hosts)
    hosts.start()
    client = hosts.connect()
    assert wait_for_state(client, runs[1]).state == State.FINISHED
    assert wait_for_state(client, runs[2]).state == State.FINISHED
    assert summary_of(client, runs[0]).state == State.INTERRUPTED
    second, third = (_began(hosts, run) for run in runs[1:])
    assert second < third


def _began(hosts: HostUnderTest, run: str) -> float:
    """When the run's worker was launched."""
    records = read_records(hosts.home / "runs" / run)
    (at,) = [r.at for r in records if isinstance(r, StateChanged) and r.state is State.STARTING]
    return at


def test_a_run_found_waiting_is_launched_by_itself(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000, save=0)
    process = hosts.start()
    client = hosts.connect()
    run, waiting = (start_run(client, hosts.spec(name)) for name in ("a", "b"))
    wait_for_step(client, run, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert [type(r) for r in read_records(hosts.home / "runs" / waiting)] == [StateChanged]
    hosts.start()
    wait_for_step(hosts.connect(), waiting, 1)


def test_a_host_without_a_run_ends_at_once(hosts: HostUnderTest) -> None:
    process = hosts.start()
    window = hosts.connect("window")
    until(lambda: workers_of(process), "an idle worker")
    assert window.request(ListRuns(id=0)) == {"runs": []}
    process.send_signal(signal.SIGTERM)
    assert process.wait(3) == 0
    process = hosts.start()
    hosts.connect().request(Leave(id=0))
    assert process.wait(3) == 0


def test_a_host_that_ends_while_a_worker_starts_does_not_wait_for_it(hosts: HostUnderTest) -> None:
    hosts.fake("unready")
    process = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_state(client, run, State.STARTING)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    *_, done = read_records(hosts.home / "runs" / run)
    assert isinstance(done, Done)
    assert "The system ended Fettle" in done.sentence


def test_a_done_that_a_crash_swallowed_is_made_up_for(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=3)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    finished = wait_for_state(client, run)
    _crash(hosts)
    folder = hosts.home / "runs" / run
    *events, last = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    assert b'"done"' in last
    (folder / "events.jsonl").write_bytes(b"".join(events))
    hosts.start()
    done = records_to_done(run)[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.step, done.synthesised) == ("finished", 3, True)
    assert finished.ended_at
    assert abs(done.at - finished.ended_at) < 1
    _crash(hosts)
    hosts.start()
    hosts.connect()
    assert sum(isinstance(r, Done) for r in records_to_done(run)) == 1


def test_a_run_whose_history_cannot_be_opened_fails_and_says_why(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000, save=0)
    process = hosts.start()
    client = hosts.connect()
    run, waiting = (start_run(client, hosts.spec(name)) for name in ("a", "b"))
    wait_for_step(client, run, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    hosts.fake("normal", steps=2)
    hosts.start(FETTLE_FAILPOINTS="host.open:1=eio")
    client = hosts.connect()
    summary = wait_for_state(client, waiting)
    assert summary.state == State.FAILED
    assert "could not be started" in summary.sentence
    assert resume_run(client, waiting)["step"] == 0


def test_a_run_that_cannot_be_read_does_not_keep_the_host_from_starting(
    hosts: HostUnderTest,
) -> None:
    hosts.fake("normal", steps=3)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_state(client, run)
    _crash(hosts)
    journal = hosts.home / "runs" / run / "metrics.jsonl"
    journal.unlink()
    journal.mkdir()
    hosts.start()
    client = hosts.connect()
    assert client.request(ListRuns(id=0)) == {"runs": []}
    with pytest.raises(Refused, match="cannot be read"):
        summary_of(client, run)


def test_a_host_that_is_told_to_end_lets_its_worker_save(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000, save=0, saving_ms=200)
    process = hosts.start()
    client = hosts.connect()
    run, waiting = (start_run(client, hosts.spec(name)) for name in ("a", "b"))
    wait_for_step(client, run, 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    with pytest.raises(HostLost):
        list(client.messages(5))
    *_, saved, _, done = read_records(hosts.home / "runs" / run)
    assert isinstance(saved, CheckpointSaved)
    assert isinstance(done, Done)
    hosts.start()
    client = hosts.connect()
    assert summary_of(client, run).state == State.INTERRUPTED
    assert resume_run(client, run)["step"] == saved.step
    client.request(Stop(id=0, run=run))
    wait_for_step(client, waiting, 1)


def test_a_thousand_runs_are_listed_at_once(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=2)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec("model run"))
    records_to_done(run)
    wait_for_state(client, run)
    _crash(hosts)
    _copy_run(hosts.home / "runs", run, 1200)
    began = time.monotonic()
    hosts.start()
    client = hosts.connect()
    reply = client.request(ListRuns(id=0))
    seconds = time.monotonic() - began
    assert len(reply["runs"]) + reply.get("left_out", 0) == 1201
    assert len(reply["runs"]) > 1000
    assert seconds < 5


def _copy_run(store: Path, run: str, count: int) -> None:
    status = json.loads((store / run / "status.json").read_text())
    content = (store / run / "run.json").read_text()
    status["curve"]["points"] = [1.2345] * 60
    for number in range(count):
        folder = store / f"20250101-{number:06d}-copy"
        folder.mkdir()
        status["run"] = folder.name
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "run.json").write_text(content.replace(run, folder.name))


def test_a_run_of_a_newer_version_is_refused_in_a_sentence(hosts: HostUnderTest) -> None:
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    records_to_done(run)
    wait_for_state(client, run)
    _crash(hosts)
    folder = hosts.home / "runs" / run
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "format": 99}))
    hosts.start()
    client = hosts.connect()
    with pytest.raises(Refused, match="made by a newer Fettle"):
        summary_of(client, run)


# ---------------------------------------------------------------- the warm worker


def test_a_warm_worker_takes_the_next_run(hosts: HostUnderTest) -> None:
    process = hosts.start()
    client = hosts.connect()
    client.request(Warm(id=0))
    (idle,) = until(lambda: workers_of(process), "an idle worker")
    run = start_run(client, hosts.spec())
    records = records_to_done(run)
    assert f"fake worker {idle.pid} " in (hosts.home / "runs" / run / "worker.log").read_text()
    assert is_within(_seconds_to_load(records), 0.3)
    until(lambda: [w for w in workers_of(process) if w.pid != idle.pid], "the next idle worker")


def _seconds_to_load(records: list[Record]) -> float:
    times = {r.__class__.__name__ + getattr(r, "state", ""): r.at for r in reversed(records)}
    return times["PhaseChanged"] - times["StateChangedqueued"]


def test_a_window_keeps_a_worker_warm_and_takes_it_along(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_WARM_SECONDS"] = "0"
    process = hosts.start(FETTLE_IDLE_SECONDS="1")
    window = hosts.connect("window")
    (idle,) = until(lambda: workers_of(process), "an idle worker")
    window.close()
    until(lambda: is_gone(idle), "it is dropped")
    assert process.wait(10) == 0


def test_an_idle_worker_that_dies_is_not_made_again_and_again(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_WORKER_COMMAND"] = json.dumps(["/bin/false"])
    hosts.start(FETTLE_IDLE_SECONDS="1")
    client = hosts.connect()
    client.request(Warm(id=0))
    until(lambda: "ended by itself" in log_of(hosts), "the host noticed")
    time.sleep(1.0)
    assert log_of(hosts).count("started") == 1


def test_a_window_does_not_have_a_broken_worker_made_again_and_again(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_WORKER_COMMAND"] = json.dumps(["/bin/false"])
    hosts.start(FETTLE_IDLE_SECONDS="0.5")
    window = hosts.connect("window")
    until(lambda: "ended by itself" in log_of(hosts), "the host noticed")
    time.sleep(1.0)
    assert log_of(hosts).count("started") == 1
    window.request(Warm(id=0))
    until(lambda: log_of(hosts).count("started") == 2, "it is tried again when asked for")


def test_a_request_may_be_as_long_as_a_line(hosts: HostUnderTest) -> None:
    hosts.start()
    client = hosts.connect()
    spec = {**hosts.spec(), "name": "x" * 900_000}
    with pytest.raises(Refused) as refused:
        start_run(client, spec)
    assert [c.field for c in refused.value.complaints] == ["name"]
    assert len(msgspec.json.encode(refused.value.complaints)) < 10_000
