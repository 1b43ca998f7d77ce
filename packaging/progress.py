"""Says what is being done: a line a phase, with the time it took."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET_SECONDS = 10.0
"""Where lines cannot be rewritten (a log, CI), a sign of life comes this often."""


class Phases:
    """Numbered phases of known count, the running one with a line that is kept up to date."""

    def __init__(self, *, total: int, out: TextIO | None = None) -> None:
        self._total = total
        self._out = out or sys.stdout
        self._number = 0
        self._title = ""
        self._started = self._said = 0.0

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """One phase; its closing line is only printed if it went well."""
        self._number += 1
        self._title = f"[{self._number}/{self._total}] {title}"
        self._started = self._said = time.monotonic()
        self._rewrite(self._title)
        yield
        self._finish_line(f"{self._title}: {time.monotonic() - self._started:.1f} s")

    def tick(self, doing: str) -> None:
        """The phase goes on; ``doing`` says at what, and may be empty."""
        now = time.monotonic()
        line = f"{self._title}: {doing or 'starting'}, {now - self._started:.0f} s"
        if self._out.isatty():
            self._rewrite(line)
        elif now - self._said >= QUIET_SECONDS:
            self._said = now
            print(line, file=self._out, flush=True)

    def _rewrite(self, line: str) -> None:
        if self._out.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r" + line[:width].ljust(width), end="", file=self._out, flush=True)

    def _finish_line(self, line: str) -> None:
        if self._out.isatty():
            width = shutil.get_terminal_size().columns - 1
            line = "\r" + line.ljust(width)
        print(line, file=self._out, flush=True)
