"""The beginning of a dataset, for people: its first rows, its format, how long it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec

from engine.contract.dataset_spec import DatasetSpec, FormatName, Names, SourceSpec
from engine.contract.messages import Complaint
from engine.formats import counting, json_rows, learnt, mapping, registry
from engine.formats.bad_rows import BadRows
from engine.formats.check import check_data
from engine.formats.entries import Found, Reading, must_have_columns, opened, rows_of
from engine.formats.example import DatasetError, Guess, Row, RowError
from engine.formats.registry import Detected

SHOWN = 5
"""Rows in a preview."""
SHOWN_CHARS = 2000
"""Longest text in a preview."""
_CHECK_SECONDS = 0.3
"""Of looking further for what a run would be refused for: who drops a file waits for its rows."""


def preview(
    path: str | Path, format: str = "auto", limit: int = SHOWN, columns: Names | None = None,
    roles: Names | None = None, *, is_alone: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What :class:`engine.contract.messages.PreviewDataset` answers, from the file's beginning.
    Of data that is learnt from alone it is told too that a run would be wasted on it.

    Rows that do not fit have ``{"kind": "error", "problem": …, "remedy": …}`` as their example.
    Raises DatasetError if the file cannot be read at all.
    """
    reading = opened(SourceSpec(path=str(path)))
    named = SourceSpec(path=str(path), columns=columns or {}, roles=roles or {})
    must_have_columns(msgspec.structs.replace(reading, entry=named))
    rows = [found.row for found in _first(reading, max(limit, registry.SAMPLE_ROWS))]
    raw = [row.value for row in rows if not row.error]
    apply = mapping.applied(named.columns, named.roles) or (lambda value: value)
    values = [apply(value) for value in raw]
    found = registry.detect(values)
    if format in registry.FORMATS:
        found = Detected(format=format, guess=registry.FORMATS[format].sniff(values))
    elif not raw:  # Not one of them can be read, and that is what to say.
        found = Detected(format=registry.NONE, guess=Guess(score=0.0, reason=_why(rows[0])))
    counted = counting.count_of(reading)
    shown = [msgspec.structs.replace(row, value=apply(row.value)) for row in rows[:limit]]
    return {
        "format": found.format,
        "confidence": round(found.guess.score, 3),
        "reason": f"{_place_of_rows(reading)}{found.guess.reason}",
        "fits": registry.fitting(values),
        "rows": [_shorten(row.value) for row in rows[:limit]],
        "examples": [_shown(found.format, row) for row in shown],
        "row_count": counted,
        "row_estimate": None if counted is not None else counting.estimate_of(reading),
        "bytes": reading.gathered.bytes,
        "files": len(reading.gathered.files),
        "columns": [name[:100] for name in mapping.names_in(raw)[:40]],
        "suggested": mapping.suggested(raw),
        "use": learnt.ASKED_FOR.get(found.format, ""),
        "complaints": msgspec.to_builtins(_complaints(named, found.format, rows, is_alone)),
    }


def _complaints(entry: SourceSpec, format: str, rows: list[Row], is_alone: bool) -> list[Complaint]:
    """What a run would be refused for, further on in the file too; what there is to say of a format
    that is not known is its reason."""
    method = next((name for name, known in registry.METHOD_FORMATS.items() if format in known), "")
    if not method:
        return _unread(rows)
    dataset = DatasetSpec(
        path=entry.path, format=cast("FormatName", format), columns=entry.columns,
        roles=entry.roles, eval_fraction=0,
    )  # fmt: skip
    return check_data(dataset, method, is_for_run=is_alone, seconds=_CHECK_SECONDS)


def _place_of_rows(reading: Reading) -> str:
    """Said where it is not plain to see."""
    source = reading.gathered.files[0]
    place = json_rows.inside(source) if source.kind == "json" else ""
    return f"The rows are those in `{place[:80]}`. " if place else ""


def _unread(rows: list[Row]) -> list[Complaint]:
    bad = BadRows()
    for row in rows:
        if row.error is not None:
            bad.note(row, row.error, registry.FORMATS["text"], math.inf)
    return bad.told(is_all=False)


def _why(row: Row) -> str:
    assert row.error is not None
    return row.error.problem


def _first(reading: Reading, count: int) -> Iterator[Found]:
    """The first rows; an error after some of them is left to the check."""
    rows = islice(rows_of(reading), count)
    yield next(rows)
    try:
        yield from rows
    except DatasetError:
        return


def _shown(format: str, row: Row) -> Any:
    if row.error is not None:
        return {"kind": "error", "problem": row.error.problem, "remedy": row.error.remedy}
    module = registry.FORMATS.get(format)
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
