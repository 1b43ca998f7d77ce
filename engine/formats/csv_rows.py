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
    text = _Lines(source)
    first, header_line = _first_line(text)
    delimiter = delimiter_of(header_line)
    header = _header(source, header_line, first, delimiter)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    number, line = 0, first + 1
    for values in _guarded(source, reader, first):
        if values:
            number += 1
            try:
                row = Row(number, line, _row(source, header, values, line), None, text.end)
            except DatasetError as error:
                row = Row(number, line, delimiter.join(values), error, text.end)
            yield row
        line = first + reader.line_num + 1
    if not number:
        raise no_rows(source)


def delimiter_of(header: str) -> str:
    """The character that cuts the header into most names; a comma if none does."""
    return max(DELIMITERS, key=lambda sign: _count(header, sign))


def _count(header: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _first_line(text: Iterator[str]) -> tuple[int, str]:
    """Number and text of the first line that is not blank; empty text if there is none."""
    for number, line in enumerate(text, start=1):
        if line.strip():
            return number, line
    return 1, ""


class _Lines:
    """The file's lines as text, and how far they have been read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = sources.lines(source)
        self.end = 0
        """In bytes."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, data = next(self._lines)
        self.end += len(data)
        return sources.decode(self._source, data, number)


def _header(source: Source, line: str, number: int, delimiter: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
        raise _invalid(source, f"line {number}", error) from None
    if not any(names):
        raise no_rows(source)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{source.name}, line {number} names the column {twice[0][:40]!r} twice.",
            "Give every column its own name.",
        )
    return names


def _guarded(source: Source, reader: Iterator[list[str]], header: int) -> Iterator[list[str]]:
    """The reader's rows, its errors as sentences; ``header`` is the line of the header."""
    line = header + 1
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _invalid(source, f"the row that starts in line {line}", error) from None
        yield values
        line = header + getattr(reader, "line_num", 0) + 1


def _invalid(source: Source, where: str, error: csv.Error) -> DatasetError:
    if "new-line character" in str(error):
        # Python's own words advise on how to open a file in Python.
        return DatasetError(
            f"{source.name}, {where} is not valid CSV: it has a carriage return inside a value "
            "that is not quoted.",
            "Save the file with ordinary line ends (LF or CRLF).",
        )
    return DatasetError(f"{source.name}, {where} is not valid CSV: {error}.", "Check its quotes.")


def _row(source: Source, header: list[str], values: list[str], line: int) -> dict[str, str]:
    if len(values) != len(header):
        raise DatasetError(
            f"{source.name}, line {line} has {len(values)} values where the header has "
            f"{len(header)} columns.",
            "Put values that hold the separator or a line break into quotes.",
        )
    return dict(zip(header, values, strict=True))
