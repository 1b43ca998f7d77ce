"""The relay: the host's stream over the stdin and stdout of ``python -m engine attach``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import engine
from engine import client, paths
from engine.contract.messages import Hello, ListRuns, Message, Refusal, Reply
from engine.contract.wire import Garbage, LineReader, frame
from tests.e2e.host_driver import FAKE

ROOT = Path(__file__).parents[2]
CHEAP = {
    "FETTLE_IDLE_SECONDS": "20",
    # A window has an idle worker kept for it: not the real one, which takes seconds to import.
    "FETTLE_WORKER_COMMAND": json.dumps([sys.executable, "-S", "-E", str(FAKE), "normal"]),
}
HELLO = Hello(id=1, version=engine.__version__, token="", client="window")


class Relay:
    """A relay, and what came out of it."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", "attach"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self._reader = LineReader()
        self._came: list[Message | Garbage] = []

    def send(self, *messages: Message | bytes) -> None:
        self.stdin.write(b"".join(m if isinstance(m, bytes) else frame(m) for m in messages))
        self.stdin.flush()

    def next(self) -> Message | Garbage | None:
        """The next message; None at the end of the stream."""
        while not self._came:
            chunk = os.read(self.stdout.fileno(), 1 << 16)
            if not chunk:
                return None
            self._came += self._reader.feed(chunk)
        return self._came.pop(0)

    def end(self) -> int:
        self.stdin.close()
        code = self.process.wait(10)
        self.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay(**CHEAP)
    yield relay
    relay.process.kill()
    relay.end()


def host_pid() -> int:
    return int((paths.host_folder() / "lock").read_text(encoding="utf-8"))


def test_it_starts_the_host_and_fills_in_the_token(relay: Relay) -> None:
    relay.send(HELLO)
    answer = relay.next()
    assert isinstance(answer, Reply)
    assert answer.data["version"] == engine.__version__
    relay.send(ListRuns(id=2))
    assert relay.next() == Reply(to=2, data={"runs": []})
    assert relay.end() == 0


def test_what_comes_before_hello_and_in_one_piece_with_it(relay: Relay) -> None:
    """A shell's greeting is dropped, and requests that were sent along are not."""
    relay.send(b"Welcome to Ubuntu\n\n\xff\xfe\n", frame(HELLO) + frame(ListRuns(id=2)))
    assert [getattr(relay.next(), "to", None) for _ in range(2)] == [1, 2]


def test_a_line_that_comes_in_pieces(relay: Relay) -> None:
    line = frame(HELLO)
    for place in range(0, len(line), 7):
        relay.send(line[place : place + 7])
    assert isinstance(relay.next(), Reply)


def test_garbage_in_the_middle_does_not_end_it(relay: Relay) -> None:
    relay.send(HELLO, b"\x00garbage\n" * 3, ListRuns(id=2))
    assert [getattr(relay.next(), "to", None) for _ in range(2)] == [1, 2]


def test_it_ends_when_nobody_listens_any_more(relay: Relay) -> None:
    relay.send(HELLO)
    relay.next()
    relay.stdin.close()
    assert relay.process.wait(10) == 0


def test_it_ends_without_a_word_from_anybody(relay: Relay) -> None:
    assert relay.end() == 0
    assert not (paths.host_folder() / "lock").exists()


def test_it_ends_with_the_host(relay: Relay) -> None:
    relay.send(HELLO)
    relay.next()
    psutil.Process(host_pid()).kill()
    assert relay.next() is None
    assert relay.process.wait(10) == 0


def test_a_host_that_cannot_start_is_a_refusal_of_the_first_request() -> None:
    relay = Relay(FETTLE_IDLE_SECONDS="not a number")
    relay.send(HELLO)
    answer = relay.next()
    assert isinstance(answer, Refusal)
    assert (answer.to, answer.code) == (1, "no_host")
    assert "could not be started" in answer.sentence
    assert "FETTLE_IDLE_SECONDS" in answer.sentence
    assert relay.end() == 1


def test_two_relays_at_once_share_one_host() -> None:
    relays = [Relay(**CHEAP) for _ in range(4)]
    threads = [threading.Thread(target=relay.send, args=(HELLO,)) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [relay.next() for relay in relays]
    pids = {answer.data["pid"] for answer in answers if isinstance(answer, Reply)}
    assert len(answers) == 4
    assert pids == {host_pid()}
    assert [relay.end() for relay in relays] == [0] * 4


def test_the_clients_of_a_relay_and_of_the_socket_see_the_same(relay: Relay) -> None:
    relay.send(HELLO)
    answer = relay.next()
    assert isinstance(answer, Reply)
    with client.connect() as direct:
        assert direct.host["pid"] == answer.data["pid"]
