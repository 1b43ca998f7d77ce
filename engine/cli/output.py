"""Where the command line writes: for people, or one JSON object a line."""

from __future__ import annotations

import io
import os
import shutil
import sys
from enum import IntEnum
from typing import Any, TextIO

import msgspec

from engine.client import Refused
from engine.contract.messages import Done, Message, Outcome


class Exit(IntEnum):
    """Exit codes of ``fettle``."""

    FINISHED = 0
    BAD_INPUT = 2
    WOULD_DIE = 3
    """A rehearsal found that the run would not get through."""
    DAMAGED = 4
    """A save is not as it was written."""
    BUSY = 5
    """The engine is at work with something else, and cannot do this beside it."""
    STOPPED = 10
    FAILED = 20
    DETACHED = 130
    """Left with Ctrl-C while training goes on."""


EXIT_OF: dict[Outcome, Exit] = {
    "finished": Exit.FINISHED,
    "stopped": Exit.STOPPED,
    "failed": Exit.FAILED,
}

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
_CLEAR_LINE = "\r\x1b[K"


class ReaderGone(Exception):
    """Whoever read our output has gone (``fettle runs | head``): there is nobody left to tell."""


class Output:
    """Stdout and stderr of one command. Every method that writes may raise :class:`ReaderGone`.

    With ``as_json`` stdout carries JSON objects only, and all that is for people goes to stderr.
    """

    def __init__(
        self, *, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        for stream in (self._stdout, self._stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A Windows pipe would be cp1252, and JSON is UTF-8.
                stream.reconfigure(encoding="utf-8", errors="replace")
        self.is_terminal = not as_json and self._stdout.isatty()
        self._colours = self.is_terminal and not os.environ.get("NO_COLOR")
        self._has_progress = False

    @property
    def width(self) -> int:
        """Columns of the progress line; the last one is left free, or some terminals wrap."""
        return shutil.get_terminal_size().columns - 1

    def say(self, text: str = "") -> None:
        """A line for people."""
        self.clear_progress()
        stream = self._stderr if self.as_json else self._stdout
        _write(stream, text + "\n")

    def warn(self, text: str) -> None:
        """A line for people that is no part of the result: to stderr."""
        self.clear_progress()
        _write(self._stderr, f"fettle: {text}\n")

    def progress(self, text: str) -> None:
        """The one line that is written over and over, on a terminal."""
        _write(self._stdout, _CLEAR_LINE + text[: self.width])
        self._has_progress = True

    def clear_progress(self) -> None:
        """Take the progress line away."""
        if self._has_progress:
            _write(self._stdout, _CLEAR_LINE)
            self._has_progress = False

    def emit(self, value: dict[str, Any] | Message) -> None:
        """One JSON object on stdout; nothing without ``as_json``."""
        if not self.as_json:
            return
        if isinstance(value, Done):
            value = spelled_out(value)
        _write(self._stdout, msgspec.json.encode(value).decode() + "\n")

    def print_raw(self, text: str) -> None:
        """Text that is itself the result, such as a spec or a JSON schema."""
        _write(self._stdout, text)

    def refuse(self, refused: Refused) -> None:
        """Say what is wrong with what was given; as JSON too if that is wanted."""
        complaints = [msgspec.to_builtins(c) for c in refused.complaints]
        self.emit(
            {
                "type": "refusal",
                "sentence": refused.sentence,
                "code": refused.code,
                "complaints": complaints,
            }
        )
        self.clear_progress()
        lines = [str(c) for c in refused.complaints] or [refused.sentence]
        _write(self._stderr, "".join(f"fettle: {line}\n" for line in lines))

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, on a terminal that has them."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colours else text


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def spelled_out(done: Done) -> dict[str, Any]:
    """The message with every field, also those that a default leaves out on the wire."""
    fields = {name: getattr(done, name) for name in done.__struct_fields__}
    return {"type": "done", **fields}
