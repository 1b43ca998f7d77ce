"""A JSON list in runs of rows, read without ever having the whole of it in memory.

Where a row ends is not looked for in Python: what lies before a comma is handed to the decoder, and
if it is a whole list with brackets around it, the comma stands between two rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import IO, NoReturn

import msgspec

from engine.formats import source as sources
from engine.formats.runs import RUN_BYTES, Run
from engine.formats.source import MAX_ROW_BYTES, Source
from engine.formats.unpack import opened

TRUNCATED = "truncated"
"""In the decoder's words for text that ends too early."""
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)$")
_BEGIN = re.compile(rb'\s*(\{\s*"(?:[^"\\]|\\.)*+")')
BAD_ESCAPE = re.compile(rb"\\u(?![0-9a-fA-F]{4})|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_GUESSES = 3
_NO_ASCII = bytes(range(0x80, 0x100))
_list = msgspec.json.Decoder(list[msgspec.Raw])
_raw: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)

Explain = Callable[[bytes, int, int, Exception], NoReturn]
"""Raises DatasetError for bytes, the line they begin in, how many of its bytes are before them, and
what the decoder says."""
Errors = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def runs(source: Source, explain: Explain) -> Iterator[Run]:
    """Rows in the file's order; a list without any gives no run. Raises DatasetError, possibly
    after some."""
    try:
        with opened(source.path, source.packing) as file:
            yield from runs_of(source, explain, file)
    except OSError as error:
        raise sources.unreadable(source.path, error) from None


def runs_of(source: Source, explain: Explain, file: IO[bytes]) -> Iterator[Run]:
    """The same of a list that has been found in the file. Raises DatasetError and OSError."""
    reader = _Reader(source, explain)
    # Twice as much each time while a row goes on: it is looked at anew each time.
    while chunk := file.read(max(RUN_BYTES, len(reader.text))):
        yield from reader.take(chunk)
    yield from reader.last()


class _Reader:
    """What was read of a list and not yet handed out: it begins with a row."""

    def __init__(self, source: Source, explain: Explain) -> None:
        self._source = source
        self._explain = explain
        self.text = b""
        self._number, self._line, self._before, self._end = 1, 1, 0, 0
        self._head = b""
        """Stands for all that was handed out, so that the decoder sees a list."""

    def take(self, chunk: bytes) -> Iterator[Run]:
        """The rows that are whole now. Raises DatasetError."""
        self.text += chunk
        if not self._head and not self._open():
            return
        cut, count = _cut(self.text)
        if cut:
            yield self._run(cut, count)
            self._pass(cut + 1)
            self._head = b"[0,"
        else:
            self._check()

    def last(self) -> Iterator[Run]:
        """The rows that are left at the file's end. Raises DatasetError."""
        count = len(self._decoded()) - (self._head == b"[0,")
        if count:
            yield self._run(self.text.rindex(b"]"), count)

    def _open(self) -> bool:
        """Step over the bracket, if it has been read."""
        if not self._end:
            self.text = self.text.removeprefix(sources.BOM)
        place = self.text.find(b"[")
        if place < 0:
            return False
        self._pass(place + 1)
        self._head = b"["
        return True

    def _run(self, size: int, count: int) -> Run:
        run = Run(self.text[:size], self._number, self._line, self._end + size, is_list=True)
        self._number += count
        return run

    def _pass(self, size: int) -> None:
        lines = self.text.count(b"\n", 0, size)
        self._line += lines
        self._before = size - self.text.rfind(b"\n", 0, size) - 1 if lines else self._before + size
        self._end += size
        self.text = self.text[size:]

    def _decoded(self) -> list[msgspec.Raw]:
        try:
            return _list.decode(self._head + self.text)
        except Errors as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> NoReturn:
        # The end of what was read may go through a character.
        data = self._head + self.text.rstrip(_NO_ASCII)
        self._explain(data, self._line, self._before - len(self._head), error)

    def _check(self) -> None:
        """Raises DatasetError unless there may be more to come."""
        try:
            _list.decode(self._head + self.text)
        except Errors as error:
            # For half a pair of characters it has the same words.
            if TRUNCATED not in str(error) or (self._is_long() and BAD_ESCAPE.search(self.text)):
                self._refuse(error)
        if self._is_long():
            raise sources.too_long(self._source, f"row {self._number} (line {self._line})")

    def _is_long(self) -> bool:
        return len(self.text) > MAX_ROW_BYTES


def _cut(text: bytes) -> tuple[int, int]:
    """The last comma that is known to stand between two rows, and how many come before it."""
    begin = _BEGIN.match(text)
    at = len(text)
    for _ in range(_GUESSES if begin else 0):
        assert begin is not None
        at = text.rfind(begin[1], begin.end(), at)
        comma = len(text[:at].rstrip()) - 1 if at > 0 else 0
        if comma <= 0:
            break
        if text[comma : comma + 1] == b"," and (count := _count(text[:comma])):
            return comma, count
    return _walk(text)


def _count(text: bytes) -> int:
    """How many rows it is; 0 if it is something else."""
    try:
        return len(_list.decode(b"[" + text + b"]"))
    except Errors:
        return 0


def _walk(text: bytes) -> tuple[int, int]:
    """As :func:`_cut`, row by row: what follows a row is an error that names its place."""
    view = memoryview(text)
    comma = begin = count = 0
    while True:
        try:
            _raw.decode(view[begin:])
            return comma, count
        except RecursionError:
            return comma, count
        except msgspec.DecodeError as error:
            found = _TRAILING.search(str(error))
        if found is None or text[(at := begin + int(found[1]) - 1) : at + 1] != b",":
            return comma, count
        comma, begin, count = at, at + 1, count + 1
