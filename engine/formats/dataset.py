"""A dataset by its path, as examples; a run reads what its spec names.

How that is done is :mod:`engine.formats.reading`'s and :mod:`engine.formats.corpus`'s work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from engine.contract.dataset_spec import DatasetSpec, FormatName
from engine.formats.corpus import numbered_examples
from engine.formats.example import Example


def read_examples(path: str | Path, format: str, method: str) -> Iterator[Example]:
    """Every row of the dataset that is learnt from, as an example, in the file's order.

    Raises DatasetError naming file, row and line at the first row that does not fit.
    """
    for found in numbered_examples(_named(path, format), method):
        if found.example is not None:
            yield found.example


def _named(path: str | Path, format: str) -> DatasetSpec:
    return DatasetSpec(path=str(path), format=cast("FormatName", format))


def split_sizes(count: int, eval_fraction: float) -> tuple[int, int]:
    """How many of ``count`` rows train and how many are held back.

    At least one is held back if any should be and there are two; at least one always trains.
    """
    held = min(max(round(count * eval_fraction), 1), count - 1) if eval_fraction > 0 else 0
    held = max(held, 0)
    return count - held, held
