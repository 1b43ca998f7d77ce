"""The client over a real socket pair, with the other end played line by line."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import client as clients
from engine import paths, transport
from engine.client import Client, HostLost, Refused
from engine.contract.messages import (
    CaughtUp,
    Complaint,
    Heartbeat,
    ListRuns,
    Message,
    Refusal,
    Reply,
    Request,
)
from engine.contract.wire import Garbage, LineReader, frame
from engine.launch import HostFailed

if sys.platform == "win32":
    pytest.skip("plays the host on a Unix socket", allow_module_level=True)

Peer = tuple[Client, socket.socket]


@pytest.fixture
def peer() -> Iterator[Peer]:
    ours, theirs = socket.socketpair()
    client = Client(transport.SocketStream(ours))
    yield client, theirs
    client.close()
    theirs.close()


def heartbeat(at: float) -> bytes:
    return frame(Heartbeat(at=at))


def test_a_reply_gives_its_data(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(frame(Reply(to=1, data={"runs": []})))
    assert client.request(ListRuns(id=0)) == {"runs": []}
    assert theirs.recv(100) == b'{"type":"list_runs","id":1}\n'


def test_a_refusal_raises_with_all_complaints(peer: Peer) -> None:
    client, theirs = peer
    complaint = Complaint(field="name", problem="Missing.")
    theirs.sendall(frame(Refusal(to=1, sentence="No.", code="not_found", complaints=[complaint])))
    with pytest.raises(Refused, match=r"^No\.$") as refused:
        client.request(ListRuns(id=0))
    assert (refused.value.code, refused.value.complaints) == ("not_found", [complaint])


def test_pushed_messages_around_a_reply_keep_their_order(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(heartbeat(1) + heartbeat(2) + frame(Reply(to=1)) + heartbeat(3))
    client.request(ListRuns(id=0))
    theirs.sendall(heartbeat(4) + frame(Reply(to=2)) + heartbeat(5))
    client.request(ListRuns(id=0))
    times = [m.at for m in client.messages(0.05) if isinstance(m, Heartbeat)]
    assert times == [1, 2, 3, 4, 5]


def test_another_requests_answer_is_not_taken(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(frame(Reply(to=7, data={"wrong": 1})) + frame(Reply(to=1, data={"right": 1})))
    assert client.request(ListRuns(id=0)) == {"right": 1}


def test_garbage_is_skipped(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(b'\xff\n{"type":"of the future"}\nhello\n' + frame(Reply(to=1, data={"a": 1})))
    assert client.request(ListRuns(id=0)) == {"a": 1}


def test_a_host_that_ends_is_said_to(peer: Peer) -> None:
    client, theirs = peer
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(HostLost):
        client.request(ListRuns(id=0))
    with pytest.raises(HostLost):
        next(client.messages())


def test_a_host_that_is_mute_is_said_to_be(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(heartbeat(1))
    with pytest.raises(HostFailed, match="not answered"):
        client.request(ListRuns(id=0), timeout_s=0.05)
    assert [type(m) for m in client.messages(0.05)] == [Heartbeat]


def test_a_host_that_says_everything_but_the_answer_is_given_up(peer: Peer) -> None:
    client, theirs = peer
    ended = threading.Event()

    def chatter() -> None:
        while not ended.wait(0.005):
            theirs.sendall(heartbeat(1))

    talker = threading.Thread(target=chatter)
    talker.start()
    try:
        with pytest.raises(HostFailed, match="not answered"):
            client.request(ListRuns(id=0), timeout_s=0.2)
    finally:
        ended.set()
        talker.join()


def test_follow_gives_only_the_runs_own_messages(peer: Peer) -> None:
    client, theirs = peer
    theirs.sendall(
        frame(Reply(to=1, data={"run": "a"}))
        + frame(CaughtUp(run="b", seq=9))
        + frame(CaughtUp(run="a", seq=3))
    )
    assert next(client.follow("a")) == CaughtUp(run="a", seq=3)


# ---------------------------------------------------------------- connecting


class ScriptedHost:
    """Listens on the home's socket; ``answer`` gives the reply to each request, None ends it."""

    def __init__(self, answer: Callable[[Request], Message | None]) -> None:
        self.seen: list[Request] = []
        self._answer = answer
        address = Path(paths.socket_address())
        address.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(address))
        self._listener.listen()
        self._address = address
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        reader = LineReader()
        while chunk := connection.recv(1 << 16):
            for message in reader.feed(chunk):
                assert not isinstance(message, Garbage)
                assert isinstance(message, Request)
                self.seen.append(message)
                reply = self._answer(message)
                if reply is None:
                    self.close()
                    return
                connection.sendall(frame(reply))

    def close(self) -> None:
        self._address.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FETTLE_HOME", str(tmp_path))
    return tmp_path


def test_hello_carries_the_token_and_the_version(home: Path) -> None:
    reply = {"version": clients.engine.__version__, "protocol": 1, "pid": 1, "busy": False}
    host = ScriptedHost(lambda request: Reply(to=request.id, data=reply))
    paths.token_file().write_text("sesame\n", encoding="utf-8")
    with clients.connect("cli") as client:
        assert client.host == reply
    [hello] = host.seen
    assert (hello.token, hello.version, hello.client) == ("sesame", reply["version"], "cli")  # type: ignore[attr-defined]
    host.close()


def test_a_busy_host_of_another_version_stays(home: Path) -> None:
    def answer(request: Request) -> Message:
        if isinstance(request, ListRuns):
            raise AssertionError
        if type(request).__name__ == "Leave":
            return Refusal(to=request.id, sentence="A run is on.", code="busy")
        return Reply(to=request.id, data={"version": "0.0.9", "protocol": 1, "busy": True})

    host = ScriptedHost(answer)
    with pytest.raises(Refused, match=r"Fettle 0\.0\.9 is training") as refused:
        clients.connect()
    assert refused.value.code == "version"
    assert [type(m).__name__ for m in host.seen] == ["Hello", "Leave"]
    host.close()


def test_an_idle_host_of_another_version_makes_way(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves, and the next attempt starts one: here one that cannot be started."""
    host = ScriptedHost(
        lambda request: (
            Refusal(to=request.id, sentence="Other protocol.", code="version")
            if type(request).__name__ == "Hello"
            else None
        )
    )
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HostFailed, match="could not be started"):
        clients.connect()
    assert [type(m).__name__ for m in host.seen] == ["Hello", "Leave"]


def test_a_host_that_cannot_start_shows_the_end_of_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = home / "python"
    broken.write_text("#!/bin/sh\necho 'no such module: engine' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    began = time.monotonic()
    with pytest.raises(HostFailed, match="no such module: engine"):
        clients.connect()
    assert time.monotonic() - began < 5


def test_a_host_that_never_listens_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = home / "python"
    broken.write_text("#!/bin/sh\nexec sleep 2\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(HostFailed, match=r"does not answer\. It wrote nothing"):
        clients.connect(timeout_s=0.3)


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "file"
    taken.write_text("", encoding="utf-8")
    monkeypatch.setenv("FETTLE_HOME", str(taken))
    with pytest.raises(HostFailed, match="FETTLE_HOME"):
        clients.connect()
