"""Reading the records of a run: two files of lines, joined in the order of ``seq``.

Both files ascend in ``seq``, so the place of a number is found by bisection over bytes, and reading
goes on from there: a run of a million steps costs no more to join late than a short one. Nothing is
read into memory as a whole. A last line without its line feed is still being written, or was cut by
a crash, and is not there yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.contract.messages import (
    EVENT_TYPES,
    CheckpointSaved,
    Done,
    Finding,
    Message,
    Record,
    ResumeCertificate,
    StateChanged,
    decode_line,
)

EVENTS = "events.jsonl"
METRICS = "metrics.jsonl"
_BLOCK = 1 << 16
CHUNK = 1 << 18
"""Usual size of a piece of the past, in bytes."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a record that says where it belongs."""

    seq: int
    attempt: int = 1
    worker_seq: int = 0


_stamps = msgspec.json.Decoder(Stamp)
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading a line that is no record raises."""


def stamp_of(line: bytes) -> Stamp | None:
    """Where a line belongs; None if it is no record."""
    try:
        return _stamps.decode(line)
    except UNREADABLE:
        return None


def lines_back(path: Path) -> Iterator[tuple[int, bytes]]:
    """``(offset behind the line, line)`` of every complete line, the last one first."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start = file.seek(0, 2)
        tail = b""
        while start > 0:
            size = min(_BLOCK, start)
            start -= size
            file.seek(start)
            tail = file.read(size) + tail
            # The first line of a piece may begin before it.
            first = tail.find(b"\n") + 1 if start else 0
            if start and not first:
                continue
            yield from _whole_lines(start + first, tail[first:])
            tail = tail[:first]


def _whole_lines(start: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    *lines, unfinished = body.split(b"\n")
    end = start + len(body) - len(unfinished)
    for line in reversed(lines):
        yield end, line
        end -= len(line) + 1


def last_stamp(path: Path) -> Stamp | None:
    """Stamp of the newest record in a file, None if there is none."""
    return next((s for s in (stamp_of(line) for _, line in lines_back(path)) if s), None)


def newest_seq(folder: Path) -> int:
    """The highest ``seq`` in a run folder, 0 if it has no records."""
    stamps = (last_stamp(folder / name) for name in (EVENTS, METRICS))
    return max((stamp.seq for stamp in stamps if stamp), default=0)


def offset_after(file: BinaryIO, since: int) -> int:
    """Where in the file the first record with ``seq > since`` starts."""
    low, high = 0, file.seek(0, 2)
    while low < high:
        middle = (low + high) // 2
        start, line, seq = _next_record(file, middle, high)
        if seq is None or seq > since:
            high = middle
        else:
            low = start + len(line)
    return low


def _next_record(file: BinaryIO, at: int, end: int) -> tuple[int, bytes, int | None]:
    """The first record that starts in ``[at, end)``: its start, line, ``seq`` (None: no such)."""
    file.seek(max(at - 1, 0))
    if at > 0:
        file.readline()
    while (start := file.tell()) < end:
        line = file.readline()
        stamp = stamp_of(line) if line.endswith(b"\n") else None
        if stamp:
            return start, line, stamp.seq
    return end, b"", None


def _lines_of(path: Path, since: int, upto: int) -> Iterator[tuple[int, bytes]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset_after(file, since))
        for line in file:
            stamp = stamp_of(line) if line.endswith(b"\n") else None
            if stamp is None or stamp.seq <= since:
                continue
            if stamp.seq > upto:
                return
            yield stamp.seq, line


def records_since(
    folder: Path, since: int, upto: int, names: tuple[str, ...] = (EVENTS, METRICS)
) -> Iterator[tuple[int, bytes]]:
    """``(seq, line)`` of all records with ``since < seq <= upto``, ascending; lines end in ``\\n``.

    ``upto`` must have been reached before the call, or one file could be read further than the
    other.
    """
    return heapq.merge(*(_lines_of(folder / name, since, upto) for name in names))


def chunks_since(
    folder: Path, since: int, upto: int, names: tuple[str, ...] = (EVENTS, METRICS)
) -> Iterator[tuple[int, bytes]]:
    """The same as ``(last seq, lines)`` in pieces of about :data:`CHUNK` bytes."""
    lines: list[bytes] = []
    size = 0
    last = since
    for last, line in records_since(folder, since, upto, names):
        lines.append(line)
        size += len(line)
        if size >= CHUNK:
            yield last, b"".join(lines)
            lines, size = [], 0
    if lines:
        yield last, b"".join(lines)


def read_records(folder: Path, since: int = 0) -> Iterator[Record]:
    """All records of a run, decoded; unknown types and damaged lines are passed over."""
    for _, line in records_since(folder, since, newest_seq(folder)):
        record = _decode(line)
        if record is not None:
            yield record


def read_events(folder: Path) -> Iterator[Record]:
    """The records of ``events.jsonl``."""
    for _, line in _lines_of(folder / EVENTS, 0, newest_seq(folder)):
        record = _decode(line)
        if isinstance(record, EVENT_TYPES):
            yield record


def newest_metrics(folder: Path, attempt: int, count: int) -> list[Record]:
    """The newest steps and samples of an attempt, oldest first."""
    found: list[Record] = []
    for _, line in lines_back(folder / METRICS):
        record = _decode(line)
        if record is not None and record.attempt < attempt:
            break
        if record is not None:
            found.append(record)
        if len(found) == count:
            break
    return found[::-1]


def ends_with_done(folder: Path) -> bool:
    """Whether a Done stands behind the run's last change of state, if there is any."""
    for _, line in lines_back(folder / EVENTS):
        record = _decode(line)
        if isinstance(record, Done | StateChanged):
            return isinstance(record, Done)
    return True


def newest_failure(folder: Path) -> Finding | None:
    """Why the newest attempt failed; None if it did not, or nobody said so."""
    attempt = 0
    for _, line in lines_back(folder / EVENTS):
        record = _decode(line)
        if record is None:
            continue
        attempt = attempt or record.attempt
        if record.attempt < attempt:
            return None
        if isinstance(record, Done) and record.outcome != "failed":
            return None
        if isinstance(record, Finding) and record.severity == "error":
            return record
    return None


def newest_passed_over(folder: Path) -> str:
    """Why the newest attempt began before the newest save; empty if no save was damaged."""
    attempt = 0
    for _, line in lines_back(folder / EVENTS):
        record = _decode(line)
        attempt = attempt or (record.attempt if record else 0)
        if record is not None and record.attempt < attempt:
            break
        if isinstance(record, Finding) and record.code == "checkpoint_broken":
            return record.cause
    return ""


def newest_certificate(folder: Path) -> ResumeCertificate | None:
    """What the last resume that came so far was found to be; None if there was none."""
    for _, line in lines_back(folder / EVENTS):
        record = _decode(line)
        if isinstance(record, ResumeCertificate):
            return record
    return None


def saved_checkpoints(folder: Path) -> list[CheckpointSaved]:
    """What was said of the checkpoints that are still on disk, oldest step first."""
    said = {e.step: e for e in read_events(folder) if isinstance(e, CheckpointSaved)}
    return [said[step] for step in sorted(said) if (folder / said[step].folder).is_dir()]


def newest_worker_stamp(folder: Path) -> tuple[int, int]:
    """``(attempt, worker_seq)`` of the last record that came from a worker; ``(0, 0)`` if none."""
    newest = (0, 0)
    for name in (EVENTS, METRICS):
        for _, line in lines_back(folder / name):
            stamp = stamp_of(line)
            if stamp and stamp.worker_seq:
                newest = max(newest, (stamp.attempt, stamp.worker_seq))
                break
    return newest


def _decode(line: bytes) -> Record | None:
    try:
        message: Message = decode_line(line)
    except UNREADABLE:
        return None
    return message if isinstance(message, Record) else None
