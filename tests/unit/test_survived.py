"""What a run survived is not told as the reason of what ended it later."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from app.failure_words import failure_of
from app.series import RunSeries
from engine.contract.lifecycle import Event
from engine.contract.messages import CheckpointSaved, Decision, Finding
from engine.contract.toml import EXAMPLE, to_raw
from engine.host.book import Book, Listener
from engine.store import journal, runs
from engine.store.records import newest_failure, read_events


def interrupted(home: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> tuple[Book, str]:
    """A run whose history could not be written for a while, and that was cut off after a save."""
    book = Book(home / "runs", Listener())
    book.load()
    real = journal.write_all

    def failing(descriptor: int, data: bytes) -> None:
        raise OSError(code, os.strerror(code))

    async def work() -> str:
        now = datetime.now().astimezone()
        spec = to_raw(EXAMPLE)
        run = await book.add(runs.create(book.store, name="t", spec=spec, versions={}, now=now))
        for event in (Event.ENQUEUE, Event.LAUNCH, Event.PREPARE, Event.TRAIN):
            book.move(run, event)
        monkeypatch.setattr(journal, "write_all", failing)
        book.record(run, Decision(at=time.time(), title="T", reason="R"))
        monkeypatch.setattr(journal, "write_all", real)
        book.record(
            run,
            CheckpointSaved(
                at=time.time(), step=500, folder="c", bytes=1, seconds=1.0, reason="time"
            ),
        )
        book.move(run, Event.LOSE, "Interrupted. It can go on from step 500.")
        await book.close_all()
        return run

    return book, asyncio.run(work())


@pytest.mark.parametrize(
    ("code", "named", "until"),
    [
        (errno.ENOSPC, "disk_full", "there is room"),
        (errno.EDQUOT, "disk_full", "there is room"),
        (errno.EIO, "disk_unwritable", "the disk takes it"),
        (errno.EROFS, "disk_unwritable", "the disk takes it"),
    ],
)
def test_a_disk_that_was_mended_is_not_why_the_run_was_cut_off(
    code: int, named: str, until: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, run = interrupted(tmp_path, monkeypatch, code)
    (found,) = [e for e in read_events(book.folder(run)) if isinstance(e, Finding)]
    assert (found.code, found.severity) == (named, "warning")
    assert until in found.remedy
    assert newest_failure(book.folder(run)) is None
    series = RunSeries()
    for event in read_events(book.folder(run)):
        series.add(event)
    failure = failure_of(book.summary(run), series)
    assert failure is not None
    assert failure.finding.cause == "Interrupted. It can go on from step 500."
    assert "history" not in failure.finding.title
