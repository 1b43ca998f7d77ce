"""A stand-in for the host that speaks the contract over a real local socket.

It answers what the link asks and sends what a test tells it to; it decides nothing. The real host
is used by the end-to-end tests.
"""

from __future__ import annotations

import base64
from array import array
from typing import Any

from PySide6.QtCore import QObject
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from engine import __version__, paths
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Follow,
    Hello,
    Message,
    PhaseChanged,
    Record,
    Refusal,
    Reply,
    Request,
    Step,
)
from engine.contract.wire import Garbage, LineReader, frame


def step(run: str, seq: int) -> Step:
    return Step(run=run, seq=seq, at=float(seq), step=seq, loss=1.0, learning_rate=1e-4, step_ms=5)


def event(run: str, seq: int) -> PhaseChanged:
    return PhaseChanged(run=run, seq=seq, at=float(seq), phase="saving")


def columns(run: str, seqs: list[int]) -> Columns:
    packed = base64.b64encode(array("d", seqs).tobytes()).decode()
    return Columns(run=run, kind="step", data={"seq": packed, "step": packed})


class HostDouble(QObject):
    """Listens at this home's address. ``journal`` is what a Follow replays."""

    def __init__(self) -> None:
        super().__init__()
        self.version = __version__
        self.greeting: Refusal | None = None
        self.replies: dict[str, dict[str, Any] | Refusal] = {}
        """Type of a request (``start``) to its answer; else an empty reply."""
        self.mute: set[str] = set()
        """Types of requests that get no answer."""
        self.requests: list[Request] = []
        self.journal: list[Record] = []
        self.sockets: list[QLocalSocket] = []
        self.cut_after: int | None = None
        """End the connection after so many replayed messages of the next Follow."""
        self._server = QLocalServer(self)
        self._server.newConnection.connect(self._on_connection)

    def listen(self) -> None:
        paths.host_folder().mkdir(parents=True, exist_ok=True)
        paths.token_file().write_text("secret")
        QLocalServer.removeServer(paths.socket_address())
        assert self._server.listen(paths.socket_address()), self._server.errorString()

    def stop(self) -> None:
        self._server.close()
        self.drop()

    def drop(self) -> None:
        """End all connections; new ones are taken."""
        for socket in self.sockets:
            socket.disconnectFromServer()
        self.sockets = []

    def send(self, *messages: Message) -> None:
        for socket in self.sockets:
            for message in messages:
                socket.write(frame(message))

    def send_raw(self, raw: bytes) -> None:
        for socket in self.sockets:
            socket.write(raw)

    def asked(self, kind: type[Request]) -> list[Any]:
        return [request for request in self.requests if isinstance(request, kind)]

    def _on_connection(self) -> None:
        socket = self._server.nextPendingConnection()
        reader = LineReader()
        self.sockets.append(socket)

        def on_ready() -> None:
            for message in reader.feed(bytes(socket.readAll().data())):
                assert not isinstance(message, Garbage)
                self._on_request(socket, message)

        socket.readyRead.connect(on_ready)

    def _on_request(self, socket: QLocalSocket, request: Message) -> None:
        assert isinstance(request, Request)
        self.requests.append(request)
        if request.__struct_config__.tag in self.mute:
            return
        answer = self.replies.get(request.__struct_config__.tag, {})
        if isinstance(request, Hello):
            assert request.token == "secret"
            answer = self.greeting or {"version": self.version, "protocol": 1, "pid": 1}
        if isinstance(answer, Refusal):
            socket.write(
                frame(
                    Refusal(
                        to=request.id,
                        sentence=answer.sentence,
                        code=answer.code,
                        complaints=answer.complaints,
                    )
                )
            )
            return
        if isinstance(request, Follow):
            answer = {"seq": self._newest, **answer}
        socket.write(frame(Reply(to=request.id, data=answer)))
        if isinstance(request, Follow):
            self._replay(socket, request)

    @property
    def _newest(self) -> int:
        return max((r.seq for r in self.journal), default=0)

    def _replay(self, socket: QLocalSocket, request: Follow) -> None:
        past = [r for r in self.journal if r.run == request.run and r.seq > request.since]
        steps = [r.seq for r in past if isinstance(r, Step)]
        messages: list[Message] = [r for r in past if not isinstance(r, Step)]
        messages += [columns(request.run, steps[i : i + 3]) for i in range(0, len(steps), 3)]
        messages.append(CaughtUp(run=request.run, seq=self._newest))
        cut, self.cut_after = self.cut_after, None
        for message in messages[:cut]:
            socket.write(frame(message))
        if cut is not None:
            socket.disconnectFromServer()
            self.sockets.remove(socket)
