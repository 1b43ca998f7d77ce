"""A tokenised dataset as it is handed about."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.store.encoded import Meta
from engine.worker.row_hashes import RowHashes
from engine.worker.samples import Samples


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """A tokenised dataset; nothing of it is cut."""

    folder: Path
    meta: Meta
    samples: Samples
    hashes: RowHashes
    """Of each sample's content and the seed: rows are told apart by what they hold, so that a
    change of their order changes no split."""
    is_kept: bool = False
    """Whether it was there already."""
