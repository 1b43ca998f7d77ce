"""Rehearsals: one at a time, each in a worker and a folder that are gone afterwards.

A rehearsal ends when its client goes. It leaves nothing behind: the folder is removed when it ends
however it ends, and what a host that was killed left is removed by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from engine import paths
from engine.contract.messages import (
    Done,
    Finding,
    Job,
    Message,
    PhaseChanged,
    Progress,
    Record,
    Rehearsed,
)
from engine.host.pool import Pool
from engine.host.rehearsed import Course, ending
from engine.host.settings import Settings
from engine.host.threads import apart, to_its_end
from engine.host.worker import Worker, is_alive, kill_family

log = logging.getLogger(__name__)

_KILLED_SECONDS = 10.0
"""How long a killed worker may take to be gone."""
_WORKER_FILE = "worker.json"
Tell = Callable[[Message], Awaitable[None]]


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the next host needs to know to end a worker of this one."""

    pid: int
    started_at: float


class Rehearsals:
    """Tries specs. ``card`` is held while one is tried."""

    def __init__(self, pool: Pool, settings: Settings, card: asyncio.Lock) -> None:
        self._pool = pool
        self._settings = settings
        self._card = card
        self._known: dict[str, Rehearsal] = {}
        """The one that is tried, and any that waits for the card."""
        self._left = _subfolders(paths.rehearsals())
        """Of an earlier host, which did not end as it should."""

    @property
    def is_busy(self) -> bool:
        """Whether a spec is tried, or is to be."""
        return bool(self._known)

    async def work(
        self, name: str, spec: dict[str, Any], planned: dict[str, int], tell: Tell
    ) -> None:
        """Try a spec, telling all that comes of it, with :class:`Rehearsed` last.

        When this is cancelled the worker is killed and nothing is told any more.
        """
        rehearsal = self._known[name] = Rehearsal(name, self._pool, self._settings, tell)
        try:
            async with self._card:
                await rehearsal.work(spec, planned)
        finally:
            del self._known[name]

    def stop(self, name: str) -> bool:
        """End this one; False if it is not there (any more)."""
        if name not in self._known:
            return False
        self._known[name].stop()
        return True

    def leave(self) -> None:
        """The host ends, and what is tried with it."""
        for rehearsal in self._known.values():
            rehearsal.stop()

    async def sweep(self) -> None:
        """Remove what an earlier host left, its worker first."""
        for folder in self._left:
            log.info("An earlier host left a rehearsal behind: %s is removed", folder.name)
            await apart(_sweep, folder)
        _remove_if_empty(paths.rehearsals())


class Rehearsal:
    """One of them."""

    def __init__(self, name: str, pool: Pool, settings: Settings, tell: Tell) -> None:
        self.name = name
        self._pool = pool
        self._settings = settings
        self._tell = tell
        self._folder = paths.rehearsals() / name
        self._heard = Course()
        self._worker: Worker | None = None
        self._is_stopped = False
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def stop(self) -> None:
        """End it at once: its worker has nothing that is worth saving."""
        self._is_stopped = True
        self._kill()

    async def work(self, spec: dict[str, Any], planned: dict[str, int]) -> None:
        """The whole of it; nothing of it is left when this returns or is cancelled."""
        began = time.monotonic()
        try:
            self._folder.mkdir(parents=True)
            disk_free = shutil.disk_usage(self._folder).free
            code = await self._run(spec)
        except ConnectionError:
            raise  # There is nobody left to tell.
        except OSError as error:
            await self._tell(_no_start(self.name, error))
            return
        finally:
            # When a client goes, telling it something may fail first, and the cancelling come now.
            await to_its_end(self._clean())
        found = ending(
            self.name, self._heard, code,
            is_stopped=self._is_stopped, disk_free=disk_free, planned=planned,
        )  # fmt: skip
        await self._tell(msgspec.structs.replace(found, seconds=time.monotonic() - began))

    async def _run(self, spec: dict[str, Any]) -> int:
        """Give a worker the job and pass on what it says; gives its exit code. Raises OSError."""
        worker = self._worker = await self._pool.take()
        _remember(self._folder, worker)
        worker.ended.add_done_callback(self._on_ended)
        if self._is_stopped:  # While there was no worker yet.
            self._kill()
        await asyncio.wait({worker.ready}, timeout=self._settings.ready_seconds)
        if not worker.ready.done():
            self._kill()
        worker.listener = self._on_message
        job = Job(
            kind="rehearse", run=self.name, folder=str(self._folder), log=str(self._pool.log),
            spec=spec,
        )  # fmt: skip
        worker.send(job)
        while (message := await self._messages.get()) is not None:
            await self._tell(message)
        return await worker.ended

    async def _clean(self) -> None:
        self._kill()
        if self._worker:
            await asyncio.wait({self._worker.ended}, timeout=_KILLED_SECONDS)
        await apart(_remove, self._folder)

    def _kill(self) -> None:
        if self._worker and not self._worker.ended.done():
            self._worker.kill()

    # ------------------------------------------------------------ what the worker says

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Done):
            self._heard.done = message
            self._kill()
        elif isinstance(message, Record | Progress):
            self._note(message)
            self._messages.put_nowait(msgspec.structs.replace(message, run=self.name))

    def _note(self, message: Message) -> None:
        if isinstance(message, Finding):
            self._heard.findings.append(message)
        elif isinstance(message, PhaseChanged):
            self._heard.where = message.detail or message.phase.value

    def _on_ended(self, ended: asyncio.Future[int]) -> None:
        self._messages.put_nowait(None)


def make_name() -> str:
    """A name that no other rehearsal has."""
    return f"rehearsal-{secrets.token_hex(6)}"


def _no_start(name: str, error: OSError) -> Rehearsed:
    return Rehearsed(
        run=name, verdict="would_die", sentence=f"The rehearsal could not be started: {error}."
    )


# ---------------------------------------------------------------- folders


def _remember(folder: Path, worker: Worker) -> None:
    known = _Known(pid=worker.pid, started_at=worker.started_at)
    (folder / _WORKER_FILE).write_bytes(msgspec.json.encode(known))


def _sweep(folder: Path) -> None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        known = msgspec.json.decode((folder / _WORKER_FILE).read_bytes(), type=_Known)
        if is_alive(known.pid, known.started_at):
            kill_family(known.pid)
    _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _remove_if_empty(folder.parent)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
