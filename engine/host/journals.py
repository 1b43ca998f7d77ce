"""The journals that are open: one a run, for as long as records may come or still wait for room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from engine.host.disk import Disk
from engine.store.files import disk_sentence
from engine.store.journal import Journal
from engine.store.records import newest_seq
from engine.store.reserve import Reserve
from engine.store.upgrade import StoreError

_TEND_SECONDS = 2.0
"""Between two tries to write what a full disk would not take."""


class Journals:
    """Of one store. Lives in the event loop's thread."""

    def __init__(self, store: Path, disk: Disk, on_written: Callable[[str], None]) -> None:
        """``on_written`` hears of a run whose last records have found their way to the disk."""
        self._store = store
        self._disk = disk
        self._on_written = on_written
        self._open: dict[str, Journal] = {}
        self._opening = asyncio.Lock()
        self._unwritten: set[str] = set()
        """Runs at rest whose journals wait for a disk that takes their last records."""
        self.reserve = Reserve(store.parent)

    def of(self, run: str) -> Journal:
        """The open journal of the run. Raises ``KeyError`` if it is not open."""
        return self._open[run]

    async def newest(self, run: str) -> int:
        """The newest ``seq`` of the run."""
        journal = self._open.get(run)
        return journal.seq if journal else await asyncio.to_thread(newest_seq, self._store / run)

    def waiting_since(self, run: str, seq: int) -> list[tuple[int, bytes]]:
        """Records that a full disk keeps in memory."""
        journal = self._open.get(run)
        return journal.waiting_since(seq) if journal else []

    async def open(self, run: str, counted: int) -> None:
        """Open the run's journal, if it is not; no number up to ``counted`` is given again.
        Raises :class:`StoreError`."""
        # A run has one journal, or two would give the same numbers.
        async with self._opening:
            self._unwritten.discard(run)
            if run in self._open:
                return
            folder = self._store / run
            try:
                self._open[run] = await self._disk.in_order(Journal, folder, run, counted)
            except OSError as error:
                raise StoreError(disk_sentence(error, folder)) from error

    async def close(self, run: str) -> None:
        """Close the journal of a run at rest; while its records wait for room it stays open."""
        journal = self._open.get(run)
        if journal is None:
            return
        if not journal.retry():
            self._unwritten.add(run)
            return
        del self._open[run]
        await self._disk.in_order(journal.close)

    async def give_up(self, run: str) -> None:
        """Close it though records may still wait: the run is about to be removed."""
        self._unwritten.discard(run)
        if journal := self._open.pop(run, None):
            await self._disk.in_order(journal.close)

    async def close_all(self) -> None:
        """Everything is on disk when this returns, as far as there is room for it."""
        for run, journal in list(self._open.items()):
            had_room = journal.retry()
            del self._open[run]
            await self._disk.in_order(journal.close, self.reserve.give)
            if not had_room:
                self._on_written(run)

    @property
    def has_unwritten(self) -> bool:
        """Whether the end of a run is not on the disk yet."""
        return bool(self._unwritten)

    async def tend(self) -> None:
        """For ever: write what waits of runs that are at rest once the disk takes it."""
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            for run in list(self._unwritten):
                # While another one was closed, its turn may have come.
                if run in self._unwritten and self._open[run].retry():
                    self._unwritten.discard(run)
                    self._on_written(run)
                    await self.close(run)
