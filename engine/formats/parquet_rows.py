"""Rows of Parquet files. Needs pyarrow, which comes with the training packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.formats.columnar import BATCH_ROWS, batch_rows, damaged, need_pyarrow
from engine.formats.example import Row
from engine.formats.source import Source


def rows(source: Source) -> Iterator[Row]:
    """The file's rows as dicts. Raises DatasetError, possibly after some rows."""
    with _open(source) as file:
        try:
            yield from batch_rows(source, file.iter_batches(batch_size=BATCH_ROWS))
        except (OSError, ValueError) as error:
            raise damaged(source, "Parquet", error) from None


def row_count(source: Source) -> int:
    """Rows in the file, from its footer. Raises DatasetError."""
    with _open(source) as file:
        return int(file.metadata.num_rows)


def _open(source: Source) -> Any:
    need_pyarrow("Parquet")
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(source.path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise damaged(source, "Parquet", error) from None
