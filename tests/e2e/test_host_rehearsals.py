"""Rehearsals and the host: one at a time, never beside a run, and nothing is left of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from engine import paths
from engine.client import Client, Refused
from engine.contract.lifecycle import State
from engine.contract.messages import Message, Rehearse, Rehearsed, Step, Stop, StopRehearsal
from engine.host.worker import is_alive
from tests.e2e.host_driver import (
    PATIENCE_SECONDS,
    HostUnderTest,
    start_run,
    until,
    wait_for_state,
)

FOREVER = {"steps": 100_000, "save": 0}


def _begin(client: Client, spec: dict[str, Any]) -> str:
    return str(client.request(Rehearse(id=0, spec=spec))["rehearsal"])


def _hear(client: Client, name: str, wanted: Callable[[Message], bool]) -> Message:
    for message in client.messages(PATIENCE_SECONDS):
        assert getattr(message, "run", name) == name
        if wanted(message):
            return message
    raise AssertionError(f"nothing came within {PATIENCE_SECONDS} s")


def _end(client: Client, name: str) -> Rehearsed:
    found = _hear(client, name, lambda message: isinstance(message, Rehearsed))
    assert isinstance(found, Rehearsed)
    return found


def _is_step(message: Message) -> bool:
    return isinstance(message, Step)


def _worker_of(name: str) -> tuple[int, float]:
    known = msgspec.json.decode((paths.rehearsals() / name / "worker.json").read_bytes())
    return known["pid"], known["started_at"]


def _is_clean(hosts: HostUnderTest) -> bool:
    """Nothing of any rehearsal is in the home, and no run."""
    return not paths.rehearsals().exists() and not list(paths.store().glob("*"))


def _must_be_clean(hosts: HostUnderTest) -> None:
    until(lambda: _is_clean(hosts), "nothing is left")


def test_it_is_stopped_and_nothing_is_left(hosts: HostUnderTest) -> None:
    hosts.fake("slow", **FOREVER)
    hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    pid = _worker_of(name)
    client.request(StopRehearsal(id=0, rehearsal=name))
    assert _end(client, name).verdict == "stopped"
    assert not is_alive(*pid)
    _must_be_clean(hosts)
    with pytest.raises(Refused, match="ended already"):
        client.request(StopRehearsal(id=0, rehearsal=name))


def test_it_ends_with_its_client(hosts: HostUnderTest) -> None:
    hosts.fake("slow", **FOREVER)
    hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    pid = _worker_of(name)
    client.close()
    until(lambda: not is_alive(*pid), "the worker is gone")
    _must_be_clean(hosts)
    # And the next one may come.
    other = hosts.connect()
    second = until(lambda: _try(other, hosts.spec()), "the card is free")
    other.request(StopRehearsal(id=0, rehearsal=second))
    assert _end(other, second).verdict == "stopped"


def _try(client: Client, spec: dict[str, Any]) -> str:
    try:
        return _begin(client, spec)
    except Refused:
        return ""


def test_only_one_spec_is_tried_and_a_run_waits_for_it(hosts: HostUnderTest) -> None:
    hosts.fake("slow", **FOREVER)
    hosts.start()
    client, other = hosts.connect(), hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    with pytest.raises(Refused, match="Another spec is tried") as caught:
        _begin(other, hosts.spec())
    assert caught.value.code == "busy"
    run = start_run(other, hosts.spec())
    assert wait_for_state(other, run, State.QUEUED).queue_place == 1
    client.request(StopRehearsal(id=0, rehearsal=name))
    assert _end(client, name).verdict == "stopped"
    wait_for_state(other, run, State.TRAINING)
    with pytest.raises(Refused, match="A run trains or waits") as caught:
        _begin(client, hosts.spec())
    assert caught.value.code == "busy"
    other.request(Stop(id=0, run=run, now=True))
    wait_for_state(other, run)


def test_a_run_that_has_ended_is_waited_for_while_its_worker_goes(hosts: HostUnderTest) -> None:
    hosts.environment["FETTLE_EXIT_SECONDS"] = "3"
    hosts.fake("linger", steps=3, save=0)
    hosts.start()
    client = hosts.connect()
    wait_for_state(client, start_run(client, hosts.spec()), State.FINISHED)
    name = _begin(client, hosts.spec())
    with pytest.raises(Refused, match="Another spec is tried"):
        _begin(client, hosts.spec())
    client.request(StopRehearsal(id=0, rehearsal=name))
    assert _end(client, name).verdict == "stopped"


def test_a_run_that_waits_for_it_can_be_stopped(hosts: HostUnderTest) -> None:
    hosts.fake("slow", **FOREVER)
    hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    with hosts.connect() as other:
        run = start_run(other, hosts.spec())
        other.request(Stop(id=0, run=run))
        assert wait_for_state(other, run).state is State.STOPPED
    client.request(StopRehearsal(id=0, rehearsal=name))
    assert _end(client, name).verdict == "stopped"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals")
def test_a_killed_worker_tells_where_it_would_have_died(hosts: HostUnderTest) -> None:
    hosts.fake("slow", **FOREVER)
    hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    os.kill(_worker_of(name)[0], signal.SIGKILL)
    found = _end(client, name)
    assert found.verdict == "would_die"
    assert found.sentence.startswith("It would have died in the first step: the system ended")
    assert "(RAM) ran out" in found.sentence
    _must_be_clean(hosts)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("segfault", "a library crashed"),
        ("exit", "without a word (exit code 7)"),
        ("fail", "It would have died: out of VRAM in the first step."),
    ],
)
def test_a_worker_that_breaks_is_a_verdict(hosts: HostUnderTest, mode: str, sentence: str) -> None:
    hosts.fake(mode, at=2)
    hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    found = _end(client, name)
    assert found.verdict == "would_die"
    assert sentence in found.sentence
    assert [finding.code for finding in found.findings] == (
        ["out_of_memory"] if mode == "fail" else []
    )
    _must_be_clean(hosts)


def test_what_a_killed_host_left_is_removed_by_the_next(hosts: HostUnderTest) -> None:
    hosts.fake("mute", at=1)
    first = hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    pid, started_at = _worker_of(name)
    first.kill()
    first.wait()
    assert psutil.pid_exists(pid)
    assert (paths.rehearsals() / name).is_dir()
    hosts.start()
    hosts.connect()
    until(lambda: not is_alive(pid, started_at), "the worker is gone")
    _must_be_clean(hosts)


def test_a_host_that_is_told_to_end_leaves_nothing(hosts: HostUnderTest) -> None:
    hosts.fake("mute", at=1)
    host = hosts.start()
    client = hosts.connect()
    name = _begin(client, hosts.spec())
    _hear(client, name, _is_step)
    pid = _worker_of(name)
    host.terminate()
    host.wait(PATIENCE_SECONDS)
    assert not is_alive(*pid)
    assert _is_clean(hosts)


def test_a_bad_spec_is_refused_with_all_complaints(hosts: HostUnderTest) -> None:
    hosts.start()
    client = hosts.connect()
    spec = {**hosts.spec(), "dataset": {"path": "/nowhere"}, "model": {"path": "/nowhere/model"}}
    with pytest.raises(Refused) as caught:
        _begin(client, spec)
    assert {c.field for c in caught.value.complaints} == {"dataset.path", "model.path"}
    assert not Path(paths.rehearsals()).exists()
