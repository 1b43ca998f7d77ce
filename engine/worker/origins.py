"""Where rows come from, for people: file, row and line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from engine.contract.row_places import MOST_FILES, FileRows, told_apart
from engine.contract.spec import Spec
from engine.formats import corpus
from engine.formats.entries import Reading
from engine.store.encoded import LINES, Meta
from engine.worker import large
from engine.worker.samples import Samples


def place_of(spec: Spec, samples: Samples, index: int) -> str:
    """``row 17 (line 18) of chats.jsonl``."""
    if samples.origins is None:
        return f"block {index + 1} of the text"
    return corpus.place_of(spec.dataset, int(samples.origins[index]))


def files_of(entries: Iterable[Reading], meta: Meta) -> list[FileRows]:
    """The files that the rows are from, by the names that they have now; none where they are too
    many to be told."""
    if len(meta.files) > MOST_FILES:
        return []
    paths = [str(source.path) for reading in entries for source in reading.gathered.files]
    named = [paths[piece] for piece, _, _ in meta.files]
    return [
        FileRows(name=name, first=first, number=number)
        for name, (_, first, number) in zip(told_apart(named), meta.files, strict=True)
    ]


def lines_of(folder: Path, rows: Iterable[int]) -> dict[int, int]:
    """In which lines of their files rows of a tokenised dataset begin, where files have lines; the
    first row of all is 0. Raises ``OSError``."""
    kept = large.mapped(folder / LINES, np.int64)
    return {row: line for row in rows if (line := int(kept[row]))}
