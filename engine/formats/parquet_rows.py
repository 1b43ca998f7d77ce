"""Rows of Parquet files. Needs pyarrow, which comes with the training packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.formats.example import DatasetError, Row
from engine.formats.json_rows import no_rows
from engine.formats.source import MAX_ROW_BYTES, Source, too_long, unreadable

_BATCH_ROWS = 256


def rows(source: Source) -> Iterator[Row]:
    """The file's rows as dicts. Raises DatasetError, possibly after some rows."""
    number = 0
    with _open(source) as file:
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                _check_size(source, batch, number)
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, None, value)
        except (OSError, ValueError) as error:
            raise _damaged(source, error) from None
    if not number:
        raise no_rows(source)


def row_count(source: Source) -> int:
    """Rows in the file, from its footer. Raises DatasetError."""
    with _open(source) as file:
        return int(file.metadata.num_rows)


def _open(source: Source) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DatasetError(
            "Parquet files need the package pyarrow, which is not installed.",
            "Install Fettle's training packages, or save the data as JSONL.",
        ) from None
    try:
        return parquet.ParquetFile(source.path)
    except PermissionError as error:
        raise unreadable(source.path, error) from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _damaged(source, error) from None


def _check_size(source: Source, batch: Any, before: int) -> None:
    if batch.nbytes > MAX_ROW_BYTES * max(batch.num_rows, 1):
        raise too_long(source, f"a row after row {before}")


def _damaged(source: Source, error: Exception) -> DatasetError:
    if isinstance(error, DatasetError):
        return error
    why = str(error).splitlines()[0][:120].rstrip(".") if str(error) else type(error).__name__
    return DatasetError(
        f"{source.name} is no whole Parquet file: {why}.", "Copy or download it again."
    )
