"""The beginning of a dataset, for people: its first rows, its format, how long it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from engine.formats import counting, registry
from engine.formats import source as sources
from engine.formats.dataset import read_rows
from engine.formats.example import DatasetError, Row, RowError
from engine.formats.registry import Detected
from engine.formats.source import Source

SHOWN_CHARS = 2000
"""Longest text in a preview."""


def preview(path: str | Path, format: str = "auto", limit: int = 5) -> dict[str, Any]:
    """What :class:`engine.contract.messages.PreviewDataset` answers, from the file's beginning.

    Rows that do not fit have ``{"kind": "error", "problem": …, "remedy": …}`` as their example.
    Raises DatasetError if the file cannot be read at all.
    """
    source = sources.find(path)
    rows = list(_first(source, max(limit, registry.SAMPLE_ROWS)))
    values = [row.value for row in rows if not row.error]
    found = registry.detect(values)
    if format in registry.FORMATS:
        found = Detected(format=format, guess=registry.FORMATS[format].sniff(values))
    counted = counting.row_count(source)
    return {
        "format": found.format,
        "confidence": round(found.guess.score, 3),
        "reason": found.guess.reason,
        "rows": [_shorten(row.value) for row in rows[:limit]],
        "examples": [_shown(found.format, row) for row in rows[:limit]],
        "row_count": counted,
        "row_estimate": None if counted is not None else counting.row_estimate(source),
        "bytes": source.bytes,
    }


def _first(source: Source, count: int) -> Iterator[Row]:
    """The first rows; an error after some of them is left to the check."""
    rows = islice(read_rows(source), count)
    yield next(rows)
    try:
        yield from rows
    except DatasetError:
        return


def _shown(format: str, row: Row) -> Any:
    if row.error is not None:
        return {"kind": "error", "problem": row.error.problem, "remedy": row.error.remedy}
    module = registry.FORMATS.get(format) or registry.REFUSED.get(format)
    if module is None:
        return {"kind": "error", "problem": "No known format fits this row.", "remedy": ""}
    try:
        return _shorten(msgspec.to_builtins(module.to_example(row.value)))
    except RowError as error:
        return {"kind": "error", "problem": error.problem, "remedy": error.remedy}


def _shorten(value: Any, depth: int = 0) -> Any:
    """The value, fit for JSON and for a small message: long texts and lists cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, dict) and depth < 8:
        return {str(k)[:100]: _shorten(v, depth + 1) for k, v in islice(value.items(), 40)}
    if isinstance(value, list | tuple) and depth < 8:
        return [_shorten(item, depth + 1) for item in value[:20]]
    shown = value if isinstance(value, str) else str(value)
    shown = shown.encode(errors="replace").decode()
    return shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + "…"
