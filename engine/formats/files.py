"""The rows of one file, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.formats import arrow_rows, csv_rows, json_rows, parquet_rows, text_rows
from engine.formats.example import Row
from engine.formats.source import Source

_READERS: dict[str, Callable[[Source], Iterator[Row]]] = {
    "json": json_rows.rows,
    "csv": csv_rows.rows,
    "parquet": parquet_rows.rows,
    "arrow": arrow_rows.rows,
    "text": text_rows.rows,
}


def read_rows(source: Source) -> Iterator[Row]:
    """The rows of a file. Raises DatasetError, possibly after some rows."""
    return _READERS[source.kind](source)
