"""Metrics by column, for graphs: a binary copy of ``metrics.jsonl`` that opens in no time.

Beside ``metrics.jsonl`` lies one hidden file a kind, with a row of little-endian float64 for each
record. The journal appends to it; when it is missing or behind, it is made again from the lines, so
that it never has to be trusted, only compared. It has what graphs show; the lines have it all.
"""

from __future__ import annotations

import binascii
import contextlib
import logging
import math
import struct
import threading
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Literal

from engine.contract.messages import Columns, Record, Step, Telemetry, decode_line, encode
from engine.contract.wire import MAX_LINE
from engine.store.files import rename
from engine.store.records import METRICS, UNREADABLE, last_stamp

log = logging.getLogger(__name__)

Kind = Literal["step", "telemetry"]

_LAYOUT = 1
"""Part of the file names: another set of columns is another number, and old copies are ignored."""
_NAN = struct.pack("<d", math.nan)
_lock = threading.Lock()
"""Only one thread at a time makes copies anew."""
_claimed: set[Path] = set()
"""Folders whose copies a journal appends to; nobody else may replace them."""


class Sheet:
    """The columns of one kind of record. ``seq`` is first."""

    def __init__(self, kind: Kind, record: type[Record], names: str) -> None:
        self.kind: Kind = kind
        self.record = record
        self.names = names.split()
        self._row = struct.Struct(f"<{len(self.names)}d")
        self._get = attrgetter(*self.names)
        self.row_bytes = self._row.size
        # Base64 makes 4 bytes of 3; a little room is left for names and quotes.
        self.rows_a_piece = (MAX_LINE - 2048) * 3 // 4 // self.row_bytes

    def pack(self, record: Record) -> bytes:
        """The record as one row; what it has not becomes NaN."""
        return self._row.pack(*[math.nan if v is None else v for v in self._get(record)])

    def path(self, folder: Path) -> Path:
        """Where a run keeps its rows of this kind."""
        return folder / f".{self.kind}.v{_LAYOUT}.f64"

    def piece(self, run: str, rows: bytes, left: int) -> bytes:
        """The rows as a line of the wire. Columns without any number are left out."""
        values = memoryview(rows).cast("d")
        nothing = _NAN * (len(rows) // self.row_bytes)
        texts = {}
        for at, name in enumerate(self.names):
            column = values[at :: len(self.names)].tobytes()
            if column != nothing:
                texts[name] = binascii.b2a_base64(column, newline=False).decode("ascii")
        return encode(Columns(run=run, kind=self.kind, data=texts, left=left)) + b"\n"


STEPS = Sheet(
    "step",
    Step,
    "seq at attempt step loss learning_rate grad_norm epoch step_ms tokens "
    "vram_allocated_bytes vram_reserved_bytes vram_peak_bytes",
)
TELEMETRY = Sheet(
    "telemetry",
    Telemetry,
    "seq at attempt ram_used_bytes cpu_percent vram_used_bytes vram_total_bytes "
    "vram_process_bytes gpu_busy_percent gpu_temperature_celsius gpu_power_watts",
)
SHEETS = (STEPS, TELEMETRY)


def sheet_of(record: Record) -> Sheet | None:
    """The sheet that a record belongs to, if any."""
    return next((sheet for sheet in SHEETS if isinstance(record, sheet.record)), None)


def refresh(folder: Path) -> None:
    """Make the copies anew if they do not end where ``metrics.jsonl`` ends.

    Does nothing for a claimed run: its journal keeps them up to date.
    """
    with _lock:
        if folder not in _claimed:
            _could_refresh(folder)


def claim(folder: Path) -> tuple[Sheet, ...]:
    """Bring the copies up to date, and leave them to the caller to append to; these are there. On a
    disk that does not take them there are none, and the lines serve instead."""
    with _lock:
        kept = SHEETS if _could_refresh(folder) else ()
        _claimed.add(folder)
        return kept


def release(folder: Path) -> None:
    """End a claim."""
    with _lock:
        _claimed.discard(folder)


def _could_refresh(folder: Path) -> bool:
    """Whether the copies are right now; if not, there are none."""
    try:
        _refresh(folder)
    except OSError as error:
        log.warning("%s goes without copies of its metrics: %s", folder.name, error)
        for sheet in SHEETS:
            for path in (_fresh(sheet, folder), sheet.path(folder)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        return False
    return True


def _refresh(folder: Path) -> None:
    stamp = last_stamp(folder / METRICS)
    wanted = stamp.seq if stamp else 0
    ends = [_last_seq(sheet, folder) for sheet in SHEETS]
    if min(ends) < 0 or max(ends) != wanted:
        _rebuild(folder)


def _last_seq(sheet: Sheet, folder: Path) -> int:
    """``seq`` of the last row; 0 without rows, -1 for a file that cannot be right."""
    path = sheet.path(folder)
    size = path.stat().st_size if path.exists() else -1
    if size < 0 or size % sheet.row_bytes:
        return -1
    if size == 0:
        return 0
    with path.open("rb") as file:
        return _seq_at(sheet, file, size // sheet.row_bytes - 1)


def _rebuild(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        files = {
            sheet.kind: stack.enter_context(_fresh(sheet, folder).open("wb", buffering=1 << 20))
            for sheet in SHEETS
        }
        for record in _metrics(folder):
            sheet = sheet_of(record)
            if sheet:
                files[sheet.kind].write(sheet.pack(record))
    for sheet in SHEETS:
        rename(_fresh(sheet, folder), sheet.path(folder))


def _fresh(sheet: Sheet, folder: Path) -> Path:
    """Where a copy is while it is made."""
    return sheet.path(folder).with_suffix(".new")


def _metrics(folder: Path) -> Iterator[Record]:
    path = folder / METRICS
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield record


def _record(line: bytes) -> Record | None:
    try:
        message: Any = decode_line(line) if line.endswith(b"\n") else None
    except UNREADABLE:
        return None
    return message if isinstance(message, Record) else None


def pieces_since(folder: Path, run: str, since: int, upto: int) -> Iterator[bytes]:
    """Lines of :class:`Columns` with all metrics of ``since < seq <= upto``, each below 1 MiB."""
    for sheet in SHEETS:
        yield from _pieces_of(sheet, folder, run, since, upto)


def _pieces_of(sheet: Sheet, folder: Path, run: str, since: int, upto: int) -> Iterator[bytes]:
    try:
        file = sheet.path(folder).open("rb")
    except OSError:
        yield from _pieces_of_lines(sheet, folder, run, since, upto)
        return
    with file:
        count = file.seek(0, 2) // sheet.row_bytes
        at = _rows_upto(sheet, file, since, count)
        end = _rows_upto(sheet, file, upto, count)
        file.seek(at * sheet.row_bytes)
        while at < end:
            rows = min(sheet.rows_a_piece, end - at)
            at += rows
            yield sheet.piece(run, file.read(rows * sheet.row_bytes), left=end - at)


def _pieces_of_lines(
    sheet: Sheet, folder: Path, run: str, since: int, upto: int
) -> Iterator[bytes]:
    """The same without a copy: a full disk did not take it, and the run still goes on."""
    rows = b"".join(
        sheet.pack(record)
        for record in _metrics(folder)
        if isinstance(record, sheet.record) and since < record.seq <= upto
    )
    size = sheet.rows_a_piece * sheet.row_bytes
    for at in range(0, len(rows), size):
        left = max(len(rows) - at - size, 0) // sheet.row_bytes
        yield sheet.piece(run, rows[at : at + size], left)


def _rows_upto(sheet: Sheet, file: BinaryIO, seq: int, count: int) -> int:
    """How many of the first ``count`` rows have at most this ``seq``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if _seq_at(sheet, file, middle) <= seq:
            low = middle + 1
        else:
            high = middle
    return low


def _seq_at(sheet: Sheet, file: BinaryIO, row: int) -> int:
    file.seek(row * sheet.row_bytes)
    (seq,) = struct.unpack("<d", file.read(8))
    return int(seq) if math.isfinite(seq) else -1
