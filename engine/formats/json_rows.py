"""Rows of JSON files: a list of objects, or one object a line. The content decides, not the ending.

Strict: no NaN, no trailing commas, no stray characters, and an error names its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from engine.formats import source as sources
from engine.formats.example import DatasetError, Row
from engine.formats.source import MAX_ROW_BYTES, Source

_HEAD_BYTES = 1 << 16
_LONG_LINE = 200
_CUT_OFF = "it ends in the middle"
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = (b"NaN", b"Infinity", b"-Infinity", b"-NaN", b"nan", b"inf")
_SIGNS = {
    "trailing characters": "something follows where it should end",
    "trailing comma": "a comma stands before a closing bracket",
    "keys must be strings": "a field's name is not in double quotes",
}
_BAD_ESCAPE = re.compile(rb"\\u(?![0-9a-fA-F]{4})|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_value: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_list = msgspec.json.Decoder(list[msgspec.Raw])


def rows(source: Source, head_bytes: int | None = None) -> Iterator[Row]:
    """The file's rows. Of a list longer than ``head_bytes`` only the rows in its beginning.

    Raises DatasetError, possibly after some rows.
    """
    start = sources.read_bytes(source, _HEAD_BYTES).lstrip()
    if not start:
        raise no_rows(source)
    if start.startswith(b"["):
        if head_bytes is not None and (source.packing or source.bytes > head_bytes):
            return _head_of_list(source, head_bytes)
        return _whole_list(source)
    _refuse_single_object(source, start)
    return _lines(source)


def no_rows(source: Source) -> DatasetError:
    """A file that is sound but holds nothing."""
    return DatasetError(f"{source.name} has no rows.", "Choose a file with at least one row.")


# ---------------------------------------------------------------- one object a line


def _lines(source: Source) -> Iterator[Row]:
    number = end = 0
    for line, data in sources.lines(source):
        end += len(data)
        if not data.strip():
            continue
        number += 1
        try:
            row = Row(number, line, _decode(source, data, line), None, end)
        except DatasetError as error:
            row = Row(number, line, None, error, end)
        yield row
    if not number:
        raise no_rows(source)


def _refuse_single_object(source: Source, start: bytes) -> None:
    """A pretty-printed object is the commonest thing that is neither a list nor lines."""
    first = start.split(b"\n", 1)[0].strip()
    looks_like_lines = first.startswith(b"{") and first not in (b"{", b"{}")
    if ".json" not in source.path.suffixes[-2:] or looks_like_lines:
        return
    try:
        whole = _value.decode(sources.read_bytes(source))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    fields = whole if isinstance(whole, dict) else {}
    inside = [key for key, held in fields.items() if isinstance(held, list)]
    remedy = f"Keep only the list in `{inside[0][:40]}`." if inside else "Write [ … ] around rows."
    what = "one object" if isinstance(whole, dict) else "a single value"
    raise DatasetError(f"{source.name} is {what}, not a list of rows.", remedy)


def _decode(source: Source, data: bytes, first_line: int) -> Any:
    """One row's value."""
    try:
        return _value.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _explain(source, data, first_line, error)


# ---------------------------------------------------------------- a list of objects


def _whole_list(source: Source) -> Iterator[Row]:
    data = sources.read_bytes(source)
    try:
        found = _list.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _explain(source, data, 1, error)
    if not found:
        raise no_rows(source)
    place, line = 0, 1
    for number, raw in enumerate(found, start=1):
        piece = bytes(raw)
        start = data.find(piece, place)  # between rows is only white space and a comma
        line += data.count(b"\n", place, start)
        if len(piece) > MAX_ROW_BYTES:
            raise sources.too_long(source, f"row {number} (line {line})")
        place = start + len(piece)
        yield Row(number, line, _decode(source, piece, line), None, place)
        line += piece.count(b"\n")


def _head_of_list(source: Source, head_bytes: int) -> Iterator[Row]:
    """Rows in the beginning of a long list; a row that the cut goes through is left out."""
    length = head_bytes
    while True:
        data = sources.read_bytes(source, length + 1)
        is_whole = len(data) <= length
        data = data[:length]
        text = sources.decode(source, _whole_characters(data))
        found = list(_split(source, text, complete=is_whole))
        if found or is_whole or length >= MAX_ROW_BYTES + head_bytes:
            break
        length = MAX_ROW_BYTES + head_bytes
    if not found:
        raise sources.too_long(source, "row 1")
    for number, (start, line, end) in enumerate(found, start=1):
        yield Row(number, line, _decode(source, text[start:end].encode(), line))


def _whole_characters(data: bytes) -> bytes:
    """The bytes without a character that the cut went through."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead & 0xC0 != 0x80:
            needed = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
            return data[:-back] if needed > back else data
    return data


def _split(source: Source, text: str, *, complete: bool) -> Iterator[tuple[int, int, int]]:
    """Start, line and end of each row in the text of a cut list. Raises DatasetError.

    An error near the end is the cut; one with more than a row's length behind it is real.
    """
    scan = json.JSONDecoder().raw_decode
    place, line, counted = text.index("[") + 1, 1, 0
    while place < len(text):
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place == len(text) or text[place] == "]":
            return
        line += text.count("\n", counted, place)
        counted = place
        try:
            _, end = scan(text, place)
        except json.JSONDecodeError as error:
            if complete or len(text) - place > MAX_ROW_BYTES:
                raise _broken(source, line + text.count("\n", place, error.pos)) from None
            return
        except RecursionError:
            raise _too_deep(source) from None
        yield place, line, end
        place = end


# ---------------------------------------------------------------- what is wrong


def _explain(source: Source, data: bytes, first_line: int, error: Exception) -> NoReturn:
    """Raises DatasetError with the line and what stands there."""
    if isinstance(error, RecursionError):
        raise _too_deep(source) from None
    sources.decode(source, data, first_line)
    at, why = _place(data, error)
    raise _broken(
        source, first_line + data.count(b"\n", 0, at), why, at=_in_line(data, at)
    ) from None


def _in_line(data: bytes, at: int) -> int | None:
    """The byte's number in its line, from 1, where the line is too long to find it by eye."""
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    length = (len(data) if end < 0 else end) - start
    return at - start + 1 if length > _LONG_LINE else None


def _place(data: bytes, error: Exception) -> tuple[int, str]:
    """The byte that is wrong, and why."""
    if isinstance(error, msgspec.ValidationError):
        return 0, "a number is too large"
    found = _AT_BYTE.search(str(error))
    at = int(found[1]) if found else len(data.rstrip())
    escape = _BAD_ESCAPE.search(data, max(0, at - 12) if found else 0)
    if escape and escape.start() <= at:
        return escape.start(), r"a \u escape is broken or half of a pair"
    if not found:
        return at, _CUT_OFF
    return at, _what_stands_there(data[at:], str(error))


def _what_stands_there(rest: bytes, error: str) -> str:
    for word in _NO_NUMBER:
        if rest.startswith(word) or (word.startswith(b"-") and rest.startswith(word[1:])):
            return f"{word.decode()} is no JSON value; write null or a number"
    for sign, words in _SIGNS.items():
        if sign in error:
            return words
    shown = rest[:12].decode(errors="replace").splitlines()
    return f"unexpected {shown[0]!r}" if shown and shown[0] else "a line ends inside a text"


def _broken(source: Source, line: int, why: str = "", at: int | None = None) -> DatasetError:
    place = f"{source.name}, line {line}" + (f", byte {at}" if at is not None else "")
    problem = f"{place} is not valid JSON" + (f": {why}." if why else ".")
    if why == _CUT_OFF:
        return DatasetError(problem, "Complete it, or copy the whole file again.")
    return DatasetError(problem, "Correct it there." if at is not None else "Correct that line.")


def _too_deep(source: Source) -> DatasetError:
    return DatasetError(f"{source.name} is nested too deeply.", "Write one flat object a row.")
