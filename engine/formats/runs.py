"""A dataset file in runs: some rows that stand one behind the other, as they are in the file.

Whoever reads a file reads it run by run, so that no file is ever in memory as a whole, and a run
can be made sense of somewhere else than where it was read.
"""

from __future__ import annotations

import msgspec

RUN_BYTES = 1 << 17
"""About as much of a file is in a run, in bytes; one row more than that is a run of its own."""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Some rows."""

    data: bytes
    """Whole lines, or what stands between the brackets of a list or two of its commas."""
    number: int
    """Of its first row in the file, from 1."""
    line: int
    """Of the file where it begins, from 1."""
    end: int
    """Bytes of the file up to its end."""
    is_list: bool = False
    piece: int = 0
    """Which file of the dataset it is of, from 0."""
