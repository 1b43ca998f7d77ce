"""One dataset of a spec, found on the disk: its files, and its rows with the usual names.

A spec has one, or several in a mixture; :mod:`engine.formats.corpus` reads them one behind the
other.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.formats import json_rows, mapping, registry
from engine.formats.example import DatasetError, Example, Format, Row, RowError, Sample
from engine.formats.files import read_rows
from engine.formats.gather import Gathered, gather
from engine.formats.learnt import ASKED_FOR, learnt
from engine.formats.registry import Detected
from engine.formats.source import Source

_FILES_COMPARED = 32


class Found(NamedTuple):
    """A row and the file it is in."""

    source: Source
    row: Row


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a spec's dataset with its files."""

    entry: SourceSpec
    table: str = "dataset"
    """Where it stands in the spec, such as ``dataset.sources[2]``."""
    gathered: Gathered

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.gathered.name

    def error(self, problem: str, remedy: str, field: str = "path") -> DatasetError:
        """A complaint about it."""
        return DatasetError(problem, remedy, f"{self.table}.{field}")


def opened(entry: SourceSpec, table: str = "dataset") -> Reading:
    """The entry with its files. Raises DatasetError."""
    try:
        return Reading(entry=entry, table=table, gathered=gather(entry.path))
    except DatasetError as error:
        raise error.within(table) from None


def readings(dataset: DatasetSpec) -> Iterator[Reading]:
    """All entries. Raises DatasetError at the first that cannot be read."""
    for place, entry in enumerate(dataset.entries):
        yield opened(entry, dataset.field_of(place))


def rows_of(reading: Reading) -> Iterator[Found]:
    """The rows that the entry asks for, by the usual names, file by file.

    Raises DatasetError, possibly after some rows, and if there are none.
    """
    entry = reading.entry
    last = entry.skip_samples + entry.max_samples if entry.max_samples else None
    found = islice(_all_rows(reading), entry.skip_samples, last)
    empty = True
    for each in found:
        empty = False
        yield each
    if empty:
        raise reading.error(
            f"{reading.name} has no more than {entry.skip_samples} rows, and all are skipped.",
            "Write a smaller skip_samples.",
            "skip_samples",
        )


def _all_rows(reading: Reading) -> Iterator[Found]:
    apply = mapping.applied(reading.entry.columns, reading.entry.roles)
    for source in reading.gathered.files:
        for row in read_rows(source):
            if apply is not None and row.error is None:
                row = msgspec.structs.replace(row, value=apply(row.value))
            yield Found(source, row)


# ---------------------------------------------------------------- its format


def resolve(reading: Reading, method: str | None, until: float = math.inf) -> str:
    """The format to read the entry in. Raises DatasetError if none fits, if files differ, as far as
    they can be compared ``until`` then, or if the method cannot use it; ``method`` is a method's
    name, or None for any."""
    entry = reading.entry
    if entry.format != "auto":
        must_suit(reading, entry.format, method, "format")
    must_have_columns(reading)
    if entry.format != "auto":
        return entry.format
    first = _first_values(reading)
    name = settle(reading, first, registry.detect(first, method), method)
    _must_agree(reading, name, method, until)
    return name


def settle(reading: Reading, head: list[object], found: Detected, method: str | None) -> str:
    """The detected format's name. Raises DatasetError if it cannot be used."""
    if found.format not in registry.FORMATS:
        name = reading.gathered.files[0].name
        problem = f"{name} cannot be learnt from. {found.guess.reason}"
        is_named_else = mapping.suggested(head) or len(mapping.texts_in(head)) > 1
        field = "columns" if is_named_else else "path"
        raise reading.error(problem, registry.remedy_of(head), field)
    must_suit(reading, found.format, method, "path")
    if method == "sft" and found.format in ASKED_FOR:
        raise _not_asked_for(reading, found.format, head)
    return found.format


def must_suit(reading: Reading, format: str, method: str | None, field: str) -> None:
    """Raises DatasetError if the method cannot learn from the format."""
    known = registry.METHOD_FORMATS.get(method or "", tuple(registry.FORMATS))
    if format in known:
        return
    name, choose = reading.name, "Choose"
    if field == "format":  # Nobody has looked at the rows: it is what the setting says of them.
        name, choose = f"Read as {format}, {name}", "Choose the format auto, or choose"
    if format == "text":
        raise reading.error(
            f"{name} is plain text, which has no answers for {method} to learn.",
            f"{choose} the method pretrain, or conversations.",
            field,
        )
    if format == "prompt_only" and method == "sft":
        raise reading.error(
            f"{name} has questions and no answers, so there is nothing for sft to learn.",
            f"{choose} data with answers; or say which column is `completion`.",
            field,
        )
    raise reading.error(
        f"{name} holds {format} rows; {method} learns from plain text.",
        f"{choose} the method sft, or a text file.",
        field,
    )


def _not_asked_for(reading: Reading, format: str, head: list[object]) -> DatasetError:
    others = [name for name in registry.METHOD_FORMATS["sft"] if name not in ASKED_FOR]
    other = registry.best_of(head, others).format
    # Other formats do not read the two answers of a pair, so there may be none at all.
    known = other in registry.FORMATS and format == "unpaired_preference"
    instead = f"the format {other} to learn all rows" if known else "data without a verdict"
    error = DatasetError(
        f"{reading.name}: {ASKED_FOR[format]}",
        f"Choose the format {format} if that is meant, or {instead}.",
        "dataset.format",
        patch={"dataset.format": format},
    )
    return error.within(reading.table)


def _first_values(reading: Reading, source: Source | None = None) -> list[object]:
    """What the first rows of a file hold, or of what the entry asks for, by the usual names. Raises
    DatasetError if there is no row at all."""
    if source is None:
        source, rows = reading.gathered.files[0], rows_of(reading)
    else:
        one = msgspec.structs.replace(reading.gathered, files=(source,))
        rows = _all_rows(msgspec.structs.replace(reading, gathered=one))
    head = [next(rows).row]
    with contextlib.suppress(DatasetError):  # Whoever reads on will meet it.
        head.extend(found.row for found in islice(rows, registry.SAMPLE_ROWS - 1))
    values = [row.value for row in head if row.error is None]
    if not values:
        raise head[0].error or json_rows.no_rows(source)
    return values


def must_have_columns(reading: Reading) -> None:
    """Raises DatasetError if a column that the entry names is in none of the first rows."""
    columns = reading.entry.columns
    if not columns:
        return
    plain = msgspec.structs.replace(reading.entry, columns={}, roles={})
    as_it_is = msgspec.structs.replace(reading, entry=plain)
    values = _first_values(as_it_is)
    try:
        mapping.must_be_there(columns, values, reading.name)
    except DatasetError as error:
        raise error.within(reading.table) from None


def _must_agree(reading: Reading, name: str, method: str | None, until: float) -> None:
    """Raises DatasetError if another file of the entry is of another format."""
    files = reading.gathered.files
    for source in files[1:_FILES_COMPARED]:
        if time.monotonic() > until:
            return
        found = registry.detect(_first_values(reading, source), method)
        if found.format != name:
            raise reading.error(
                f"{files[0].name} is {name} and {source.name} is {found.format}, and a run reads "
                f"all files of {reading.name} in one format.",
                "Make each format a dataset of its own, or take the file away.",
            )


# ---------------------------------------------------------------- its rows as examples


def sample_of(source: Source, row: Row, module: Format) -> Sample:
    """What the row is. Raises DatasetError with the place of the row."""
    if row.error is not None:
        raise row.error
    try:
        return module.to_example(row.value)
    except RowError as error:
        problem = f"{source.name}, {row.where}: {error.problem}"
        raise DatasetError(problem, error.remedy) from None


def example_of(source: Source, row: Row, module: Format) -> Example | None:
    """What is learnt of the row, None if nothing is. Raises DatasetError with its place."""
    return learnt(sample_of(source, row, module))
