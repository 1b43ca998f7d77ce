"""How many rows a file has: counted where that is quick, and else estimated from parts of it."""

from __future__ import annotations

import time

from engine.contract.dataset_spec import DatasetSpec
from engine.formats import json_rows, parquet_rows
from engine.formats.entries import Reading, opened
from engine.formats.example import DatasetError
from engine.formats.files import read_rows
from engine.formats.source import Source

_COUNTED_BYTES = 8 << 20
"""Files up to this size are counted; packed ones an eighth of it."""
_BLOCK = 1 << 16
_BLOCKS = 32
"""Places of a file that are looked at, evenly spread: its beginning may be unlike the rest."""
_HEAD_BYTES = 4 << 20
_HEAD_SECONDS = 0.2
_FILES_ESTIMATED = 4
"""Of several; the others are taken to be like them."""
_FIGURES = 3
"""Of an estimate: more would look like a count."""


def rows_in_all(dataset: DatasetSpec) -> int | None:
    """About how many rows an epoch of the dataset goes through, its weights reckoned in; None where
    nothing says. Raises DatasetError."""
    total = 0.0
    for place, entry in enumerate(dataset.entries):
        reading = opened(entry, dataset.field_of(place))
        found = count_of(reading) or estimate_of(reading)
        if found is None:
            return None
        found = max(0, found - entry.skip_samples)
        total += entry.weight * (min(found, entry.max_samples) if entry.max_samples else found)
    return round(total)


def count_of(reading: Reading) -> int | None:
    """Rows in all its files; None if counting would take long or one is broken further on."""
    files = reading.gathered.files
    if len(files) > 1 and reading.gathered.bytes > _COUNTED_BYTES and files[0].kind != "parquet":
        return None
    counts = [row_count(source) for source in files]
    return None if None in counts else sum(count for count in counts if count is not None)


def estimate_of(reading: Reading) -> int | None:
    """About how many rows its files have; None where nothing says."""
    files = reading.gathered.files
    some = files[:: -(-len(files) // _FILES_ESTIMATED)]
    counts = [row_count(s) or row_estimate(s) for s in some]
    found = sum(count for count in counts if count is not None)
    if None in counts:
        return None
    return _rounded(found * reading.gathered.bytes / sum(source.bytes for source in some))


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
        if source.kind == "json" and json_rows.is_lines(source):
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
