"""A dataset in units that can be made sense of anywhere: read in one place, examples in another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.formats import json_rows, registry
from engine.formats import source as sources
from engine.formats.dataset import example_of, read_rows, resolve
from engine.formats.example import Example
from engine.formats.runs import RUN_BYTES, Run
from engine.formats.source import Source

_ROWS = 256


class Ready(msgspec.Struct, frozen=True):
    """Rows of a file whose rows are not to be had by cutting it, as examples already."""

    rows: list[tuple[Any, Example]]
    """Each as it stands in the file, and what it is."""
    end: int = 0
    """Bytes of the file up to the last one's end; 0 where nobody knows."""


Unit = Run | Ready


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A file, the format it is read in, and the method that learns from it."""

    source: Source
    format: str
    method: str

    def units(self) -> Iterator[Unit]:
        """All of it, in order. Raises DatasetError, possibly after some."""
        if self.source.kind == "json":
            return json_rows.runs(self.source)
        return self._ready()

    def share(self, unit: Unit) -> float:
        """How much of the file has been read with it: up to 1, and 0 where nobody knows."""
        return 0.0 if self.source.packing else min(1.0, unit.end / self.source.bytes)

    def examples(self, unit: Unit) -> Iterator[tuple[Any, Example]]:
        """Each row as it stands in the file, and what it is. Raises DatasetError with the place of
        a row that does not fit."""
        if isinstance(unit, Ready):
            yield from unit.rows
            return
        module = registry.FORMATS[self.format]
        for row in json_rows.rows_of(self.source, unit):
            yield row.value, example_of(self.source, row, module)

    def _ready(self) -> Iterator[Ready]:
        module = registry.FORMATS[self.format]
        held: list[tuple[Any, Example]] = []
        begin = end = 0
        for row in read_rows(self.source):
            held.append((row.value, example_of(self.source, row, module)))
            end = row.end
            if len(held) == _ROWS or end - begin >= RUN_BYTES:
                yield Ready(held, end)
                held, begin = [], end
        if held:
            yield Ready(held, end)


def open_dataset(path: str, format: str, method: str) -> Dataset:
    """Raises DatasetError."""
    source = sources.find(path)
    return Dataset(source=source, format=resolve(source, format, method), method=method)
