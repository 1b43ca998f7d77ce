"""The host: puts its parts together, listens, and leaves when nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from engine import paths
from engine.host import requests
from engine.host.book import Book
from engine.host.comeback import Comeback
from engine.host.connection import Answer, Connection
from engine.host.hub import Hub
from engine.host.inspecting import Inspector
from engine.host.parts import Parts
from engine.host.place import PlaceError
from engine.host.pool import Pool
from engine.host.power import Nothing, SleepGuard, choose_inhibitor
from engine.host.recovery import Recovery
from engine.host.rehearsal import Rehearsals
from engine.host.scheduler import Scheduler
from engine.host.session_end import SessionEnd, watch
from engine.host.settings import Settings
from engine.host.tracing import Tracer
from engine.store.files import disk_sentence

log = logging.getLogger(__name__)

_STREAM_LIMIT = 1 << 16


class Host:
    """One host of one home. Use :meth:`run`."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._settings = settings
        self._leaving = asyncio.Event()
        self._hub = Hub()
        book = Book(paths.store(), self._hub)
        book.load()
        self._hub.summarise = book.summary
        comeback = Comeback(settings)
        recovery = Recovery(book, settings, comeback)
        pool = Pool(settings, paths.host_folder(), self._hub.has_window)
        inhibitor = choose_inhibitor() if settings.keep_awake else Nothing()
        scheduler = Scheduler(book, pool, settings, comeback, SleepGuard(inhibitor))
        self._parts = Parts(
            token=token,
            book=book,
            hub=self._hub,
            pool=pool,
            scheduler=scheduler,
            recovery=recovery,
            rehearsals=Rehearsals(pool, settings, scheduler.card),
            tracer=Tracer(pool, settings),
            inspector=Inspector(pool, settings),
            keep_warm=self._keep_warm,
            leave=self._leaving.set,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the host leaves: idle, told to, or ended by the system."""
        session = self._take_signals()
        async with _listening(self._on_connected):
            serving = self._parts.scheduler.work(self._parts.recovery.work())
            self._spawn(serving).add_done_callback(self._on_serving_ended)
            self._spawn(self._parts.rehearsals.sweep())
            self._spawn(self._parts.book.journals.tend())
            self._spawn(self._leave_when_idle())
            await self._leaving.wait()
        await self._end()
        session.saved()

    # ------------------------------------------------------------ clients

    async def _on_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = Connection(reader, writer, self._answer)
        self._hub.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._hub.remove_connection(connection)

    async def _answer(self, connection: Connection, request: Any) -> Answer:
        return await requests.answer(self._parts, connection, request)

    # ------------------------------------------------------------ idle worker, idle host

    def _keep_warm(self) -> None:
        if not self._parts.is_busy():
            self._spawn(self._parts.pool.keep())

    async def _leave_when_idle(self) -> None:
        limit = self._settings.idle_seconds
        used_at = time.monotonic()
        while not self._leaving.is_set():
            await asyncio.sleep(min(limit / 5, 5.0))
            self._keep_warm()
            is_needed = self._parts.is_busy() or self._parts.book.journals.has_unwritten
            if self._hub.greeted() or is_needed:
                used_at = time.monotonic()
            elif time.monotonic() - used_at > limit:
                log.info("Nobody needs this host; it leaves")
                self._leaving.set()

    # ------------------------------------------------------------ the end

    def _take_signals(self) -> SessionEnd:
        """Whatever way the system has to say that this host is to end."""
        loop = asyncio.get_running_loop()
        leave = partial(loop.call_soon_threadsafe, self._on_signalled)
        session = SessionEnd(leave, self._settings.leave_seconds)
        watch(session)
        if sys.platform == "win32":
            signal.signal(signal.SIGINT, lambda *_: leave())
            return session
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return session

    def _on_signalled(self) -> None:
        log.info("The system ends this host; its worker is asked to save")
        self._leaving.set()

    async def _end(self) -> None:
        self._parts.rehearsals.leave()
        await self._parts.scheduler.leave(self._settings.leave_seconds)
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._hub.connections):
            connection.close()
        self._parts.tracer.close()
        self._parts.inspector.close()
        await self._parts.pool.close()
        await self._parts.book.close_all()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_serving_ended(self, task: asyncio.Task[None]) -> None:
        """A host that serves no run is worse than none: the next one takes its runs up."""
        if not task.cancelled() and task.exception():
            self._leaving.set()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            log.error("A part of the host broke", exc_info=error)


@contextlib.asynccontextmanager
async def _listening(on_connected: Any) -> AsyncIterator[None]:
    """Accept clients on this home's address while the block runs. Raises :class:`PlaceError`."""
    address = paths.socket_address()
    if sys.platform == "win32":
        loop: Any = asyncio.get_running_loop()
        servers = await loop.start_serving_pipe(partial(_pipe_protocol, on_connected), address)
        yield
        for server in servers:
            server.close()
        return
    try:
        Path(address).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(on_connected, address, limit=_STREAM_LIMIT)
        Path(address).chmod(0o600)
    except OSError as error:
        raise PlaceError(disk_sentence(error, Path(address))) from error
    log.info("Listening on %s", address)
    try:
        yield
    finally:
        Path(address).unlink(missing_ok=True)
        server.close()


def _pipe_protocol(on_connected: Any) -> asyncio.StreamReaderProtocol:
    reader = asyncio.StreamReader(limit=_STREAM_LIMIT)
    return asyncio.StreamReaderProtocol(reader, on_connected)
