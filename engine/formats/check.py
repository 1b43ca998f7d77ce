"""Checks a dataset before a run is made of it: every problem found in the time there is.

A small dataset is read from end to end; of a larger one as much as fits the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from engine.contract.messages import Complaint
from engine.formats import json_rows, registry
from engine.formats import source as sources
from engine.formats.dataset import example_of, must_suit, read_rows, settle, split_sizes
from engine.formats.example import DatasetError, Format, Row
from engine.formats.source import Source

MAX_BAD_ROWS = 5
"""Rows complained about; more of the same help nobody."""
TIME_SECONDS = 1.0
_ROWS_A_LOOK = 128


class Checked(msgspec.Struct, kw_only=True):
    """What reading the rows came to."""

    complaints: list[Complaint]
    count: int = 0
    whole: bool = False
    """Whether the end of the file was reached."""


def check_dataset(
    path: str | Path, format: str, method: str, eval_fraction: float = 0.0
) -> list[Complaint]:
    """Everything wrong with a dataset for a method; empty if it can be learnt from.

    Never raises. Answers within two seconds whatever the file's size.
    """
    deadline = time.monotonic() + TIME_SECONDS
    try:
        source = sources.find(path)
        if format != "auto":
            must_suit(source, format, method, "dataset.format")
        rows = read_rows(source)
        head = _head(rows)
        name = _settled(source, head, format, method)
    except DatasetError as error:
        return [error.complaint]
    checked = _read(source, _again(head, rows), registry.FORMATS[name], deadline)
    if not checked.complaints and checked.whole:
        return _too_few(source, checked.count, eval_fraction)
    return checked.complaints


class _Head(msgspec.Struct, kw_only=True):
    """The first rows and the error that ended them, if one did."""

    rows: list[Row]
    error: DatasetError | None = None


def _head(rows: Iterator[Row]) -> _Head:
    """The first rows. Raises DatasetError if there is not even one."""
    head = _Head(rows=[next(rows)])
    try:
        head.rows.extend(islice(rows, registry.SAMPLE_ROWS - 1))
    except DatasetError as error:
        head.error = error
    return head


def _again(head: _Head, rest: Iterator[Row]) -> Iterator[Row]:
    yield from head.rows
    if head.error is not None:
        raise head.error
    yield from rest


def _settled(source: Source, head: _Head, format: str, method: str) -> str:
    """The format to check against. Raises DatasetError if none can be used.

    A format named in the spec is refused here if no row looks like it, so that the complaint is one
    about the format and not one a row.
    """
    values = [row.value for row in head.rows if not row.error]
    if not values:
        raise head.rows[0].error or json_rows.no_rows(source)
    found = registry.detect(values, method)
    if format == "auto" or found.format in registry.REFUSED:
        return settle(source, found, method)
    if registry.FORMATS[format].sniff(values).score > 0:
        return format
    other = found.format in registry.FORMATS
    raise DatasetError(
        f"{source.name} does not look like {format}. {found.guess.reason}",
        f'Write format = "{found.format if other else "auto"}".',
        "dataset.format",
    )


def _read(source: Source, rows: Iterator[Row], module: Format, deadline: float) -> Checked:
    checked = Checked(complaints=[])
    bad: list[tuple[Row, Complaint]] = []
    try:
        for row in rows:
            checked.count += 1
            try:
                example_of(source, row, module)
            except DatasetError as error:
                bad.append((row, _told(error, row, module)))
            if len(bad) >= MAX_BAD_ROWS or _is_late(checked.count, deadline):
                break
        else:
            checked.whole = True
    except DatasetError as error:
        checked.complaints = [*_joined(bad), error.complaint]
        return checked
    checked.complaints = _joined(bad)
    return checked


def _joined(bad: list[tuple[Row, Complaint]]) -> list[Complaint]:
    """What is wrong with several rows in the same way, once, with all of them."""
    groups: dict[tuple[str, ...], list[tuple[Row, Complaint]]] = {}
    for row, complaint in bad:
        head, where, tail = complaint.problem.partition(row.where)
        key = (head, where and tail, complaint.remedy, complaint.field)
        groups.setdefault(key, []).append((row, complaint))
    return [_of_rows(group) for group in groups.values()]


def _of_rows(group: list[tuple[Row, Complaint]]) -> Complaint:
    first, complaint = group[0]
    if len(group) == 1:
        return complaint
    rows = [row for row, _ in group]
    where = f"rows {_numbers([row.number for row in rows])}"
    if lines := [row.line for row in rows if row.line]:
        where += f" (lines {_numbers(lines)})"
    problem = complaint.problem.replace(first.where, where, 1)
    return msgspec.structs.replace(complaint, problem=problem)


def _numbers(found: list[int]) -> str:
    """``1 to 5``, or ``1, 3 and 4``."""
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]} to {found[-1]}"
    return f"{', '.join(map(str, found[:-1]))} and {found[-1]}"


def _told(error: DatasetError, row: Row, module: Format) -> Complaint:
    """The complaint about a row, with a better remedy where it is of another shape."""
    other = registry.detect([row.value])
    if row.error or registry.FORMATS.get(other.format, module) is module:
        return error.complaint
    remedy = f"This row looks like {other.format}; keep rows of one shape in a file."
    return DatasetError(error.problem, remedy, error.field).complaint


def _is_late(count: int, deadline: float) -> bool:
    return count % _ROWS_A_LOOK == 0 and time.monotonic() > deadline


def _too_few(source: Source, count: int, eval_fraction: float) -> list[Complaint]:
    """One row cannot be learnt from and held back."""
    if eval_fraction <= 0 or split_sizes(count, eval_fraction)[1] > 0:
        return []
    return [
        Complaint(
            field="dataset.eval_fraction",
            problem=f"{source.name} has only {count} row, so none can be held back.",
            remedy="Write eval_fraction = 0, or add rows.",
        )
    ]
