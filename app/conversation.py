"""One connection to a host, from its greeting to its end: requests, answers, messages.

What arrives is handled in slices, so that a long history never holds the event loop: a turn takes
messages for about :data:`SLICE_SECONDS`, then lets Qt paint and answer the mouse.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any, ClassVar

from PySide6.QtCore import QObject, QTimer, Signal

from app.pulse import PULSE_MS, Pulse
from app.transport import Transport
from engine import __version__
from engine.contract.messages import Hello, Leave, Message, Refusal, Reply, Request, Watch
from engine.contract.wire import Garbage, LineReader, frame

SLICE_SECONDS = 0.008
"""How long one turn of the event loop may be spent on messages."""

CHUNK_BYTES = 128 << 10
_GREETING_MS = 45_000
_SAME_VERSION = (
    "Let what it trains finish, then install the same version in both places with `python3 "
    "packaging/bootstrap.py install`."
)

log = logging.getLogger(__name__)


class Pending(QObject):
    """A request under way. Exactly one of the signals comes, never before :meth:`ask` returned.

    Signals:
        replied: the data of the reply (dict).
        refused: a :class:`Refusal` with a sentence for people.
    """

    replied = Signal(object)
    refused = Signal(object)

    def __init__(self, request: Request, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.request = request

    def answer(self, message: Reply | Refusal) -> None:
        """Tell what the host said. Called once."""
        if isinstance(message, Reply):
            self.replied.emit(message.data)
        else:
            self.refused.emit(message)
        self.deleteLater()


class Conversation(QObject):
    """One connection at a time over a transport. After ``ended`` it can be begun again.

    Signals:
        greeted: the host took our Hello; its data (dict).
        message_received: any message that is no answer.
        ended: the stream is over and all that it held was handled; why, for people. Empty after
            :meth:`end`.
    """

    greeted = Signal(object)
    message_received = Signal(object)
    ended = Signal(str)

    _GREETING_ID: ClassVar[int] = 0

    def __init__(self, transport: Transport, client: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._transport = transport
        self._client = client
        self._is_greeted = False
        self._last_id = self._GREETING_ID
        self._asked: dict[int, Pending] = {}
        self._clear_stream()
        self._turn = QTimer(self, singleShot=True, interval=0)
        self._turn.timeout.connect(self._on_turn)
        self._patience = QTimer(self, singleShot=True, interval=_GREETING_MS)
        self._patience.timeout.connect(self._on_no_greeting)
        self._pulse = Pulse(self)
        self._pulse.question_due.connect(self._on_question_due)
        self._pulse.stopped.connect(self._on_pulse_stopped)
        transport.setParent(self)
        transport.opened.connect(self._on_opened)
        transport.closed.connect(self._on_closed)
        transport.bytes_received.connect(self._turn.start)
        transport.bytes_received.connect(self._pulse.beat)

    @property
    def is_greeted(self) -> bool:
        """Requests can be asked."""
        return self._is_greeted

    def begin(self) -> None:
        """Open the stream and greet; answered by ``greeted`` or ``ended``."""
        self._clear_stream()
        self._patience.start()
        self._transport.open()

    def end(self, _answer: object = None) -> None:
        """Close the stream."""
        self._transport.close()

    def ask(self, pending: Pending) -> None:
        """Send a request; its ``id`` must come from :meth:`next_id`."""
        self._asked[pending.request.id] = pending
        self._transport.write(frame(pending.request))

    def next_id(self) -> int:
        """A number for the next request."""
        self._last_id += 1
        return self._last_id

    def _clear_stream(self) -> None:
        self._reader = LineReader()
        self._messages: deque[Message | Garbage] = deque()
        self._closed_because: str | None = None
        self._refused_because = ""

    def _on_opened(self) -> None:
        hello = Hello(
            id=self._GREETING_ID,
            version=__version__,
            token=self._transport.token(),
            client=self._client,
        )
        self._transport.write(frame(hello))

    def _on_no_greeting(self) -> None:
        self._refused_because = (
            f"No answer from the engine after {_GREETING_MS // 1000} s. Fettle tries again."
        )
        self._transport.close()

    def _on_question_due(self) -> None:
        self.ask(Pending(Watch(id=self.next_id()), self))

    def _on_pulse_stopped(self) -> None:
        self._refused_because = (
            f"Nothing has come from the engine for {3 * PULSE_MS // 1000} s, so the connection is "
            "made anew. What runs there goes on."
        )
        self._transport.close()

    def _on_closed(self, sentence: str) -> None:
        self._closed_because = sentence
        self._turn.start()  # What arrived before the end is still handled.

    def _on_turn(self) -> None:
        deadline = time.monotonic() + SLICE_SECONDS
        while self._messages or self._read_more():
            self._handle(self._messages.popleft())
            if time.monotonic() > deadline:
                self._turn.start()
                return
        if self._closed_because is not None:
            self._finish(self._refused_because or self._closed_because)

    def _read_more(self) -> bool:
        while chunk := self._transport.read(CHUNK_BYTES):
            self._messages.extend(self._reader.feed(chunk))
            if self._messages:
                return True
        return False

    def _handle(self, message: Message | Garbage) -> None:
        if isinstance(message, Garbage):
            log.warning("Skipped a line: %s", message)
        elif isinstance(message, Reply | Refusal):
            self._on_answer(message)
        else:
            self.message_received.emit(message)

    def _on_answer(self, message: Reply | Refusal) -> None:
        if message.to == self._GREETING_ID and not self._is_greeted:
            self._on_greeting(message)
            return
        pending = self._asked.pop(message.to, None)
        if pending is not None:
            pending.answer(message)

    def _on_greeting(self, message: Reply | Refusal) -> None:
        self._patience.stop()
        theirs = "" if isinstance(message, Refusal) else str(message.data.get("version", ""))
        if isinstance(message, Reply) and theirs == __version__:
            self._is_greeted = True
            if not self._transport.restarts_host:  # Of a local host's end the system tells.
                self._pulse.start()
            self.greeted.emit(message.data)
        elif isinstance(message, Refusal) and message.code != "version":
            self._refused_because = message.sentence
            self._transport.close()
        else:
            said = (
                message.sentence.partition(". ")[0]
                if isinstance(message, Refusal)
                else (f"The host is Fettle {theirs}, you are Fettle {__version__}")
            )
            self._refused_because = f"{said}. {_SAME_VERSION}"
            self._settle_versions()

    def _settle_versions(self) -> None:
        """An idle host of another version makes way, if one of ours would take its place."""
        if not self._transport.restarts_host:
            self._transport.close()
            return
        leave = Pending(Leave(id=self.next_id()), self)
        leave.replied.connect(self._on_making_way)
        leave.refused.connect(self.end)
        self.ask(leave)

    def _on_making_way(self, _data: object) -> None:
        self._refused_because = "The engine was of another version and makes way for this one."
        self._transport.close()

    def _finish(self, sentence: str) -> None:
        self._patience.stop()
        self._pulse.stop()
        self._is_greeted = False
        self._clear_stream()
        lost, self._asked = self._asked, {}
        for pending in lost.values():
            pending.answer(no_connection(pending.request.id, sentence))
        self.ended.emit(sentence)


def no_connection(request_id: int, sentence: str) -> Refusal:
    """The answer to a request that did not reach the host, or whose answer was lost."""
    why = sentence or "The connection to the engine was closed."
    return Refusal(to=request_id, sentence=why, code="no_connection")


def make_request(kind: type[Request], request_id: int, fields: dict[str, Any]) -> Request:
    """A request with its number."""
    return kind(id=request_id, **fields)
