"""Checks a dataset before a run is made of it: every problem found in the time there is.

A small dataset is read from end to end; of a larger one as much as fits the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import msgspec

from engine.contract.dataset_spec import DatasetSpec, FormatName
from engine.contract.messages import Complaint
from engine.formats import json_rows, registry
from engine.formats.answers import has_empty_answer, is_blank, wasted_on
from engine.formats.bad_rows import BadRows
from engine.formats.dataset import split_sizes
from engine.formats.entries import (
    Found,
    Reading,
    example_of,
    must_have_columns,
    must_suit,
    opened,
    resolve,
    rows_of,
)
from engine.formats.example import DatasetError, Example, Format, Row, Text
from engine.formats.hub_datasets import NotHere
from engine.formats.source import Source
from engine.hugging_face import is_offline

TIME_SECONDS = 1.0
_HEAD_SHARE = 0.25
"""Of that, for the first rows: they are read again for their columns and for their format."""


class Checked(msgspec.Struct, kw_only=True):
    """What reading the rows came to."""

    complaints: list[Complaint]
    count: int = 0
    learnable: int = 0
    """Of those, rows of which something is learnt."""
    empty: int = 0
    """Of those again, rows with an answer that says nothing."""
    first_empty: str = ""
    """Where the first of these is."""
    blank: int = 0
    """Documents without text that can be seen; nothing is learnt of them."""
    whole: bool = False
    """Whether the end of the file was reached."""


def check_dataset(
    path: str | Path, format: str, method: str, eval_fraction: float = 0.0
) -> list[Complaint]:
    """Everything wrong with a dataset for a method; empty if it can be learnt from.

    Never raises. Answers within two seconds whatever the file's size.
    """
    shape = cast("FormatName", format)
    named = DatasetSpec(path=str(path), format=shape, eval_fraction=eval_fraction)
    return check_data(named, method)


def check_data(
    dataset: DatasetSpec, method: str, *, is_for_run: bool = True, seconds: float = TIME_SECONDS
) -> list[Complaint]:
    """The same of all that a spec names, as far as is read in that time. What has to be fetched
    from the hub first is passed. What a run would be wasted on is none of it for whoever only
    looks at the data."""
    deadline = time.monotonic() + seconds
    whole, complaints = True, []
    read: list[Checked] = []
    for place, entry in enumerate(dataset.entries):
        table = dataset.field_of(place)
        try:
            checked = _check(opened(entry, table), method, deadline)
        except NotHere as error:
            if is_offline("datasets"):
                complaints.append(error.complaint)
            whole = False
            continue
        except DatasetError as error:
            complaints.append(error.within(table).complaint)
            continue
        complaints += [_within(complaint, table) for complaint in checked.complaints]
        read.append(checked)
        whole = whole and checked.whole
    if complaints or not whole:
        return complaints
    if not is_for_run:
        return []
    return _wasted(dataset, read) or _too_few(dataset, sum(checked.count for checked in read))


def _within(complaint: Complaint, table: str) -> Complaint:
    if complaint.field.startswith(table):
        return complaint
    field = table + complaint.field.removeprefix("dataset")
    return msgspec.structs.replace(complaint, field=field)


def _check(reading: Reading, method: str, deadline: float) -> Checked:
    """What reading its rows comes to. Raises DatasetError if none can be read."""
    if reading.entry.format != "auto":
        must_suit(reading, reading.entry.format, method, "format")
    rows = rows_of(reading)
    head = _head(rows, deadline)
    if head.is_late:
        return Checked(complaints=[f.row.error.complaint for f in head.rows if f.row.error])
    must_have_columns(reading)
    name = _settled(reading, head, method, deadline)
    checked = _read(_again(head, rows), registry.FORMATS[name], deadline)
    if head.error is not None and not checked.complaints:  # There was no time to come to it again.
        checked.complaints = [head.error.complaint]
    if not checked.complaints and checked.whole and not checked.learnable:
        raise _nothing(reading, checked)
    return checked


def _nothing(reading: Reading, checked: Checked) -> DatasetError:
    """What to say of rows of which none can be learnt from."""
    if checked.blank:
        remedy = "Choose data with text in it, or the column that holds it."
        return reading.error(f"No row of {reading.name} has text that can be seen.", remedy)
    remedy = "Choose data with answers to learn."
    return reading.error(f"No row of {reading.name} is labelled good.", remedy)


class _Head(msgspec.Struct, kw_only=True):
    """The first rows and the error that ended them, if one did."""

    rows: list[Found]
    error: DatasetError | None = None
    is_late: bool = False
    """Whether they are so large that there is no time for more."""


def _head(rows: Iterator[Found], deadline: float) -> _Head:
    """The first rows. Raises DatasetError if there is not even one."""
    now = time.monotonic()
    until = now + _HEAD_SHARE * (deadline - now)
    head = _Head(rows=[next(rows)])
    try:
        for found in islice(rows, registry.SAMPLE_ROWS - 1):
            head.rows.append(found)
            if time.monotonic() > until:
                head.is_late = True
                break
    except DatasetError as error:
        head.error = error
    return head


def _again(head: _Head, rest: Iterator[Found]) -> Iterator[Found]:
    yield from head.rows
    if head.error is not None:
        raise head.error
    yield from rest


def _settled(reading: Reading, head: _Head, method: str, deadline: float) -> str:
    """The format to check against. Raises DatasetError if none can be used.

    A format named in the spec is refused here if no row looks like it, so that the complaint is one
    about the format and not one a row.
    """
    format = reading.entry.format
    values = [found.row.value for found in head.rows if not found.row.error]
    if not values:
        source, row = head.rows[0]
        raise row.error or json_rows.no_rows(source)
    if format == "auto":
        return resolve(reading, method, deadline)
    if registry.FORMATS[format].sniff(values).score > 0:
        return format
    found = registry.detect(values, method)
    known = found.format in registry.FORMATS
    raise reading.error(
        f"{reading.name} does not look like {format}. {found.guess.reason}",
        f"Choose the format {found.format}." if known else registry.remedy_of(values),
        "format",
    )


def _read(rows: Iterator[Found], module: Format, deadline: float) -> Checked:
    checked = Checked(complaints=[])
    bad = BadRows()
    try:
        for source, row in rows:
            checked.count += 1
            try:
                _note(checked, example_of(source, row, module), source, row)
            except DatasetError as error:
                deadline = bad.note(row, error, module, deadline)
            # At each row: one may have 16 MiB.
            if bad.is_full or time.monotonic() > deadline:
                break
        else:
            checked.whole = True
    except DatasetError as error:
        checked.complaints = [*bad.told(is_all=False), error.complaint]
        return checked
    checked.complaints = bad.told(is_all=checked.whole)
    return checked


def _note(checked: Checked, example: Example | None, source: Source, row: Row) -> None:
    is_blank_text = isinstance(example, Text) and is_blank(example.text)
    checked.blank += is_blank_text
    checked.learnable += example is not None and not is_blank_text
    if example is not None and has_empty_answer(example):
        checked.empty += 1
        checked.first_empty = checked.first_empty or f"{row.where} of {source.name}"


def _wasted(dataset: DatasetSpec, read: Sequence[Checked]) -> list[Complaint]:
    empty, rows = (sum(each.empty for each in read), sum(each.learnable for each in read))
    first = next((each.first_empty for each in read if each.empty), "")
    return wasted_on(dataset, empty, rows, first)


def _too_few(dataset: DatasetSpec, count: int) -> list[Complaint]:
    """One row cannot be learnt from and held back."""
    if dataset.eval_fraction <= 0 or split_sizes(count, dataset.eval_fraction)[1] > 0:
        return []
    return [
        Complaint(
            field="dataset.eval_fraction",
            problem=f"{dataset.title} has only {count} row, so none can be held back.",
            remedy="Write eval_fraction = 0, or add rows.",
            patch={"dataset.eval_fraction": 0.0},
        )
    ]
