"""How many rows a file has: counted where that is quick, and else estimated from parts of it."""

from __future__ import annotations

import time

from engine.formats import json_rows, parquet_rows
from engine.formats.dataset import read_rows
from engine.formats.example import DatasetError
from engine.formats.source import Source

_COUNTED_BYTES = 8 << 20
"""Files up to this size are counted; packed ones an eighth of it."""
_BLOCK = 1 << 16
_BLOCKS = 32
"""Places of a file that are looked at, evenly spread: its beginning may be unlike the rest."""
_HEAD_BYTES = 4 << 20
_HEAD_SECONDS = 0.2
_FIGURES = 3
"""Of an estimate: more would look like a count."""


def row_count(source: Source) -> int | None:
    """Rows in the file; None if counting would take long or the file is broken further on."""
    try:
        if source.kind == "parquet":
            return parquet_rows.row_count(source)
        if source.bytes <= (_COUNTED_BYTES // 8 if source.packing else _COUNTED_BYTES):
            return sum(1 for _ in read_rows(source))
    except DatasetError:
        return None
    return None


def row_estimate(source: Source) -> int | None:
    """About how many rows a long file has, in a fraction of a second; None where nothing says."""
    if source.packing or source.kind in ("parquet", "arrow"):
        return None
    try:
        share = 0.0
        if source.kind == "json" and not json_rows.is_list(source):
            share = _lines_a_byte(source)
        share = share or _rows_a_byte(source)
    except (DatasetError, OSError):
        return None
    return _rounded(share * source.bytes) if share else None


def _lines_a_byte(source: Source) -> float:
    """Of lines with something in them."""
    found = looked_at = 0
    last = max(0, source.bytes - _BLOCK)
    with source.path.open("rb") as file:
        for place in range(_BLOCKS):
            file.seek(last * place // (_BLOCKS - 1))
            block = file.read(_BLOCK)
            found += block.count(b"\n") - block.count(b"\n\n")
            looked_at += len(block)
    return found / looked_at if looked_at else 0.0


def _rows_a_byte(source: Source) -> float:
    """Of the file's beginning."""
    until = time.monotonic() + _HEAD_SECONDS
    number = end = 0
    for row in read_rows(source):
        number, end = row.number, row.end
        if end >= _HEAD_BYTES or time.monotonic() > until:
            break
    return number / end if end else 0.0


def _rounded(number: float) -> int:
    return int(float(f"{number:.{_FIGURES}g}"))
