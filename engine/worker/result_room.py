"""A disk that is full when a run is done costs no run: the finished weights wait for room."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engine.store.staging import CheckpointError, NoRoom
from engine.store.tally import RESULT_WAITS, RESULT_WRITTEN
from engine.worker.report import Report

TRY_EVERY_SECONDS = 5.0
_LOOK_SECONDS = 0.1


def written(write: Callable[[], Path], report: Report) -> Path:
    """What ``write`` gives, tried again for as long as the disk has no room for it.

    Raises CheckpointError for another reason, and if the job is to end while it waits.
    """
    is_told = False
    while True:
        try:
            made = write()
        except NoRoom as error:
            if not is_told:
                _tell_waiting(report, error)
            is_told = True
            if not _waited(report):
                raise
        else:
            if is_told:
                report.found(RESULT_WRITTEN, "There was room again: the result is written.",
                             severity="info")  # fmt: skip
            return made


def _tell_waiting(report: Report, error: CheckpointError) -> None:
    report.found(
        RESULT_WAITS,
        "The run is done, and the disk has no room for its result.",
        cause=str(error),
        remedy="The finished weights are kept in memory and written as soon as there is room; to "
        "stop the run gives them up.",
    )


def _waited(report: Report) -> bool:
    """Whether to try again; False if the job is to end."""
    until = time.monotonic() + TRY_EVERY_SECONDS
    while time.monotonic() < until:
        if report.wishes.ending:
            return False
        report.moved()  # It waits for a person, and does not hang.
        time.sleep(_LOOK_SECONDS)
    return True
