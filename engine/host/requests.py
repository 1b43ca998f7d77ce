"""What the host does on each request. See :mod:`engine.contract.messages` for what they mean."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine import environment
from engine.contract import messages as m
from engine.contract.lifecycle import RESTING, Event, IllegalMove
from engine.contract.toml import to_raw
from engine.host import dataset_requests, looking
from engine.host.book import spec_of
from engine.host.checks import finding_of, look_over
from engine.host.choosing import change_options, read_options
from engine.host.connection import Answer, Connection, Refused
from engine.host.parts import Parts
from engine.host.rehearsal import make_name
from engine.host.remembering import begins_with
from engine.host.reporting import make_report
from engine.host.resuming import LEAVING_WORKER_SECONDS, alone, pause, resume
from engine.host.threads import apart, to_its_end
from engine.host.waiting import sentence_for
from engine.planning import facts
from engine.store import runs
from engine.store.files import disk_sentence
from engine.store.soundness import check_saves
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)

_READING_SECONDS = 3600.0
_CHANGING = (m.Start, m.Resume, m.Stop, m.Pause, m.Remove)
"""Begun, they are brought to their end though the client goes: a run half started is none."""
Handler = Callable[[Parts, Connection, Any], Coroutine[Any, Any, Answer]]


async def answer(parts: Parts, connection: Connection, request: m.Request) -> Answer:
    """Do what a client wants. Raises :class:`Refused`."""
    _admit(connection, request)
    handler = HANDLERS.get(type(request))
    if handler is None:
        raise Refused(f"This host does not know {type(request).__name__}.")
    try:
        work = handler(parts, connection, request)
        return await (to_its_end(work) if isinstance(request, _CHANGING) else work)
    except IllegalMove as error:
        raise Refused(str(error), "wrong_state") from error
    except StoreError as error:
        raise Refused(str(error), "not_found") from error
    except TimeoutError:
        raise Refused("That took too long and was given up. Is a disk or driver stuck?") from None
    except OSError as error:
        log.exception("%s was given up", type(request).__name__)
        raise Refused(disk_sentence(error, Path(error.filename or parts.book.store))) from error


def _admit(connection: Connection, request: m.Request) -> None:
    if connection.client or isinstance(request, m.Hello):
        return
    if connection.may_only_leave and isinstance(request, m.Leave):
        return
    raise Refused("Say Hello first.", "token")


# ---------------------------------------------------------------- acquaintance


async def hello(parts: Parts, connection: Connection, request: m.Hello) -> Answer:
    if not hmac.compare_digest(request.token.encode(), parts.token.encode()):
        log.warning("A client with a wrong token was turned away")
        raise Refused("The token is wrong. Only programs of this user may connect.", "token")
    if (request.protocol, request.version) != (m.PROTOCOL, engine.__version__):
        connection.may_only_leave = True
        raise Refused(_version_sentence(parts, request.version), "version")
    connection.client = request.client or "unnamed"
    log.info("A client has come: %s", connection.client)
    parts.keep_warm()
    data = {
        "version": engine.__version__,
        "protocol": m.PROTOCOL,
        "pid": os.getpid(),
        "busy": parts.is_busy(),
        "environment": environment.ours(),
    }
    return Answer(data)


def _version_sentence(parts: Parts, theirs: str) -> str:
    ours = f"The host is Fettle {engine.__version__}, you are Fettle {theirs}."
    if parts.is_busy():
        return f"{ours} It is training; wait until its runs have ended, or stop them."
    return f"{ours} It is idle and makes way when told to leave."


async def leave(parts: Parts, connection: Connection, request: m.Leave) -> Answer:
    if parts.is_busy():
        raise Refused("The host is training and does not leave.", "busy")
    return Answer(then=parts.leave)


async def warm(parts: Parts, connection: Connection, request: m.Warm) -> Answer:
    parts.pool.ask()
    parts.keep_warm()
    return Answer()


# ---------------------------------------------------------------- changing


async def check(parts: Parts, connection: Connection, request: m.Check) -> Answer:
    looked = await apart(look_over, request.spec, parts.book.store)
    return Answer(
        msgspec.to_builtins({"complaints": looked.complaints, "conflicts": looked.conflicts})
    )


async def rehearse(parts: Parts, connection: Connection, request: m.Rehearse) -> Answer:
    looked = await apart(look_over, request.spec, parts.book.store)
    spec = looked.spec
    if spec is None:
        raise Refused("This cannot be trained.", complaints=looked.complaints)
    if parts.is_busy():
        raise Refused(_busy_sentence(parts), "busy")
    name = make_name()
    work = partial(parts.rehearsals.work, name, to_raw(spec), request.planned, tell=connection.send)
    return Answer({"rehearsal": name}, then=partial(_attend, connection, work))


def _attend(connection: Connection, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    connection.attend(work())


def _busy_sentence(parts: Parts) -> str:
    if parts.rehearsals.is_busy:
        return "Another spec is tried just now. Wait until that is over, or stop it."
    return (
        "A run trains or waits, and trying a spec beside it would take memory from it and measure "
        "neither. Try it when the queue is empty."
    )


async def stop_rehearsal(parts: Parts, connection: Connection, request: m.StopRehearsal) -> Answer:
    if not parts.rehearsals.stop(request.rehearsal):
        raise Refused(f"{request.rehearsal} has ended already.", "not_found")
    return Answer()


async def start(parts: Parts, connection: Connection, request: m.Start) -> Answer:
    looked = await apart(look_over, request.spec, parts.book.store)
    spec = looked.spec
    if spec is None:
        raise Refused("The run cannot start.", complaints=looked.complaints)
    # Nothing that may fail comes between the making of a run and its place in the queue.
    known = await _remembered(to_raw(spec), parts.book.store)
    try:
        folder = await parts.book.disk.in_order(
            partial(
                runs.create,
                parts.book.store,
                name=spec.name,
                spec=to_raw(spec),
                versions={"fettle": engine.__version__, **facts.installed()},
                now=datetime.now().astimezone(),
                plan=request.plan,
            )
        )
        run = await parts.book.add(folder)
    except StoreError as error:
        raise Refused(str(error)) from error
    for warning in looked.warnings:
        parts.book.record(run, finding_of(warning))
    if known:
        parts.book.record(run, known)
    parts.book.move(run, Event.ENQUEUE, sentence_for(run, parts.book.queue, parts.book.tallies))
    parts.scheduler.enqueue(run)
    # Its turn opens it again: hundreds may wait, and each open journal takes four descriptors.
    await parts.book.close(run)
    warnings = msgspec.to_builtins(looked.warnings)
    return Answer({"run": run, "folder": str(folder), "conflicts": warnings})


async def _remembered(raw: dict[str, Any], store: Path) -> m.Decision | None:
    """What helped a run like this; nothing, if that cannot be told now."""
    try:
        return await apart(begins_with, raw, store)
    except (StoreError, TimeoutError, OSError) as error:
        log.warning("What helped a run like this cannot be told: %r", error)
        return None


async def stop(parts: Parts, connection: Connection, request: m.Stop) -> Answer:
    run = parts.book.find(request.run)
    if not await parts.recovery.stop(run, now=request.now):
        await parts.scheduler.stop(run, now=request.now)
    return Answer({"run": run, "state": parts.book.state(run).value})


async def save_checkpoint(
    parts: Parts, connection: Connection, request: m.SaveCheckpoint
) -> Answer:
    run = parts.book.find(request.run)
    parts.scheduler.save(run)
    return Answer({"run": run})


async def verify_saves(parts: Parts, connection: Connection, request: m.VerifySaves) -> Answer:
    run = parts.book.find(request.run)
    async with looking.while_there(parts, run):
        saves = await apart(check_saves, parts.book.folder(run), timeout_s=_READING_SECONDS)
    state = parts.book.state(run).value
    spec = spec_of(parts.book, run)
    return Answer({"saves": msgspec.to_builtins(saves), "state": state, "spec": spec})


async def remove(parts: Parts, connection: Connection, request: m.Remove) -> Answer:
    async with alone(parts, request.run) as run:
        return await _remove(parts, run)


async def _remove(parts: Parts, run: str) -> Answer:
    state = parts.book.state(run)
    if state not in RESTING:
        sentence = f"A run that is {state.value} cannot be removed. Stop it first."
        raise Refused(sentence, "wrong_state")
    if not await parts.scheduler.has_left(run, LEAVING_WORKER_SECONDS):
        raise Refused("Its worker has not ended yet. Try again in a moment.", "wrong_state")
    await parts.book.remove(run)
    return Answer({"run": run})


HANDLERS: dict[type[m.Request], Handler] = {
    m.Hello: hello,
    m.Leave: leave,
    m.Warm: warm,
    m.ListRuns: looking.list_runs,
    m.Show: looking.show,
    m.Follow: looking.follow,
    m.Unfollow: looking.unfollow,
    m.Watch: looking.watch,
    m.Facts: looking.machine_facts,
    m.Trace: looking.trace,
    m.PreviewDataset: dataset_requests.preview_dataset,
    m.Inspect: dataset_requests.inspect,
    m.StopInspection: dataset_requests.stop_inspection,
    m.TryTemplate: dataset_requests.try_template,
    m.KeepTemplate: dataset_requests.keep_template,
    m.ShowSamples: dataset_requests.samples,
    m.ListModels: looking.models,
    m.Check: check,
    m.Rehearse: rehearse,
    m.StopRehearsal: stop_rehearsal,
    m.ReadOptions: read_options,
    m.ChangeOptions: change_options,
    m.Start: start,
    m.Resume: resume,
    m.MakeReport: make_report,
    m.Stop: stop,
    m.Pause: pause,
    m.SaveCheckpoint: save_checkpoint,
    m.VerifySaves: verify_saves,
    m.Remove: remove,
}
"""Every request of the contract."""
