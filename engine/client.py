"""The way from any program to the host: find it or start it, ask, and listen.

Light and synchronous: sockets, :mod:`engine.contract`, nothing else. The command line and the tests
use it; the window has its own link over the same contract.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import engine
from engine import environment
from engine.contract.messages import (
    PROTOCOL,
    Complaint,
    Follow,
    Hello,
    Leave,
    Message,
    Refusal,
    Reply,
    Request,
)
from engine.contract.wire import Garbage, LineReader, frame
from engine.launch import (
    START_SECONDS,
    ClientError,
    HostFailed,
    log_file,
    log_tail,
    open_stream,
    read_token,
    start_host,
)
from engine.transport import Stream

__all__ = [
    "START_SECONDS",
    "Client",
    "ClientError",
    "HostFailed",
    "HostLost",
    "Refused",
    "connect",
    "connect_to_train",
    "log_file",
    "open_stream",
    "read_token",
    "start_host",
]


_TRIES = 3
"""Hosts that are asked to make way: an open window may be the one that starts the next."""


class Refused(ClientError):
    """The host did not do what was asked, and changed nothing."""

    def __init__(
        self, sentence: str, complaints: list[Complaint] | None = None, code: str = "bad_input"
    ) -> None:
        super().__init__(sentence)
        self.complaints = complaints or []
        self.code = code


class HostLost(ClientError):
    """The host ended while it was needed."""


class Client:
    """One connection to the host. Use :func:`connect` to get one that has been greeted."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = LineReader()
        self._ids = itertools.count(1)
        self._pushed: deque[Message] = deque()
        self.host: dict[str, Any] = {}
        """What the host answered to Hello: version, protocol, pid, busy, environment."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Runs go on."""
        self._stream.close()

    def greet(self, client: str, timeout_s: float = START_SECONDS) -> None:
        """Say Hello with the token of this home. Raises :class:`Refused`, :class:`HostLost`."""
        hello = Hello(id=0, version=engine.__version__, token=read_token(), client=client)
        self.host = self.request(hello, timeout_s)

    def request(self, message: Request, timeout_s: float | None = None) -> dict[str, Any]:
        """Send a request (its ``id`` is given here) and return the reply's data.

        What the host pushes meanwhile is kept for :meth:`messages`. Raises :class:`Refused`,
        :class:`HostLost`, and :class:`HostFailed` if no answer came in time.
        """
        number = next(self._ids)
        self._send(msgspec.structs.replace(message, id=number))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        passed: list[Message] = []
        try:
            for answer in self._receive(deadline):
                if isinstance(answer, Refusal) and answer.to == number:
                    raise Refused(answer.sentence, answer.complaints, answer.code)
                if isinstance(answer, Reply) and answer.to == number:
                    return answer.data
                passed.append(answer)
        except TimeoutError:
            raise HostFailed(
                f"The host has not answered within {timeout_s:.0f} s. See {log_file()}."
            ) from None
        finally:
            self._pushed.extendleft(reversed(passed))
        raise HostLost("The host ended before it answered.")

    def messages(self, timeout_s: float | None = None) -> Iterator[Message]:
        """What the host sends on its own, until it ends (then :class:`HostLost` is raised).

        With ``timeout_s``, stops after that long without a message.
        """
        while True:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            try:
                message = next(self._receive(deadline), None)
            except TimeoutError:
                return
            if message is None:
                raise HostLost("The host ended.")
            yield message

    def follow(self, run: str, since: int = 0) -> Iterator[Message]:
        """Every record of the run with ``seq > since``, CaughtUp, then live ones, without end."""
        followed = self.request(Follow(id=0, run=run, since=since))
        for message in self.messages():
            if getattr(message, "run", "") == followed["run"]:
                yield message

    def _send(self, message: Message) -> None:
        try:
            self._stream.write(frame(message))
        except OSError:
            raise HostLost("The host has ended.") from None

    def _receive(self, deadline: float | None) -> Iterator[Message]:
        """Messages in order; ends with the stream. Raises ``TimeoutError`` at the deadline."""
        while True:
            while self._pushed:
                yield self._pushed.popleft()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            chunk = self._stream.read(left)
            if not chunk:
                return
            found = self._reader.feed(chunk)
            self._pushed.extend(m for m in found if not isinstance(m, Garbage))


def connect(client: str = "cli", timeout_s: float = START_SECONDS) -> Client:
    """A greeted connection to the host of this home; starts the host if nobody answers.

    A host of another version makes way if it is idle. Raises :class:`HostFailed` or
    :class:`Refused`, both with a sentence.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = Client(open_stream(deadline))
        kept = False
        try:
            kept = _is_ours(found, client)
        except HostLost:
            # It was on its way out; the next one answers.
            if time.monotonic() > deadline:
                raise HostFailed(f"The host ends as soon as it starts. {log_tail()}") from None
        finally:
            if not kept:
                found.close()
        if kept:
            return found
        time.sleep(0.05)


def _is_ours(found: Client, client: str) -> bool:
    """Whether the host is of our version; False after one of another version was told to leave."""
    try:
        found.greet(client)
        theirs = str(found.host.get("version"))
    except Refused as refused:
        if refused.code != "version":
            raise
        theirs = "another version"
    if theirs == engine.__version__ and found.host.get("protocol") == PROTOCOL:
        return True
    try:
        found.request(Leave(id=0), START_SECONDS)
    except Refused:
        raise Refused(
            f"Fettle {theirs} is training, and this is Fettle {engine.__version__}. Wait until its "
            "runs have ended, or stop them with that version.",
            code="version",
        ) from None
    _wait_until_gone(found)
    return False


def connect_to_train(warn: Callable[[str], None]) -> Client:
    """As :func:`connect`, to a host with the settings of our environment, which runs take from it.

    One with others makes way if it is idle. One that trains is kept, and ``warn`` gets a sentence
    that says which settings it has.
    """
    client = connect()
    for _ in range(_TRIES):
        if not _others(client) or not _makes_way(client):
            break
        client = connect()
    if others := _others(client):
        warn(f"The host is busy and has other settings, which this run gets as well: {others}.")
    return client


def _others(client: Client) -> str:
    return environment.differences(client.host.get("environment", {}))


def _makes_way(client: Client) -> bool:
    """Whether the host has left; our connection to it is closed then."""
    try:
        client.request(Leave(id=0), START_SECONDS)
        _wait_until_gone(client)
    except Refused:
        return False
    except HostLost:
        pass
    client.close()
    return True


def _wait_until_gone(client: Client) -> None:
    """Raises :class:`HostLost` when it is."""
    for _ in client.messages(START_SECONDS):
        pass
