"""A dataset as examples: reading it, and telling two files apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from engine.formats import arrow_rows, csv_rows, json_rows, parquet_rows, registry, text_rows
from engine.formats import source as sources
from engine.formats.example import DatasetError, Example, Format, Row, RowError
from engine.formats.registry import Detected
from engine.formats.source import Source

_HASH_WHOLE_BYTES = 1 << 30
_HASH_BLOCK = 4 << 20
_HASH_BLOCKS = 64


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


def resolve(source: Source, format: str, method: str | None) -> str:
    """The format to read a file in. Raises DatasetError if none fits or the method cannot use it.

    ``format`` is a name in the spec, or ``auto``; ``method`` is a method's name, or None for any.
    """
    if format != "auto":
        must_suit(source, format, method, "dataset.format")
        return format
    head = [row.value for row in islice(read_rows(source), registry.SAMPLE_ROWS) if not row.error]
    return settle(source, registry.detect(head, method), method)


def settle(source: Source, found: Detected, method: str | None) -> str:
    """The detected format's name. Raises DatasetError if it cannot be used."""
    if found.format not in registry.FORMATS:
        problem = f"{source.name} cannot be learnt from. {found.guess.reason}"
        raise DatasetError(problem, registry.REMEDIES.get(found.format, registry.RENAME))
    must_suit(source, found.format, method, "dataset.path")
    return found.format


def must_suit(source: Source, format: str, method: str | None, field: str) -> None:
    """Raises DatasetError if the method cannot learn from the format."""
    known = registry.METHOD_FORMATS.get(method or "", tuple(registry.FORMATS))
    if format in known:
        return
    if format == "text":
        raise DatasetError(
            f"{source.name} is plain text, which has no answers for {method} to learn.",
            'Write method = "pretrain", or choose conversations.',
            field,
        )
    raise DatasetError(
        f"{source.name} holds {format} rows; {method} learns from plain text.",
        'Write method = "sft", or choose a text file.',
        field,
    )


def read_examples(path: str | Path, format: str, method: str) -> Iterator[Example]:
    """Every row of the dataset as an example, in the file's order.

    Raises DatasetError naming file, row and line at the first row that does not fit.
    """
    source = sources.find(path)
    module = registry.FORMATS[resolve(source, format, method)]
    for row in read_rows(source):
        yield example_of(source, row, module)


def dataset_of(path: str | Path, format: str, method: str) -> str:
    """The name of the format that a dataset is read in. Raises DatasetError."""
    return resolve(sources.find(path), format, method)


def example_of(source: Source, row: Row, module: Format) -> Example:
    """The row as an example. Raises DatasetError with the place of the row."""
    if row.error is not None:
        raise row.error
    try:
        return module.to_example(row.value)
    except RowError as error:
        problem = f"{source.name}, {row.where}: {error.problem}"
        raise DatasetError(problem, error.remedy) from None


def split_sizes(count: int, eval_fraction: float) -> tuple[int, int]:
    """How many of ``count`` rows train and how many are held back.

    At least one is held back if any should be and there are two; at least one always trains.
    """
    held = min(max(round(count * eval_fraction), 1), count - 1) if eval_fraction > 0 else 0
    held = max(held, 0)
    return count - held, held


# ---------------------------------------------------------------- fingerprint


def fingerprint(path: str | Path) -> str:
    """Two files with the same fingerprint hold the same data. Raises DatasetError.

    ``sha256:…`` over all bytes up to 1 GiB; of larger files ``sampled-sha256:…`` over the size and
    64 evenly spread blocks of 4 MiB, so that a resume does not wait for the disk.
    """
    source = sources.find(path)
    try:
        if source.bytes <= _HASH_WHOLE_BYTES:
            with source.path.open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return f"sampled-sha256:{_sampled(source)}"
    except OSError as error:
        raise sources.unreadable(source.path, error) from None


def _sampled(source: Source) -> str:
    digest = hashlib.sha256(str(source.bytes).encode())
    last = source.bytes - _HASH_BLOCK
    with source.path.open("rb") as file:
        for index in range(_HASH_BLOCKS):
            file.seek(last * index // (_HASH_BLOCKS - 1))
            digest.update(file.read(_HASH_BLOCK))
    return digest.hexdigest()
