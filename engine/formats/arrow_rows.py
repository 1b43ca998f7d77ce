"""Rows of Arrow files, as the library ``datasets`` keeps them. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.formats.columnar import batch_rows, damaged, need_pyarrow
from engine.formats.example import Row
from engine.formats.source import Source


def rows(source: Source) -> Iterator[Row]:
    """The file's rows as dicts. Raises DatasetError, possibly after some rows."""
    need_pyarrow("Arrow")
    try:
        with source.path.open("rb") as file:
            yield from batch_rows(source, _batches(file))
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise damaged(source, "Arrow", error) from None


def _batches(file: Any) -> Iterator[Any]:
    from pyarrow import ipc

    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = ipc.open_file(file)
        for place in range(reader.num_record_batches):
            yield reader.get_batch(place)
    else:
        yield from ipc.open_stream(file)
