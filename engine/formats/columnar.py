"""What the readers of Parquet and Arrow files share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from engine.formats.example import DatasetError, Row
from engine.formats.json_rows import no_rows
from engine.formats.source import MAX_ROW_BYTES, Source, too_long, unreadable

BATCH_ROWS = 256


def need_pyarrow(kind: str) -> None:
    """Raises DatasetError where the package is not installed."""
    if find_spec("pyarrow") is None:
        raise DatasetError(
            f"{kind} files need the package pyarrow, which is not installed.",
            "Install Fettle's training packages, or save the data as JSONL.",
        )


def batch_rows(source: Source, batches: Iterable[Any]) -> Iterator[Row]:
    """The rows of record batches. Raises DatasetError, also if there are none."""
    number = 0
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH_ROWS):
            batch = whole.slice(start, BATCH_ROWS)
            if batch.nbytes > MAX_ROW_BYTES * max(batch.num_rows, 1):
                raise too_long(source, f"a row after row {number}")
            for value in batch.to_pylist():
                number += 1
                yield Row(number, None, value)
    if not number:
        raise no_rows(source)


def damaged(source: Source, kind: str, error: Exception) -> DatasetError:
    """What pyarrow says of a file, as a sentence."""
    if isinstance(error, DatasetError):
        return error
    if isinstance(error, PermissionError):
        return unreadable(source.path, error)
    why = str(error).splitlines()[0][:120].rstrip(".") if str(error) else type(error).__name__
    return DatasetError(
        f"{source.name} is no whole {kind} file: {why}.", "Copy or download it again."
    )
