"""Following runs: every record once, whoever else follows, however slowly they read."""

from __future__ import annotations

import base64
import itertools
import socket
import struct
import threading
import time
from pathlib import Path

import psutil
import pytest

import engine
from engine import paths
from engine.client import read_token
from engine.contract.lifecycle import State
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Done,
    Follow,
    Hello,
    Message,
    Record,
    Remove,
    RunChanged,
    RunRemoved,
    Step,
    Stop,
    Telemetry,
    Unfollow,
    Watch,
)
from engine.contract.wire import LineReader, frame
from engine.store.journal import Journal
from engine.store.records import read_records
from tests.e2e.host_driver import (
    HostUnderTest,
    connect,
    messages_of,
    records_to_done,
    resume_run,
    start_run,
    summary_of,
    wait_for_state,
    wait_for_step,
)


def seqs(messages: list[Message]) -> list[int]:
    return [message.seq for message in messages if isinstance(message, Record)]


def test_clients_that_come_at_any_time_all_get_everything_once(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=400, ms=2, save=25)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    results: dict[int, list[Record]] = {}

    def follow(number: int, since: int) -> None:
        results[number] = records_to_done(run, since)

    threads = []
    for number in range(8):
        since = number * 20 if number % 2 else 0
        threads.append(threading.Thread(target=follow, args=(number, since)))
        threads[-1].start()
        wait_for_step(client, run, number * 40)
    for thread in threads:
        thread.join()
    whole = list(read_records(hosts.home / "runs" / run))
    assert len(results) == 8
    for number, records in results.items():
        since = number * 20 if number % 2 else 0
        assert records == [record for record in whole if record.seq > since]


def test_a_client_that_does_not_read_holds_up_nobody_and_misses_nothing(
    hosts: HostUnderTest,
) -> None:
    hosts.fake("flood", steps=60_000, save=0)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    host = psutil.Process(hosts.processes[-1].pid)
    lazy = _raw_follower(run)
    before = host.memory_info().rss
    wait_for_state(client, run, State.FINISHED)
    # 60 000 records are about 15 MB on the wire.
    assert host.memory_info().rss - before < 12 << 20
    newest = len(list(read_records(hosts.home / "runs" / run)))
    assert _read_to(lazy, newest) == list(range(1, newest + 1))
    lazy.close()


def _raw_follower(run: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(paths.socket_address())
    hello = Hello(id=1, version=engine.__version__, token=read_token())
    connection.sendall(frame(hello) + frame(Follow(id=2, run=run)))
    return connection


def _read_to(connection: socket.socket, newest: int) -> list[int]:
    reader, found = LineReader(), list[int]()
    connection.settimeout(30)
    while not found or found[-1] < newest:
        chunk = connection.recv(1 << 16)
        assert chunk, "the host hung up"
        found += [m.seq for m in reader.feed(chunk) if isinstance(m, Record)]
    return found


def test_the_border_between_past_and_present_is_told(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 20)
    past: list[Message] = []
    stream = messages_of(run, since=3)
    for message in stream:
        if isinstance(message, CaughtUp):
            break
        past.append(message)
    assert seqs(past) == list(range(4, message.seq + 1))
    live = list(itertools.islice((m for m in stream if isinstance(m, Record)), 10))
    assert seqs(list(live)) == list(range(message.seq + 1, message.seq + 11))


def test_a_run_at_rest_is_replayed_and_its_resume_is_seen(hosts: HostUnderTest) -> None:
    hosts.fake("exit", steps=10, at=7)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    first = records_to_done(run)
    stream = messages_of(run)
    again = list(itertools.takewhile(lambda m: not isinstance(m, CaughtUp), stream))
    assert again == first
    wait_for_state(client, run)
    resume_run(client, run)
    live = list(itertools.takewhile(lambda m: not isinstance(m, Done), stream))
    assert seqs(live) == list(range(first[-1].seq + 1, first[-1].seq + 1 + len(seqs(live))))
    assert any(isinstance(m, Step) and m.attempt == 2 for m in live)


def test_nothing_comes_after_unfollow(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    client.request(Follow(id=0, run=run))
    next(m for m in client.messages(10) if isinstance(m, Step))
    client.request(Unfollow(id=0, run=run))
    step = summary_of(client, run).step
    list(client.messages(0.05))  # What was on its way.
    wait_for_step(client, run, step + 20)
    assert list(client.messages(0.05)) == []


# ---------------------------------------------------------------- columns


def test_the_past_by_column_joins_the_present_without_a_gap(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=120)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 40)
    messages: list[Message] = []
    for message in messages_of(run, columns=True):
        messages.append(message)
        if isinstance(message, Done):
            break
    border = next(n for n, m in enumerate(messages) if isinstance(m, CaughtUp))
    steps = _column(messages[:border], "step", "step")
    assert len(steps) >= 40
    assert not [m for m in messages[:border] if isinstance(m, Step | Telemetry)]
    steps += [float(m.step) for m in messages[border:] if isinstance(m, Step)]
    assert steps == [float(n) for n in range(1, 121)]
    known = _column(messages[:border], "step", "seq") + _column(messages, "telemetry", "seq")
    assert sorted(known + seqs(messages)) == list(range(1, seqs(messages)[-1] + 1))


def _column(messages: list[Message], kind: str, name: str) -> list[float]:
    found: list[float] = []
    for piece in messages:
        if isinstance(piece, Columns) and piece.kind == kind:
            raw = base64.b64decode(piece.data[name])
            found += struct.unpack(f"<{len(raw) // 8}d", raw)
    return found


def _long_run(hosts: HostUnderTest, client_run: str, steps: int) -> None:
    """Give a run at rest a long past."""
    journal = Journal(hosts.home / "runs" / client_run, client_run)
    for n in range(1, steps + 1):
        journal.append(
            Step(at=1e9 + n, step=n, loss=1 / n, learning_rate=1e-4, step_ms=99.5, grad_norm=1.0)
        )
    journal.close()


@pytest.mark.slow
def test_a_million_steps_open_within_a_second_and_stall_nobody(hosts: HostUnderTest) -> None:
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    records_to_done(run)
    wait_for_state(client, run)
    _long_run(hosts, run, 1_000_000)
    followed = threading.Event()
    waits: list[float] = []

    def ask() -> None:
        with connect() as other:
            while not followed.is_set():
                began = time.monotonic()
                summary_of(other, run)
                waits.append(time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    seconds, bytes_ = _drain_columns(run)
    followed.set()
    asking.join()
    # Reading in Python beside the host; the figures without this test's own work are smaller.
    print(f"{bytes_ / 1e6:.0f} MB in {seconds:.2f} s, longest answer {max(waits) * 1000:.0f} ms")
    assert bytes_ > 50e6
    assert seconds < 5
    assert max(waits) < 0.5


def _drain_columns(run: str) -> tuple[float, int]:
    """Follow by column up to the border without decoding: seconds and bytes."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(paths.socket_address())
    connection.settimeout(60)
    hello = Hello(id=1, version=engine.__version__, token=read_token())
    began = time.monotonic()
    connection.sendall(frame(hello) + frame(Follow(id=2, run=run, columns=True)))
    size, tail = 0, b""
    while b'"caught_up"' not in tail:
        chunk = connection.recv(1 << 20)
        assert chunk
        size += len(chunk)
        tail = (tail + chunk)[-200:]
    connection.close()
    return time.monotonic() - began, size


# ---------------------------------------------------------------- watching


def test_watchers_hear_of_every_run_and_of_its_end(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=60)
    hosts.start()
    watcher, client = hosts.connect("window"), hosts.connect()
    watcher.request(Watch(id=0))
    run = start_run(client, hosts.spec())
    seen = []
    for message in watcher.messages(20):
        if isinstance(message, RunChanged):
            seen.append(message.summary)
            if message.summary.state == State.FINISHED and message.summary.output:
                break
    assert {s.state for s in seen} >= {State.TRAINING, State.FINISHED}
    assert seen[-1].step == 60
    # Newest wins: far fewer summaries than records.
    assert len(seen) < 40
    wait_for_state(client, run)
    client.request(Remove(id=0, run=run))
    assert any(m == RunRemoved(run=run) for m in watcher.messages(5))


def test_a_stopped_queue_moves_up_for_watchers(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    hosts.start()
    client, watcher = hosts.connect(), hosts.connect()
    first, second, third = (start_run(client, hosts.spec(name)) for name in "abc")
    watcher.request(Watch(id=0))
    client.request(Stop(id=0, run=second))
    places = (
        message.summary.queue_place
        for message in watcher.messages(5)
        if isinstance(message, RunChanged) and message.summary.run == third
    )
    assert next(places) == 1
    client.request(Stop(id=0, run=third))
    client.request(Stop(id=0, run=first, now=True))
    wait_for_state(client, first)


def test_the_socket_is_all_there_is(hosts: HostUnderTest) -> None:
    hosts.fake("normal", steps=5000)
    hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 1)
    root = psutil.Process(hosts.processes[-1].pid)
    family = [root, *root.children(recursive=True)]
    assert len(family) == 2
    assert not [c for p in family for c in p.net_connections(kind="inet")]
    folder = Path(paths.socket_address()).parent
    assert folder.stat().st_mode & 0o077 == 0
    assert Path(paths.socket_address()).stat().st_mode & 0o077 == 0
    assert paths.token_file().stat().st_mode & 0o077 == 0
