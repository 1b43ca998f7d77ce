"""The one writer of a run's records.

Each record gets the next ``seq`` and goes to its file in one unbuffered write, so that whatever
ends this process loses nothing that was said. What a power cut or a full disk tore is cut off when
the journal is opened again. A disk that is full must not end a training: lines then wait in memory,
are tried again with every further record, and :attr:`Journal.problem` says what is wrong.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.contract.messages import METRIC_TYPES, Record, encode
from engine.failpoints import reach
from engine.store.columns import Sheet, claim, release, sheet_of
from engine.store.files import disk_sentence, is_full, write_all
from engine.store.records import EVENTS, METRICS, lines_back, stamp_of

_MOST_WAITING = 100_000
"""Records that a full disk keeps in memory; then the oldest measurements are let go."""


class _File:
    """An append-only file that knows its length, so that a torn write can be taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        reach("host.open")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self.descriptor = os.open(path, flags, 0o644)
        self.size = os.fstat(self.descriptor).st_size

    def append(self, data: bytes) -> None:
        try:
            reach("host.journal")
            write_all(self.descriptor, data)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(data)


class Journal:
    """Appends records to a run folder. Open it once a run; not for several threads at a time."""

    def __init__(self, folder: Path, run: str, counted: int = 0) -> None:
        """Recovers the counter from what is on disk; no number up to ``counted`` is given again,
        though its record was lost. Raises ``OSError`` if it cannot be opened."""
        self.folder = folder
        self.run = run
        self.written_seq = max(_cut_torn_end(folder / name) for name in (EVENTS, METRICS))
        self.seq = max(self.written_seq, counted)
        """Up to here the files have everything."""
        self.problem = ""
        """Why records wait in memory, for people; empty while all goes to disk."""
        self.is_full = False
        """With a problem: whether it is want of room."""
        sheets = claim(folder)
        self._files: dict[str, _File] = {}
        self._rows: dict[str, _File] = {}
        self._waiting: deque[tuple[Record, bytes]] = deque()
        try:
            for name in (EVENTS, METRICS):
                self._files[name] = _File(folder / name)
            for sheet in sheets:
                self._rows[sheet.kind] = _File(sheet.path(folder))
        except OSError:
            self._let_go()
            raise

    def append(self, record: Record) -> tuple[Record, bytes]:
        """Number a record and write it; gives it as it stands in the file, and its line."""
        numbered = msgspec.structs.replace(record, run=self.run, seq=self.seq + 1)
        line = encode(numbered) + b"\n"
        self.seq += 1
        self._waiting.append((numbered, line))
        self._write_waiting()
        return numbered, line

    def waiting_since(self, seq: int) -> list[tuple[int, bytes]]:
        """``seq`` and line of what comes after ``seq`` and the disk would not take yet."""
        return [(record.seq, line) for record, line in self._waiting if record.seq > seq]

    def sync(self) -> None:
        """Force all of it to the disk, against power cuts. Slow: not in the event loop."""
        for file in [*self._files.values(), *self._rows.values()]:
            os.fsync(file.descriptor)

    def retry(self) -> bool:
        """Write what waits; whether nothing does any more."""
        self._write_waiting()
        return not self._waiting

    def close(self, make_room: Callable[[], None] | None = None) -> None:
        """Close the files; what still waits is tried once more. If the disk has no room even then,
        ``make_room`` makes a little, for the events: how the run ended counts more than its last
        measurements."""
        if not self.retry() and make_room is not None:
            make_room()
            self._waiting = deque(
                each for each in self._waiting if not isinstance(each[0], METRIC_TYPES)
            )
            self._write_waiting()
        self._let_go()

    def _let_go(self) -> None:
        for file in (*self._files.values(), *self._rows.values()):
            # A disk far away may only now say that it did not take what was written.
            with contextlib.suppress(OSError):
                os.close(file.descriptor)
        self._files, self._rows = {}, {}
        release(self.folder)

    def _write_waiting(self) -> None:
        while self._waiting:
            record, line = self._waiting[0]
            name = METRICS if isinstance(record, METRIC_TYPES) else EVENTS
            try:
                self._files[name].append(line)
            except OSError as error:
                self.problem = disk_sentence(error, self.folder)
                self.is_full = is_full(error)
                if len(self._waiting) > _MOST_WAITING:
                    self._let_one_go()
                return
            self._waiting.popleft()
            self.written_seq = record.seq
            self._add_row(record)
        self.problem = ""

    def _let_one_go(self) -> None:
        """The oldest measurement, if there is one: an event must arrive."""
        metrics = (n for n, (r, _) in enumerate(self._waiting) if isinstance(r, METRIC_TYPES))
        del self._waiting[next(metrics, 0)]

    def _add_row(self, record: Record) -> None:
        sheet: Sheet | None = sheet_of(record)
        file = self._rows.get(sheet.kind) if sheet else None
        if sheet is None or file is None:
            return
        try:
            file.append(sheet.pack(record))
        except OSError:
            # A copy with a hole must not be taken for whole; it is made again from the lines.
            os.close(self._rows.pop(sheet.kind).descriptor)
            file.path.unlink(missing_ok=True)


def _cut_torn_end(path: Path) -> int:
    """Cut off what is no record at the end of a file; gives the last ``seq``, 0 without any."""
    for end, line in lines_back(path):
        stamp = stamp_of(line)
        if stamp:
            _truncate(path, end)
            return stamp.seq
    _truncate(path, 0)
    return 0


def _truncate(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
