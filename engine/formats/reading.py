"""A dataset in units that can be made sense of anywhere: read in one place, examples in another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.contract.dataset_spec import DatasetSpec, Names
from engine.formats import json_rows, mapping, registry
from engine.formats.entries import Reading, example_of, readings, resolve, rows_of
from engine.formats.example import DatasetError, Example, Format, Row, RowError
from engine.formats.learnt import learnt
from engine.formats.runs import RUN_BYTES, Run
from engine.formats.source import Source

_ROWS = 256
RawRow = tuple[Any, Example | None, int]
"""A row by the usual names, what is learnt of it, None if nothing is, and the line of the file
where it begins, 0 where files have none."""


class Ready(msgspec.Struct, frozen=True):
    """Rows of a file whose rows are not to be had by cutting it, as examples already."""

    rows: list[RawRow]
    end: int = 0
    """Bytes of the file up to the last one's end; 0 where nobody knows."""
    piece: int = 0
    """Which file of the dataset they are of, from 0."""
    number: int = 1
    """Of the first of them in the file, from 1."""


Unit = Run | Ready


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a dataset, and all that its rows are made sense of with."""

    source: Source
    format: str
    columns: Names = {}
    roles: Names = {}
    entry: int = 0
    """Which entry of the spec it is of, from 0."""
    table: str = "dataset"
    before: int = 0
    """Bytes of the files before it."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Files, the formats they are read in, and the method that learns from them."""

    pieces: tuple[Piece, ...]
    entries: tuple[Reading, ...] = ()
    """What it is read from; nothing where units come from elsewhere."""
    method: str

    @property
    def format(self) -> str:
        """The formats, each once, for people."""
        return ", ".join(dict.fromkeys(piece.format for piece in self.pieces))

    def units(self) -> Iterator[Unit]:
        """All of it, in order. Raises DatasetError, possibly after some."""
        at = 0
        for reading in self.entries:
            files = reading.gathered.files
            is_sliced = bool(reading.entry.skip_samples or reading.entry.max_samples)
            try:
                if is_sliced or files[0].kind != "json":
                    yield from self._ready(reading, at, is_sliced)
                else:
                    for piece, source in enumerate(files, start=at):
                        for run in json_rows.runs(source):
                            yield msgspec.structs.replace(run, piece=piece)
            except DatasetError as error:
                raise error.within(reading.table) from None
            at += len(files)

    def share(self, unit: Unit) -> float:
        """How much of the files has been read with it: up to 1, and 0 where nobody knows."""
        piece = self.pieces[unit.piece]
        if not unit.end or any(each.source.packing for each in self.pieces):
            return 0.0
        last = self.pieces[-1]
        return min(1.0, (piece.before + unit.end) / (last.before + last.source.bytes))

    def entry_of(self, unit: Unit) -> int:
        """Which entry of the spec it is of, from 0."""
        return self.pieces[unit.piece].entry

    def examples(self, unit: Unit) -> Iterator[RawRow]:
        """Each row, and what it is. Raises DatasetError with the place of a row that does not
        fit."""
        if isinstance(unit, Ready):
            yield from unit.rows
            return
        piece = self.pieces[unit.piece]
        module = registry.FORMATS[piece.format]
        apply = mapping.applied(piece.columns, piece.roles)
        try:
            if apply is None and (values := json_rows.values_of(unit)) is not None:
                yield from _quickly(piece.source, unit, values, module)
                return
            for row in json_rows.rows_of(piece.source, unit):
                if apply is not None and row.error is None:
                    row = msgspec.structs.replace(row, value=apply(row.value))
                yield row.value, example_of(piece.source, row, module), row.line or 0
        except DatasetError as error:
            raise error.within(piece.table) from None

    def _ready(self, reading: Reading, at: int, is_sliced: bool) -> Iterator[Ready]:
        places = {file.path: place for place, file in enumerate(reading.gathered.files, start=at)}
        module = registry.FORMATS[self.pieces[at].format]
        held: list[RawRow] = []
        begin = end = 0
        piece, number = at, 1
        for source, row in rows_of(reading):
            if places[source.path] != piece:
                if held:
                    yield Ready(held, end, piece, number)
                held, begin, piece = [], 0, places[source.path]
            number = number if held else row.number
            held.append((row.value, example_of(source, row, module), row.line or 0))
            end = 0 if is_sliced else row.end
            if len(held) == _ROWS or end - begin >= RUN_BYTES:
                yield Ready(held, end, piece, number)
                held, begin = [], end
        if held:
            yield Ready(held, end, piece, number)


def _quickly(source: Source, run: Run, values: list[Any], module: Format) -> Iterator[RawRow]:
    """The same of what stands one a line, as nearly always. Raises DatasetError."""
    line = run.line
    try:
        for line, value in enumerate(values, start=run.line):
            yield value, learnt(module.to_example(value)), line
    except RowError:
        at = line - run.line
        example_of(source, Row(run.number + at, line, values[at]), module)
        raise


def open_dataset(dataset: DatasetSpec, method: str) -> Dataset:
    """Raises DatasetError."""
    return dataset_of(tuple(readings(dataset)), method)


def dataset_of(entries: tuple[Reading, ...], method: str) -> Dataset:
    """The same of entries whose files have been found. Raises DatasetError."""
    pieces: list[Piece] = []
    before = 0
    for number, reading in enumerate(entries):
        format = resolve(reading, method)
        for source in reading.gathered.files:
            piece = Piece(
                source=source, format=format, columns=reading.entry.columns,
                roles=reading.entry.roles, entry=number, table=reading.table, before=before,
            )  # fmt: skip
            pieces.append(piece)
            before += source.bytes
    return Dataset(pieces=tuple(pieces), entries=entries, method=method)
