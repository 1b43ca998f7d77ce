"""Looks at datasets: tokens are made by a worker that is lent, and read here from its files."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from engine.contract.dataset_report import QUEUED, STARTING
from engine.contract.lifecycle import Phase
from engine.contract.messages import (
    Complaint,
    Inspected,
    Job,
    Message,
    Progress,
    ShowSamples,
    TemplateTried,
    TryTemplate,
)
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.host.beside import Beside
from engine.host.connection import Answer, Refused
from engine.host.lending import lent
from engine.host.pool import Pool
from engine.host.settings import Settings
from engine.host.threads import apart
from engine.host.worker import Worker
from engine.store import encoded
from engine.store.encoded_view import Encoded

log = logging.getLogger(__name__)

_LINE_BYTES = 700 << 10
"""Of samples in one reply: a line of the wire has 1 MiB."""
_TRYING_SECONDS = 60.0
"""Trying a template takes a moment, and the start of a worker where there is none."""
_SILENT_SECONDS = 1.0
"""Whoever waits for longer is told what for."""
_KILLED_SECONDS = 10.0
"""How long a killed worker may take to be gone."""
Tell = Callable[[Message], Awaitable[None]]
Lend = Callable[[Spec], AbstractAsyncContextManager[Worker]]


class Inspector:
    """Inspects one dataset at a time."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._beside = Beside(settings, pool.folder, pool.log)
        self._lock = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[Inspected]] = {}

    def close(self) -> None:
        """The host ends, and what is inspected with it."""
        for task in self._tasks.values():
            task.cancel()
        self._beside.close()

    async def work(
        self, name: str, spec: Spec, tell: Tell, *, is_busy: Callable[[], bool],
        computes: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Inspect a spec's dataset, telling how far it is, with :class:`Inspected` last.

        While something ``computes`` a worker of low priority beside it does. When this is cancelled
        the worker is killed and nothing is told any more.
        """

        lend = self._lender(is_busy, computes)
        task = asyncio.ensure_future(self._in_turn(name, spec, lend, tell))
        self._tasks[name] = task
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            del self._tasks[name]
        if not task.cancelled():  # As it is when it was stopped.
            await tell(task.result())

    def _lender(self, is_busy: Callable[[], bool], computes: Callable[[], bool]) -> Lend:
        def lend(spec: Spec) -> AbstractAsyncContextManager[Worker]:
            if computes():
                return lent(self._beside, spec, keep=lambda: True)
            return lent(self._pool, spec, keep=lambda: not is_busy())

        return lend

    async def try_template(
        self, spec: Spec, request: TryTemplate, *, is_busy: Callable[[], bool],
        computes: Callable[[], bool],
    ) -> TemplateTried:  # fmt: skip
        """What becomes of a row. Raises :class:`Refused`, TimeoutError, ``OSError``."""
        job = {"spec": to_raw(spec), "template": request.template, "row": request.row,
               "format": request.format}  # fmt: skip
        lend = self._lender(is_busy, computes)
        async with asyncio.timeout(_TRYING_SECONDS), self._lock, lend(spec) as worker:
            return await _try(worker, job)

    async def _in_turn(self, name: str, spec: Spec, lend: Lend, tell: Tell) -> Inspected:
        while not await _soon(self._lock.acquire()):
            await tell(_idle(name, QUEUED))
        try:
            return await self._inspect(name, spec, lend, tell)
        finally:
            self._lock.release()

    def stop(self, name: str) -> bool:
        """End this one; False if it is not there (any more)."""
        task = self._tasks.get(name)
        return bool(task and task.cancel())

    async def _inspect(self, name: str, spec: Spec, lend: Lend, tell: Tell) -> Inspected:
        try:
            async with lend(spec) as worker:
                try:
                    return await _ask(worker, name, spec, tell)
                except BaseException:
                    worker.kill()
                    await asyncio.shield(_sweep(worker))
                    raise
        except Refused as error:
            return _failed(name, str(error))
        except OSError as error:
            return _failed(name, f"No worker could be started: {error}.")


async def _ask(worker: Worker, name: str, spec: Spec, tell: Tell) -> Inspected:
    """Give a worker the job and pass on what it says. Raises Refused if it ends."""
    messages: asyncio.Queue[Message | None] = asyncio.Queue()
    heard = asyncio.Event()

    def on_message(message: Message) -> None:
        # One that waits to be told is enough: a slow client gets fewer, and no heap of old ones.
        if isinstance(message, Inspected) or (isinstance(message, Progress) and messages.empty()):
            messages.put_nowait(msgspec.structs.replace(message, run=name))
            heard.set()

    def on_ended(_: object) -> None:
        messages.put_nowait(None)
        heard.set()

    worker.listener = on_message
    worker.ended.add_done_callback(on_ended)
    worker.send(Job(kind="inspect", run=name, spec=to_raw(spec)))
    try:
        while not await _soon(heard.wait()):
            await tell(_idle(name, STARTING))
        while (message := await messages.get()) is not None:
            if isinstance(message, Inspected):
                return message
            await tell(message)
    finally:
        worker.listener = None
        worker.ended.remove_done_callback(on_ended)
    raise Refused("The worker ended while it read the data, most often because RAM ran out.")


async def _try(worker: Worker, job: dict[str, Any]) -> TemplateTried:
    """Raises :class:`Refused` if the worker ends."""
    heard: asyncio.Future[TemplateTried] = asyncio.get_running_loop().create_future()

    def on_message(message: Message) -> None:
        if isinstance(message, TemplateTried) and not heard.done():
            heard.set_result(message)

    def on_ended(_: object) -> None:
        if not heard.done():
            heard.set_exception(Refused("The worker ended while it tried the template."))

    worker.listener = on_message
    worker.ended.add_done_callback(on_ended)
    worker.send(Job(kind="template", spec=job))
    try:
        return await heard
    finally:
        worker.listener = None
        worker.ended.remove_done_callback(on_ended)


async def _sweep(worker: Worker) -> None:
    """Remove what a killed worker was making."""
    await asyncio.wait({worker.ended}, timeout=_KILLED_SECONDS)
    await apart(encoded.forget, worker.pid)


async def _soon(wanted: Awaitable[object]) -> bool:
    """Whether it comes within a moment; if not it is given up."""
    try:
        async with asyncio.timeout(_SILENT_SECONDS):
            await wanted
    except TimeoutError:
        return False
    return True


def _idle(name: str, unit: str) -> Progress:
    return Progress(run=name, phase=Phase.TOKENISING, done=0, total=0, unit=unit)


def _failed(name: str, problem: str) -> Inspected:
    complaint = Complaint(field="dataset.path", problem=problem, remedy="Try again.")
    return Inspected(run=name, complaint=complaint)


def make_name() -> str:
    """A name that no other inspection has."""
    return f"inspection-{secrets.token_hex(6)}"


# ---------------------------------------------------------------- samples


async def show_samples(request: ShowSamples) -> Answer:
    """Raises :class:`Refused` if the tokens are not there."""
    if not request.data.isalnum():
        raise Refused("That is no key of inspected data.", "not_found")
    folder = await apart(encoded.find, request.data)
    if folder is None:
        raise Refused("The tokens of this data are gone. Look at it again.", "not_found")
    return Answer(await apart(_shown, folder, request))


def _shown(folder: Any, request: ShowSamples) -> dict[str, Any]:
    data = Encoded(folder)
    if request.search:
        return {"places": data.search(request.search), "searched": data.meta.shown}
    places = request.places
    if request.row is not None:
        place = data.place_of(request.row)
        if place is None:
            return {"samples": [], "reason": data.why_not(request.row, request.name)}
        places = [place]
    samples: list[Any] = []
    left = _LINE_BYTES
    for place in places:
        if not 0 <= place < len(data):
            continue
        sample = data.sample(place, request.first_token, max_length=request.max_length)
        left -= len(msgspec.json.encode(sample))
        if left < 0 and samples:
            break
        samples.append(msgspec.to_builtins(sample))
    return {"samples": samples}
