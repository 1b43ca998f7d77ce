"""Rows that stand in a list inside an object, as ``{"version": 1, "data": [{…}, {…}]}`` has them.

Only where one list can be meant. All around it is blanked out, so that lines keep their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from engine.formats import source as sources
from engine.formats.example import DatasetError
from engine.formats.source import Source

OBJECT_BYTES = 64 << 20
"""How much is read of what looks like a single object; a longer one is not looked into."""
_NAMES = frozenset((
    "data", "rows", "train", "training", "examples", "items", "records", "dataset", "samples",
    "entries", "results", "test", "validation", "instances", "documents",
))  # fmt: skip
"""What such a list is called, where the object may as well be a row with a list in it."""
_OF_ROWS = frozenset((
    "instruction", "output", "prompt", "completion", "response", "messages", "conversations",
    "conversation", "chosen", "question", "answer", "text",
))  # fmt: skip
"""Fields of a row."""
_NAMED = re.compile(rb'"(\w+)"\s*:\s*[\[{]')
_SPEAKERS = ("role", "from", "speaker")
_DEPTH = 3
_NOT_A_LINE_END = re.compile(rb"[^\n]+")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Inside(msgspec.Struct, frozen=True):
    """The rows of an object."""

    names: tuple[str, ...]
    """Where the list is, as ``("data", "train")``."""
    data: bytes
    """The file up to the list's end, with nothing but line ends before it."""


def found_in(source: Source, head: bytes) -> Inside | None:
    """The only list of rows of a file that is one object and begins with ``head``; None for
    anything else. Raises DatasetError if the object has several, or is a table by columns."""
    is_line = _is_one_line(head)
    if not head.startswith(b"{") or is_line is None or source.bytes > OBJECT_BYTES:
        return None
    data = sources.read_bytes(source, OBJECT_BYTES)
    try:
        whole = _object.decode(data)
        if is_line and not _OF_ROWS.isdisjoint(whole):
            return None
        lists = [found for found in _lists(whole, ()) if not is_line or found[0][0] in _NAMES]
        _refuse_columns(source, whole)
    except _ERRORS:
        return None
    if len(lists) > 1:
        raise _several(source, lists)
    if not lists:
        return None
    names, rows = lists[0]
    begin = data.index(rows)
    blank = _NOT_A_LINE_END.sub(_blank, data[:begin])
    return Inside(names, blank + rows)


def _is_one_line(head: bytes) -> bool | None:
    """Whether a file that begins so may be one object in one line, or in several lines (False);
    None where each line is a value of its own."""
    first, end, rest = head.partition(b"\n")
    try:
        _object.decode(first)
    except _ERRORS:
        # What may be a row that goes on for long is not read for nothing.
        is_named = any(name.decode() in _NAMES for name in _NAMED.findall(head))
        return bool(not end) if is_named or end else None
    return None if rest.strip() else True


def _lists(
    held: dict[str, msgspec.Raw], at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Lists of objects that are no turns of a conversation, and where they are."""
    for name, raw in held.items():
        value = bytes(raw).strip()
        if value.startswith(b"{") and len(at) + 1 < _DEPTH:
            yield from _lists(_object.decode(value), (*at, name))
        elif value.startswith(b"["):
            first = next(iter(_list.decode(value)), None)
            fields = _object.decode(first) if first and bytes(first).startswith(b"{") else {}
            if fields and not any(name in fields for name in _SPEAKERS):
                yield (*at, name), value


def _blank(found: re.Match[bytes]) -> bytes:
    return b" " * len(found[0])


def _several(source: Source, lists: list[tuple[tuple[str, ...], bytes]]) -> DatasetError:
    named = ", ".join(f"`{'.'.join(names)[:40]}`" for names, _ in lists[:6])
    return DatasetError(
        f"{source.name} has rows in several lists: {named}.",
        "Write the one that is meant into a file of its own.",
    )


def _refuse_columns(source: Source, whole: dict[str, msgspec.Raw]) -> None:
    """Raises DatasetError if each field is a list as long as the others, of plain values."""
    held = [bytes(raw) for raw in whole.values()]
    if len(held) < 2 or not all(value.startswith(b"[") for value in held):
        return
    sizes = set(map(_size, held))
    if len(sizes) > 1 or max(sizes) < 2:
        return
    names = list(whole)[:2]
    row = ", ".join(f'"{name[:40]}": …' for name in names)
    raise DatasetError(
        f"{source.name} is written column by column: `{names[0][:40]}` is a list of "
        f"{max(sizes)} values, and so are the others.",
        f"Write it row by row, such as {{{row}}} in each line.",
    )


def _size(value: bytes) -> int:
    """How many plain values are in a list; 0 if it holds anything else."""
    found = [bytes(each) for each in _list.decode(value)]
    return 0 if any(each.startswith((b"{", b"[")) for each in found) else len(found)
