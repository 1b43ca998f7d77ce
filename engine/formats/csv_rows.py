"""Rows of CSV and TSV files: the first line names the columns, every value is text."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from engine.formats import source as sources
from engine.formats.example import DatasetError, Row
from engine.formats.json_rows import no_rows
from engine.formats.source import MAX_ROW_BYTES, Source

DELIMITERS = (",", ";", "\t", "|")


def rows(source: Source) -> Iterator[Row]:
    """The file's rows as dicts. Raises DatasetError, possibly after some rows."""
    csv.field_size_limit(MAX_ROW_BYTES)
    text = _text_lines(source)
    header_line = next(text, "")
    while header_line and not header_line.strip():
        header_line = next(text, "")
    delimiter = delimiter_of(header_line)
    header = _header(source, header_line, delimiter)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    number, line = 0, 2
    for values in _guarded(source, reader):
        if values:
            number += 1
            try:
                row = Row(number, line, _row(source, header, values, line))
            except DatasetError as error:
                row = Row(number, line, None, error)
            yield row
        line = reader.line_num + 2
    if not number:
        raise no_rows(source)


def delimiter_of(header: str) -> str:
    """The character that cuts the header into most names; a comma if none does."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _text_lines(source: Source) -> Iterator[str]:
    for number, data in sources.lines(source):
        yield sources.decode(source, data, number)


def _header(source: Source, line: str, delimiter: str) -> list[str]:
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    if not any(names):
        raise no_rows(source)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{source.name}, line 1 names the column {twice[0][:40]!r} twice.",
            "Give every column its own name.",
        )
    return names


def _guarded(source: Source, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """The reader's rows, its errors as sentences."""
    line = 2
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(
                f"{source.name}, the row that starts in line {line} is not valid CSV: {error}.",
                "Check its quotes.",
            ) from None
        yield values
        line = getattr(reader, "line_num", line) + 2


def _row(source: Source, header: list[str], values: list[str], line: int) -> dict[str, str]:
    if len(values) != len(header):
        raise DatasetError(
            f"{source.name}, line {line} has {len(values)} values where the header has "
            f"{len(header)} columns.",
            "Put values that hold the separator or a line break into quotes.",
        )
    return dict(zip(header, values, strict=True))
