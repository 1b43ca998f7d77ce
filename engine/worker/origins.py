"""Where a sample comes from, for people: file, row and line."""

from __future__ import annotations

from itertools import islice

from engine.contract.spec import Spec
from engine.formats import source as sources
from engine.formats.dataset import read_rows
from engine.formats.example import DatasetError
from engine.worker.samples import Samples


def place_of(spec: Spec, samples: Samples, index: int) -> str:
    """``row 17 (line 18) of chats.jsonl``. The file is read up to there once more, so that nobody
    keeps a line for each of a million rows."""
    if samples.origins is None:
        return f"block {index + 1} of the text"
    row = int(samples.origins[index])
    try:
        source = sources.find(spec.dataset.path)
        found = next(islice(read_rows(source), row, None), None)
    except (DatasetError, OSError):
        found = None
    name = spec.dataset.path.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{found.where if found else f'row {row + 1}'} of {name}"
