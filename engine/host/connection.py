"""One client's connection: requests in, answers out, and what it follows.

Answers and followed records wait for the client to read; what may be replaced by something newer is
kept once a kind and run. So a client that does not read costs a bounded amount of memory, whatever
happens in the runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from engine.contract.messages import Complaint, Hello, Message, Refusal, Reply, Request
from engine.contract.wire import FrameTooLong, Garbage, LineReader, frame
from engine.discreet import discreet_refusal
from engine.host.follow import Follower
from engine.host.place import peer_is_owner

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_BUFFER_BYTES = 1 << 18
"""What waits in the socket before senders wait too."""
_HELLO_SECONDS = 15.0
_MOST_AT_ONCE = 8
"""Requests of one client that are worked on together; then it is not read any further."""


class Refused(Exception):
    """A request is not done; becomes a :class:`Refusal`."""

    def __init__(
        self, sentence: str, code: str = "bad_input", complaints: list[Complaint] | None = None
    ) -> None:
        super().__init__(sentence)
        self.refusal = discreet_refusal(
            Refusal(to=0, sentence=sentence, code=code, complaints=complaints or [])
        )


class Answer(NamedTuple):
    """What a request came to."""

    data: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    then: Callable[[], None] | None = None
    """Done as soon as the reply is on its way, before anything else is sent."""


class Connection:
    """Talks with one client. ``answer`` gives the data of a reply, or raises :class:`Refused`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Connection, Request], Awaitable[Answer]],
    ) -> None:
        self.client = ""
        """What it said it is; empty before Hello was accepted."""
        self.may_only_leave = False
        """It is of another version."""
        self.watches = False
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._lines = LineReader()
        self._tasks: set[asyncio.Task[None]] = set()
        self._follows: dict[str, asyncio.Task[None]] = {}
        self._notes: dict[tuple[str, str], Message] = {}
        self._has_notes = asyncio.Event()
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._sending = asyncio.Lock()
        writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)

    # ------------------------------------------------------------ its life

    async def serve(self) -> None:
        """Until the client goes."""
        if not peer_is_owner(self._writer.get_extra_info("socket")):
            log.warning("A process of another user was turned away")
            self.close()
            return
        self._spawn(self._send_notes())
        try:
            await self._read()
        except ConnectionError:
            log.debug("A client went without a word")
        finally:
            self.close()
            for task in self._tasks:
                task.cancel()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    async def _read(self) -> None:
        timeout_s: float | None = _HELLO_SECONDS
        while True:
            try:
                chunk = await asyncio.wait_for(self._reader.read(_CHUNK), timeout_s)
            except TimeoutError:
                return
            if not chunk:
                return
            for message in self._lines.feed(chunk):
                await self._take(message)
            if self.client or self.may_only_leave:
                timeout_s = None

    async def _take(self, message: Message | Garbage) -> None:
        if isinstance(message, Request):
            await self._slots.acquire()
            if isinstance(message, Hello):
                # Nothing else may overtake it.
                await self._handle(message)
            else:
                self._spawn(self._handle(message))
        else:
            count = self._lines.garbage_count
            if count & (count - 1) == 0:
                what = message if isinstance(message, Garbage) else type(message).__name__
                log.warning("From a client, %d lines skipped by now: %s", count, what)

    async def _handle(self, request: Request) -> None:
        try:
            answer, line = await self._work_out(request)
            await self.send_line(line)
            if answer.then:
                answer.then()
        finally:
            # Not before the client has read it, or answers would pile up.
            self._slots.release()

    async def _work_out(self, request: Request) -> tuple[Answer, bytes]:
        try:
            answer = await self._answer(self, request)
            return answer, _framed(Reply(to=request.id, data=answer.data))
        except Refused as refused:
            return Answer(), frame(msgspec.structs.replace(refused.refusal, to=request.id))

    def follow(self, run: str, follower: Follower, upto: int) -> None:
        """Let a follower send its run, in place of an earlier one of this run."""
        self.unfollow(run)
        self._follows[run] = self._spawn(follower.run(upto))

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Work for this client; it is cancelled when the client goes."""
        self._spawn(work)

    def unfollow(self, run: str) -> None:
        """Send nothing more of the run."""
        task = self._follows.pop(run, None)
        if task:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, ConnectionError):
            # A mistake of Fettle. The client would wait for ever; it can connect again.
            log.error("A request broke; its connection is closed", exc_info=error)
            self.close()

    # ------------------------------------------------------------ sending

    async def send(self, message: Message) -> None:
        """Send a message; waits for a slow client. Raises ``ConnectionError``."""
        await self.send_line(frame(message))

    async def send_line(self, line: bytes) -> None:
        """The same for one or more encoded lines."""
        async with self._sending:
            self._writer.write(line)
            await self._writer.drain()

    def note(self, message: Message, run: str) -> None:
        """Send a message of which only the newest of its kind and run matters. Never waits."""
        self._notes[type(message).__name__, run] = message
        self._has_notes.set()

    async def _send_notes(self) -> None:
        while True:
            await self._has_notes.wait()
            self._has_notes.clear()
            while self._notes:
                await self.send(self._notes.pop(next(iter(self._notes))))


def _framed(reply: Reply) -> bytes:
    try:
        return frame(reply)
    except FrameTooLong as error:
        raise Refused(f"The answer is too large to be sent: {error}") from None
