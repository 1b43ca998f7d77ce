"""Where rows come from, for people: file, row and line."""

from __future__ import annotations

from engine.contract.dataset_spec import DatasetSpec
from engine.contract.row_places import MOST_FILES, FileRows, told_apart
from engine.contract.spec import Spec
from engine.formats import corpus
from engine.formats.entries import readings
from engine.formats.example import DatasetError
from engine.store.encoded import Meta
from engine.worker.samples import Samples


def place_of(spec: Spec, samples: Samples, index: int) -> str:
    """``row 17 (line 18) of chats.jsonl``."""
    if samples.origins is None:
        return f"block {index + 1} of the text"
    return corpus.place_of(spec.dataset, int(samples.origins[index]))


def files_of(dataset: DatasetSpec, meta: Meta) -> list[FileRows]:
    """The files that the rows are from; none where they are too many to be told. The tokens may
    have been made when the files had other names."""
    if len(meta.files) > MOST_FILES:
        return []
    try:
        paths = [str(s.path) for reading in readings(dataset) for s in reading.gathered.files]
        named = [paths[piece] for piece, _, _ in meta.files]
    except (DatasetError, IndexError):  # They were there a moment ago.
        return []
    return [
        FileRows(name=name, first=first, number=number)
        for name, (_, first, number) in zip(told_apart(named), meta.files, strict=True)
    ]
