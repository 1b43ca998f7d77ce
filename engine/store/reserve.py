"""Room on the disk that is kept back, so that how a run ended can be written though it is full."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = ".reserve"
BYTES = 256 << 10
"""For the last states, a Done and the status file of a run, many times over."""


class Reserve:
    """One beside the runs, in the same home."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME

    def keep(self) -> None:
        """Take the room, unless it is taken. Where there is none, none is kept."""
        with contextlib.suppress(OSError):
            if self._path.is_file() and self._path.stat().st_size == BYTES:
                return
        try:
            # What repeats itself some file systems store as nothing.
            self._path.write_bytes(os.urandom(BYTES))
        except OSError:
            self.give()

    def give(self) -> None:
        """Give the room back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
