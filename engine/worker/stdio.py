"""Takes stdin and stdout away from everybody else, before anything heavy is imported.

The host speaks with a worker over these two. Libraries print, C code prints, and some ask questions
on stdin; none of that may reach the wire. So the two descriptors are copied to private ones, 0
becomes the null device and 1 the same as 2 (a log).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from engine import own_secrets
from engine.contract.masking import masked


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """The private descriptors of the wire; children do not inherit them."""

    commands: int
    """To read from."""
    messages: int
    """To write to."""


def claim() -> Channel:
    """Copy 0 and 1 to private descriptors, then point 0 at nothing and 1 at the log."""
    sys.stdout.flush()
    # os.dup gives descriptors that close on exec.
    channel = Channel(commands=os.dup(0), messages=os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    _binary(channel.commands)
    _binary(channel.messages)
    return channel


def log_to(path: Path) -> None:
    """From now on 1 and 2, of Python and C code alike, are appended to the file."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


class _Masked:
    """A text stream that lets no token through, such as one that a library prints. A disk that is
    full loses what is printed, and ends no training."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream's own; gives the length of what was given."""
        with contextlib.suppress(OSError):
            self._stream.write(masked(text, own_secrets.known()))
        return len(text)

    def flush(self) -> None:
        """As the stream's own."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """As the stream's own."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def mask_prints() -> None:
    """From now on what Python code of this process prints holds no token of this user."""
    sys.stdout, sys.stderr = _Masked(sys.stdout), _Masked(sys.stderr)


def _binary(descriptor: int) -> None:
    """Keep Windows from translating line ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
