"""A tokenised dataset as it is handed about."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from engine.contract.row_places import FileRows
from engine.formats.entries import Reading
from engine.store.encoded import Meta
from engine.worker.row_hashes import RowHashes, SomeHashes
from engine.worker.samples import Samples


class Fixed(msgspec.Struct, frozen=True, kw_only=True):
    """What one of ``dataset.fixes`` came to."""

    fix: str
    count: int
    rows: list[int]
    """The first of them; the first row of the dataset is 0."""


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """A tokenised dataset; nothing of it is cut."""

    folder: Path
    meta: Meta
    samples: Samples
    hashes: RowHashes | SomeHashes
    """Of each sample's content and the seed: rows are told apart by what they hold, so that a
    change of their order changes no split."""
    entries: tuple[Reading, ...] = ()
    """Those of the dataset, with its files."""
    files: list[FileRows] = []
    """Where the rows of each file begin; none where there are too many files."""
    is_kept: bool = False
    """Whether it was there already."""
    places: npt.NDArray[np.int64] | None = None
    """Which samples of the folder these are, where a fix leaves others out."""
    fixed: list[Fixed] = []
    base: Encoding | None = None
    """With those that are left out; None where none are."""
