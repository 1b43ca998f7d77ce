"""What a worker died of that did not say so: from its log, its numbers and the way it ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import Finding, Step, Telemetry
from engine.diagnosis import Diagnosis, Evidence, diagnose
from engine.host.book import Book, spec_of
from engine.host.course import Course, end_of
from engine.host.oom_kills import more_since
from engine.host.threads import apart
from engine.host.worker import describe_exit
from engine.planning import facts
from engine.store.records import newest_metrics
from engine.store.runs import WORKER_LOG, read_run
from engine.store.upgrade import StoreError

LOG_BYTES = 1 << 16
_DETAIL_CHARACTERS = 8000
_PATIENCE_SECONDS = 20.0
_NEWEST = 120
"""Steps and samples that are looked back at."""


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker left behind, as the host knows it in memory."""

    exit_code: int | None
    """None of one that lives and does not get on."""
    folder: Path
    log_start: int
    """How long the run's log was before this attempt."""
    idle_log: Path
    """Where the worker wrote before it had a job."""
    idle_log_start: int
    attempt: int
    phase: str
    step: int
    saved_step: int
    is_resumed: bool
    oom_kills: int | None
    """What the system had ended for want of memory shortly before."""
    spec: dict[str, Any]


def remains_of(
    book: Book, course: Course, exit_code: int | None, *, idle_log: Path, idle_log_start: int,
    resumed_step: int, oom_kills: int | None,
) -> Remains:  # fmt: skip
    """What is known of a dead worker without looking at the disk."""
    return Remains(
        exit_code=exit_code,
        folder=course.folder,
        log_start=course.log_start,
        idle_log=idle_log,
        idle_log_start=idle_log_start,
        attempt=course.attempt,
        phase=book.tallies[course.run].phase.value,
        step=course.step,
        saved_step=course.saved_step,
        is_resumed=resumed_step > 0,
        oom_kills=oom_kills,
        spec=_spec(book, course.run),
    )


async def examine(remains: Remains, store: Path) -> Finding:
    """The finding about the end of that worker. Looks at files and the machine, in a thread."""
    try:
        return await apart(_examine, remains, store, timeout_s=_PATIENCE_SECONDS)
    except TimeoutError:
        # A disk or driver that does not answer must not keep the run from ending.
        return _finding(remains, [], "")


def _examine(remains: Remains, store: Path) -> Finding:
    log = end_of(remains.folder / WORKER_LOG, remains.log_start, LOG_BYTES)
    log = log or end_of(remains.idle_log, remains.idle_log_start, LOG_BYTES)
    return _finding(remains, diagnose(_evidence(remains, log, store)), log)


def _finding(remains: Remains, found: list[Diagnosis], log: str) -> Finding:
    code = remains.exit_code
    how = "The worker does not get on." if code is None else f"The worker {describe_exit(code)}."
    words = _words(found[0], how) if found else _unknown(how)
    return Finding(
        at=time.time(), attempt=remains.attempt, severity="error", step=remains.step or None,
        detail=log.strip()[-_DETAIL_CHARACTERS:], **words,
    )  # fmt: skip


def _words(found: Diagnosis, how: str) -> dict[str, Any]:
    return {
        "code": found.code,
        "title": found.title,
        "why": f"{how} {found.why}",
        "cause": found.cause,
        "remedy": found.remedy,
        "patch": found.patch,
        "changes_result": found.changes_result,
        "effect": found.effect,
        "problem": found.id,
        "pool": found.pool,
    }


def _unknown(how: str) -> dict[str, Any]:
    return {
        "code": "worker_lost",
        "title": how,
        "cause": "It ended without a word, and Fettle knows nothing of the kind.",
        "remedy": "The details hold the end of its log; a report of the run, without your data, "
        "helps to find out.",
    }


def _evidence(remains: Remains, log: str, store: Path) -> Evidence:
    newest = newest_metrics(remains.folder, remains.attempt, _NEWEST)
    return Evidence(
        exit_code=remains.exit_code,
        log=log,
        phase=remains.phase,
        step=remains.step,
        saved_step=remains.saved_step,
        is_resumed=remains.is_resumed,
        oom_kills=more_since(remains.oom_kills),
        is_hanging=remains.exit_code is None,
        steps=tuple(record for record in newest if isinstance(record, Step)),
        telemetry=tuple(record for record in newest if isinstance(record, Telemetry)),
        machine=facts.gather(store),
        plan=_plan(remains.folder),
        spec=remains.spec,
    )


def _plan(folder: Path) -> dict[str, Any]:
    try:
        return read_run(folder).plan
    except StoreError:
        return {}


def _spec(book: Book, run: str) -> dict[str, Any]:
    try:
        return spec_of(book, run)
    except StoreError:
        return {}
