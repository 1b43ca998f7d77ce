"""Rows of JSON files: a list of objects, or one object a line. The content decides, not the ending.

Strict: no NaN, no trailing commas, no stray characters, and an error names its line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec

from engine.formats import json_inside, json_list
from engine.formats import source as sources
from engine.formats.example import DatasetError, Row
from engine.formats.json_wrong import explain
from engine.formats.runs import RUN_BYTES, Run
from engine.formats.source import MAX_ROW_BYTES, Source
from engine.formats.unpack import opened

_HEAD_BYTES = 1 << 16
_FIRST, _LAST = itemgetter(0), itemgetter(-2)
"""Bytes of a line with its end."""
_OPENS, _CLOSES = set(b"{"), set(b"}")
_value: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_list = msgspec.json.Decoder(list[msgspec.Raw])


def rows(source: Source) -> Iterator[Row]:
    """The file's rows. Raises DatasetError, possibly after some rows."""
    for run in runs(source):
        yield from rows_of(source, run)


def runs(source: Source) -> Iterator[Run]:
    """The file in runs of rows. Raises DatasetError, possibly after some."""
    start = sources.read_bytes(source, _HEAD_BYTES).lstrip()
    if not start:
        raise no_rows(source)
    told = partial(explain, source)
    if start.startswith(b"["):
        found = json_list.runs(source, told)
    elif inside := json_inside.found_in(source, start):
        found = json_list.runs_of(source, told, io.BytesIO(inside.data))
    else:
        _refuse_single_object(source, start)
        found = _line_runs(source)
    is_empty = True
    for run in found:
        is_empty = False
        yield run
    if is_empty:
        raise no_rows(source)


def rows_of(source: Source, run: Run) -> Iterator[Row]:
    """The rows of a run. Raises DatasetError, possibly after some rows."""
    return _list_rows(source, run) if run.is_list else _lines(source, run)


def values_of(run: Run) -> list[Any] | None:
    """What each line of a run holds, where that is plain to see; None where its rows are to be read
    with :func:`rows_of`."""
    return None if run.is_list else _at_once(run.data, io.BytesIO(run.data).readlines())


def is_lines(source: Source) -> bool:
    """Whether it is one object a line, and not a list. Raises DatasetError."""
    start = sources.read_bytes(source, _HEAD_BYTES).lstrip()
    return not start.startswith(b"[") and not json_inside.found_in(source, start)


def inside(source: Source) -> str:
    """Where in an object its rows are, such as ``data.train``; empty where the file is a list, or
    one object a line. Raises DatasetError."""
    start = sources.read_bytes(source, _HEAD_BYTES).lstrip()
    found = json_inside.found_in(source, start)
    return ".".join(found.names) if found else ""


def no_rows(source: Source) -> DatasetError:
    """A file that is sound but holds nothing."""
    return DatasetError(f"{source.name} has no rows.", "Choose a file with at least one row.")


# ---------------------------------------------------------------- one object a line


def _line_runs(source: Source) -> Iterator[Run]:
    number = line = 1
    end = 0
    try:
        with opened(source.path, source.packing) as file:
            while data := file.read(RUN_BYTES):
                data += file.readline(MAX_ROW_BYTES + 1)
                data = data if end else data.removeprefix(sources.BOM)
                end += len(data)
                kept = data[: _last_line(data)] if (too_long := _is_too_long(data)) else data
                lines = kept.split(b"\n")
                if filled := _filled(lines):
                    yield Run(kept, number, line, end)
                number += filled
                line += len(lines) - 1
                if too_long:
                    raise sources.too_long(source, f"line {line}")
    except OSError as error:
        raise sources.unreadable(source.path, error) from None


def _is_too_long(data: bytes) -> bool:
    """Whether the last of some lines is longer than a row may be."""
    return len(data) > MAX_ROW_BYTES and len(data) - _last_line(data) > MAX_ROW_BYTES


def _last_line(data: bytes) -> int:
    """Where the last line begins that is not empty."""
    return data.rstrip(b"\n").rfind(b"\n") + 1


def _filled(lines: list[bytes]) -> int:
    """How many of them have something in them."""
    return len(lines) - lines.count(b"") - sum(map(bytes.isspace, lines))


def _lines(source: Source, run: Run) -> Iterator[Row]:
    lines = io.BytesIO(run.data).readlines()
    values = _at_once(run.data, lines)
    if values is None:
        yield from _one_by_one(source, run, lines)
        return
    end = run.end - len(run.data)
    for at, value in enumerate(values):
        end += len(lines[at])
        yield Row(run.number + at, run.line + at, value, None, end)


def _at_once(data: bytes, lines: list[bytes]) -> list[Any] | None:
    """What the lines of ``data`` hold, more quickly than one by one; None where one of them is
    broken, or perhaps not just one object from its first to its last byte."""
    # None goes over several lines then: between } and { there is always a comma.
    if {*map(_FIRST, lines)} != _OPENS or not {*map(_LAST, lines[:-1])} <= _CLOSES:
        return None
    if not lines[-1].endswith((b"}\n", b"}")):
        return None
    try:
        values = _value.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Several may stand on one line.
    return values if len(values) == len(lines) else None


def _one_by_one(source: Source, run: Run, lines: list[bytes]) -> Iterator[Row]:
    """Any lines: some may be empty or broken."""
    number, end = run.number - 1, run.end - len(run.data)
    for line, data in enumerate(lines, start=run.line):
        end += len(data)
        if data.isspace():
            continue
        number += 1
        try:
            row = Row(number, line, _decode(source, data, line), None, end)
        except DatasetError as error:
            row = Row(number, line, data.decode(errors="replace").strip(), error, end)
        yield row


def _refuse_single_object(source: Source, start: bytes) -> None:
    """A pretty-printed object is the commonest thing that is neither a list nor lines."""
    first = start.split(b"\n", 1)[0].strip()
    looks_like_lines = first.startswith(b"{") and first not in (b"{", b"{}")
    if ".json" not in source.path.suffixes[-2:] or looks_like_lines:
        return
    data = sources.read_bytes(source, json_inside.OBJECT_BYTES)
    if len(data) == json_inside.OBJECT_BYTES and first == b"{":
        raise DatasetError(
            f"{source.name} is one object, not a list of rows.",
            "Keep only the list in it, or write one object a line.",
        )
    try:
        whole = _value.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if first != b"{":
            return
        explain(source, data, 1, 0, error)  # No line of it is a row.
    # Were they rows, they would have been read.
    remedy = "Write [ … ] around it if it is a row, or one object a line."
    what = "one object" if isinstance(whole, dict) else "a single value"
    raise DatasetError(f"{source.name} is {what}, not a list of rows.", remedy)


def _decode(source: Source, data: bytes, first_line: int) -> Any:
    """One row's value."""
    try:
        return _value.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        explain(source, data, first_line, 0, error)


# ---------------------------------------------------------------- a list of objects


def _list_rows(source: Source, run: Run) -> Iterator[Row]:
    data = run.data
    place, line, before = 0, run.line, run.end - len(data)
    for number, raw in enumerate(_list.decode(b"[" + data + b"]"), start=run.number):
        piece = bytes(raw)
        start = data.find(piece, place)  # between rows is only white space and a comma
        line += data.count(b"\n", place, start)
        if len(piece) > MAX_ROW_BYTES:
            raise sources.too_long(source, f"row {number} (line {line})")
        place = start + len(piece)
        yield Row(number, line, _decode(source, piece, line), None, before + place)
        line += piece.count(b"\n")
