"""All rows that a run reads: those of each entry of its dataset, one entry behind the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from engine.contract.dataset_spec import DatasetSpec
from engine.formats import registry
from engine.formats.entries import Reading, example_of, readings, resolve, rows_of
from engine.formats.example import DatasetError, Example, Row
from engine.formats.fingerprints import fingerprint_of


class Numbered(NamedTuple):
    """A row on its way into a run."""

    row: Row
    example: Example | None
    """What is learnt of it; None if nothing is."""
    share: float
    """How much of all files has been read: up to 1, and 0 where nobody knows."""
    part: int
    """Which entry of the dataset it is of; the first is 0."""


def numbered_examples(dataset: DatasetSpec, method: str) -> Iterator[Numbered]:
    """Every row of the dataset with its example, in order.

    Raises DatasetError naming file, row and line at the first row that does not fit.
    """
    yield from examples_of(list(readings(dataset)), method)


def examples_of(entries: Sequence[Reading], method: str) -> Iterator[Numbered]:
    """The same of entries whose files have been found."""
    total = sum(reading.gathered.bytes for reading in entries)
    before = 0
    for part, reading in enumerate(entries):
        try:
            yield from _of_one(reading, method, part, before, total)
        except DatasetError as error:
            raise error.within(reading.table) from None
        before += reading.gathered.bytes


def _of_one(
    reading: Reading, method: str, part: int, before: int, total: int
) -> Iterator[Numbered]:
    module = registry.FORMATS[resolve(reading, method)]
    current, most = None, reading.entry.max_samples
    for number, (source, row) in enumerate(rows_of(reading), start=1):
        if current is not None and source is not current:
            before += current.bytes
        current = source
        known = 0 if source.packing or not row.end else before + row.end
        share = min(1.0, known / total)
        if most and total == reading.gathered.bytes:
            share = max(share, number / most)
        yield Numbered(row, example_of(source, row, module), share, part)


def format_names(entries: Iterable[Reading], method: str) -> list[str]:
    """The format that each entry is read in. Raises DatasetError."""
    return [resolve(reading, method) for reading in entries]


def dataset_of(dataset: DatasetSpec, method: str) -> str:
    """The formats of the dataset, each once, for people. Raises DatasetError."""
    return ", ".join(dict.fromkeys(format_names(readings(dataset), method)))


def fingerprints(dataset: DatasetSpec) -> list[str]:
    """Of each entry what tells its files from others. Raises DatasetError."""
    return [fingerprint_of(reading.gathered) for reading in readings(dataset)]


def stamps(entries: Iterable[Reading]) -> list[list[int]]:
    """What changes when one of the files does, found without reading them: of each its size, time
    and number. Raises DatasetError."""
    files = [source for reading in entries for source in reading.gathered.files]
    found = [source.path.stat() for source in files]
    return [[each.st_size, each.st_mtime_ns, each.st_ino] for each in found]


def place_of(dataset: DatasetSpec, row: int) -> str:
    """``row 17 (line 18) of chats.jsonl``: where a row of the run stands, the first being 0. The
    files are read up to there once more, so that nobody keeps a line for each of a million rows."""
    try:
        every = (found for reading in readings(dataset) for found in rows_of(reading))
        found = next(islice(every, row, None), None)
    except (DatasetError, OSError):
        found = None
    if found is None:
        return f"row {row + 1} of {dataset.title}"
    return f"{found.row.where} of {found.source.name}"
