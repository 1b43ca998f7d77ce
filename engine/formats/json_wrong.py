"""Why something is no valid JSON: the line, and what stands there."""

from __future__ import annotations

import re
from typing import NoReturn

import msgspec

from engine.formats import json_scan
from engine.formats import source as sources
from engine.formats.example import DatasetError
from engine.formats.json_list import BAD_ESCAPE
from engine.formats.source import Source

_LONG_LINE = 200
_CUT_OFF = "it ends in the middle"
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = (b"NaN", b"Infinity", b"-Infinity", b"-NaN", b"nan", b"inf")
_NO_VALUE = " is no JSON value"
_COMMA = "a comma follows where it should end"
_OLD_ENDS = "its lines end in a carriage return alone (CR), so that all is one line"
_MORE = "something follows where it should end"
_REMEDIES = {
    _CUT_OFF: "Complete it, or copy the whole file again.",
    _COMMA: "Take the comma away, or make it a list: commas between the rows, [ … ] around them.",
    _OLD_ENDS: "Save the file with ordinary line ends (LF or CRLF).",
}
_SIGNS = {
    "trailing comma": "a comma stands before a closing bracket",
    "keys must be strings": "a field's name is not in double quotes",
}


def explain(
    source: Source, data: bytes, first_line: int, before: int, error: Exception
) -> NoReturn:
    """Raises DatasetError with the line and what stands there; ``before`` the data are that many
    bytes of its first line."""
    if isinstance(error, RecursionError):
        place = _line_of(data, first_line, json_scan.deep(data))
        problem = f"{source.name}, {place} is nested too deeply."
        raise DatasetError(problem, "Write one flat object a row.") from None
    sources.decode(source, data, first_line)
    if isinstance(error, msgspec.ValidationError):
        at, why = json_scan.too_large(data), "a number is too large"
    else:
        at, why = _place(data, error)
    place, byte = _line_of(data, first_line, at), _in_line(data, at, before)
    raise _broken(source, place, byte, why) from None


def _line_of(data: bytes, first_line: int, at: int | None) -> str:
    """The line of that byte; where it is not known, where they begin."""
    if at is not None:
        lines_before = data.count(b"\n", 0, at)
        return f"line {first_line + lines_before}"
    return f"line {first_line} or later" if b"\n" in data.strip() else f"line {first_line}"


def _in_line(data: bytes, at: int | None, before: int) -> int | None:
    """The byte's number in its line, from 1, where the line is too long to find it by eye."""
    if at is None:
        return None
    start = data.rfind(b"\n", 0, at) + 1
    if not start:
        start = -before
    end = data.find(b"\n", at)
    length = (len(data) if end < 0 else end) - start
    return at - start + 1 if length > _LONG_LINE else None


def _place(data: bytes, error: Exception) -> tuple[int, str]:
    """The byte that is wrong, and why."""
    found = _AT_BYTE.search(str(error))
    at = int(found[1]) if found else len(data.rstrip())
    escape = BAD_ESCAPE.search(data, max(0, at - 12) if found else 0)
    if escape and escape.start() <= at:
        return escape.start(), r"a \u escape is broken or half of a pair"
    if not found:
        return at, _CUT_OFF
    if "trailing characters" in str(error):
        return at, _what_follows(data, at)
    return at, _what_stands_there(data[at:], str(error))


def _what_follows(data: bytes, at: int) -> str:
    """Behind a value that is whole, where its line should end; a place is told from 1 on."""
    before, sign = data[:at].lstrip(), data[at - 1 : at]
    if not before.startswith(b"{"):
        return _MORE
    if sign == b",":
        return _COMMA
    return _OLD_ENDS if b"\r" in before and b"\n" not in before else _MORE


def _what_stands_there(rest: bytes, error: str) -> str:
    for word in _NO_NUMBER:
        if rest.startswith(word) or (word.startswith(b"-") and rest.startswith(word[1:])):
            return word.decode() + _NO_VALUE
    for sign, words in _SIGNS.items():
        if sign in error:
            return words
    shown = rest[:12].decode(errors="replace").splitlines()
    return f"unexpected {shown[0]!r}" if shown and shown[0] else "a line ends inside a text"


def _broken(source: Source, place: str, byte: int | None, why: str) -> DatasetError:
    place = f"{source.name}, {place}" + (f", byte {byte}" if byte is not None else "")
    problem = f"{place} is not valid JSON" + (f": {why}." if why else ".")
    if why in _REMEDIES:
        return DatasetError(problem, _REMEDIES[why])
    if why.endswith(_NO_VALUE):
        return DatasetError(problem, "Write what belongs there, or take the row out.")
    return DatasetError(problem, "Correct it there." if byte is not None else "Correct that line.")
