"""What the host does on a request to go on with a run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.contract import messages as m
from engine.contract.lifecycle import Event, State, move
from engine.contract.patching import Patch, changes, patched
from engine.contract.spec import Spec
from engine.host.book import spec_of
from engine.host.checks import complaints_about
from engine.host.connection import Answer, Connection, Refused
from engine.host.parts import Parts
from engine.host.threads import apart
from engine.host.waiting import sentence_for
from engine.store.checkpoints import Choice, NewerCheckpoint, SaveUnreadable, newest_verified
from engine.store.soundness import passed_over

LEAVING_WORKER_SECONDS = 30.0
"""How long the worker of an attempt that is over may take to be gone."""


@asynccontextmanager
async def alone(parts: Parts, text: str) -> AsyncIterator[str]:
    """The run that ``text`` means, while nobody else resumes or removes it."""
    run = parts.book.find(text)
    async with parts.book.lock(run):
        parts.book.state(run)  # Whoever had it before may have removed it.
        yield run


async def resume(parts: Parts, connection: Connection, request: m.Resume) -> Answer:
    async with alone(parts, request.run) as run:
        return await _resume(parts, run, request.patch)


async def _resume(parts: Parts, run: str, patch: Patch) -> Answer:
    folder = parts.book.folder(run)
    await parts.recovery.has_settled(run, LEAVING_WORKER_SECONDS)
    if parts.book.tallies[run].is_pausing:
        await parts.scheduler.has_left(run, LEAVING_WORKER_SECONDS)
    state = parts.book.state(run)
    move(state, Event.RESUME)
    before = spec_of(parts.book, run)
    _, complaints = await apart(_in_the_way, patched(before, [patch]))
    if complaints:
        raise Refused("The run cannot go on.", complaints=complaints)
    changed = changes(before, patch)
    if state is State.RECOVERING:
        async with _opened(parts, run):
            _see_unchanged(parts, run, state)
            return _hurry(parts, run, patch, changed)
    if not await parts.scheduler.has_left(run, LEAVING_WORKER_SECONDS):
        raise Refused("Its worker has not ended yet. Try again in a moment.", "wrong_state")
    chosen = await _verified(folder)
    async with _opened(parts, run):
        _see_unchanged(parts, run, state)
        waits = sentence_for(run, parts.book.queue, parts.book.tallies)
        parts.book.move(run, Event.RESUME, waits, step=chosen.step)
        if changed:
            parts.book.record(run, _decision(changed, patch, parts.book.attempt(run)))
        parts.scheduler.enqueue(run, chosen)
        data = {
            "run": run,
            "folder": str(folder),
            "attempt": parts.book.attempt(run),
            "step": chosen.step,
            "passed_over": passed_over(chosen, parts.book.tallies[run].reached_step),
        }
        return Answer(data)


@asynccontextmanager
async def _opened(parts: Parts, run: str) -> AsyncIterator[None]:
    """The run's journal is open. Afterwards it is only while the run has its turn, which opens it
    again: hundreds may wait, and each open journal takes four descriptors. Nothing may be awaited
    within. Raises :class:`StoreError`."""
    await parts.book.open(run)
    try:
        yield
    finally:
        if await parts.scheduler.has_left(run, 0.0):
            await parts.book.close(run)


def _see_unchanged(parts: Parts, run: str, before: State) -> None:
    """What others did to the run while this was waiting for a disk counts."""
    now = parts.book.state(run)
    move(now, Event.RESUME)
    if now is not before:
        sentence = f"It was {now.value} meanwhile. Resume it again if it is to go on all the same."
        raise Refused(sentence, "wrong_state")


async def _verified(folder: Path) -> Choice:
    try:
        return await apart(newest_verified, folder, timeout_s=600.0)
    except NewerCheckpoint as error:
        raise Refused(str(error), "version") from error
    except SaveUnreadable as error:
        raise Refused(str(error)) from error


def _in_the_way(spec: dict[str, Any]) -> tuple[Spec | None, list[m.Complaint]]:
    """What keeps the run from going on. What it would be wasted on is no part of it: it may have
    trained well before that was looked at, and its worker still looks."""
    return complaints_about(spec, is_for_run=False)


async def pause(parts: Parts, connection: Connection, request: m.Pause) -> Answer:
    run = parts.book.find(request.run)
    parts.scheduler.pause(run)
    known = parts.book.tallies[run]
    return Answer({"run": run, "state": known.state.value, "sentence": known.sentence})


def _hurry(parts: Parts, run: str, patch: Patch, changed: list[str]) -> Answer:
    """The run would go on by itself; now it does so at once."""
    if changed:
        parts.book.record(run, _decision(changed, patch, parts.book.attempt(run)))
    parts.scheduler.back_off.hurry(run)
    known = parts.book.tallies[run]
    folder = str(parts.book.folder(run))
    attempt = parts.book.attempt(run) + 1
    return Answer({"run": run, "folder": folder, "attempt": attempt, "step": known.saved_step})


def _decision(changed: list[str], patch: Patch, attempt: int) -> m.Decision:
    return m.Decision(
        at=time.time(),
        attempt=attempt,
        title="Goes on with other settings",
        reason=f"As you chose: {', '.join(changed)}.",
        patch=patch,
    )
