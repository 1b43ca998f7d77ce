"""What the host tells on requests that change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from engine.contract import messages as m
from engine.host.book import spec_of
from engine.host.connection import Answer, Connection
from engine.host.follow import Follower
from engine.host.hub import RunSource, fit_to_line
from engine.host.pace_facts import read_pace
from engine.host.parts import Parts
from engine.host.threads import apart
from engine.planning.examination import examine_machine
from engine.planning.inventory import list_models
from engine.store import runs
from engine.store.records import (
    newest_certificate,
    newest_failure,
    newest_passed_over,
    saved_checkpoints,
)
from engine.store.upgrade import StoreError


@asynccontextmanager
async def while_there(parts: Parts, run: str) -> AsyncIterator[None]:
    """For what reads the run's folder for a while. Raises :class:`StoreError` if the run is removed
    meanwhile, whatever came of the reading."""
    try:
        yield
    except OSError:
        parts.book.state(run)
        raise
    parts.book.state(run)


async def list_runs(parts: Parts, connection: Connection, request: m.ListRuns) -> Answer:
    summaries = [parts.book.summary(run) for run in parts.book.names()]
    fitting, left_out = fit_to_line(summaries)
    data: dict[str, Any] = {"runs": [msgspec.to_builtins(summary) for summary in fitting]}
    return Answer({**data, "left_out": left_out} if left_out else data)


async def show(parts: Parts, connection: Connection, request: m.Show) -> Answer:
    run = parts.book.find(request.run)
    folder = parts.book.folder(run)
    content = runs.read_run(folder)
    async with while_there(parts, run):
        saved = await apart(saved_checkpoints, folder)
        pace = await apart(read_pace, folder)
        failure = await apart(newest_failure, folder)
        passed_over = await apart(newest_passed_over, folder)
        certificate = await apart(newest_certificate, folder)
    data = {
        "summary": msgspec.to_builtins(parts.book.summary(run)),
        "spec": spec_of(parts.book, run),
        "checkpoints": [msgspec.to_builtins(checkpoint) for checkpoint in saved],
        "failure": msgspec.to_builtins(failure),
        "passed_over": passed_over,
        "certificate": msgspec.to_builtins(certificate),
        "versions": content.versions,
        "pace": msgspec.to_builtins(pace) if pace else {},
    }
    return Answer(data)


async def follow(parts: Parts, connection: Connection, request: m.Follow) -> Answer:
    run = parts.book.find(request.run)
    follower = Follower(
        RunSource(parts.book, run),
        connection.send_line,
        since=request.since,
        as_columns=request.columns,
    )
    # First it is offered what is new, then it is told what is old: so nothing falls between.
    parts.hub.add_follower(run, connection, follower)
    try:
        async with while_there(parts, run):
            newest = await parts.book.journals.newest(run)
    except (StoreError, OSError):
        parts.hub.remove_follower(run, connection)
        raise
    data = {
        "run": run,
        "folder": str(parts.book.folder(run)),
        "summary": msgspec.to_builtins(parts.book.summary(run)),
        "seq": newest,
    }
    return Answer(data, then=partial(connection.follow, run, follower, newest))


async def unfollow(parts: Parts, connection: Connection, request: m.Unfollow) -> Answer:
    run = parts.book.find(request.run)
    connection.unfollow(run)
    parts.hub.remove_follower(run, connection)
    return Answer()


async def watch(parts: Parts, connection: Connection, request: m.Watch) -> Answer:
    connection.watches = True
    return Answer()


async def machine_facts(parts: Parts, connection: Connection, request: m.Facts) -> Answer:
    return Answer({"facts": await apart(_examine, parts)})


def _examine(parts: Parts) -> dict[str, Any]:
    return examine_machine(parts.book.store, may_measure=not parts.is_busy())


async def trace(parts: Parts, connection: Connection, request: m.Trace) -> Answer:
    return await parts.tracer.answer(request, is_busy=parts.is_busy, computes=parts.computes)


async def models(parts: Parts, connection: Connection, request: m.ListModels) -> Answer:
    return Answer({"models": await apart(list_models, request.folders)})
