"""Takes out of a text what must not leave the computer: tokens, names of people and computers,
serial numbers of cards, folders of users, and rows of data. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from engine.contract.masking import masked

_PIECE = 24
"""Characters of a row that are looked for at once: any stretch of it that is twice as long less one
is found, wherever it begins."""
_MOST_PIECES = 400_000
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
ROW = "[a row of the data]"
_HOMES = (
    # Text within text has its backslashes doubled, once or twice.
    r"(?i)\b[a-z]:(?:\\{1,4}|/)users(?:\\{1,4}|/)[^\\/:*?\"'<>|\n]{1,64}(?=[\\/])",
    r"(?i)\b[a-z]:(?:\\{1,4}|/)users(?:\\{1,4}|/)[^\\/\s:*?\"'<>|]+",
    r"/mnt/[a-z]/Users/[^/\s\"']+",
    r"(?<![\w/])/(?:home|Users)/[^/\s\"':]+",
    r"(?<![\w/])/root(?=[/\s\"':]|$)",
)
_CARD = re.compile(r"(?i)\b((?:MIG-)?GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOO_COMMON = frozenset(
    {"root", "user", "admin", "administrator", "test", "home", "guest", "runner", "ubuntu",
     "debian", "data", "model", "train", "localhost", "default", "python", "fettle"}
)  # fmt: skip
"""Names that tell nobody apart, and stand in half of all messages."""


class Hidden(msgspec.Struct, frozen=True, kw_only=True):
    """What must not be seen."""

    secrets: tuple[str, ...] = ()
    """Known tokens."""
    folders: tuple[str, ...] = ()
    """Folders that belong to a user, wherever they are; written as ``~``."""
    names: tuple[str, ...] = ()
    """Of users and computers."""
    rows: frozenset[str] = frozenset()
    """From :func:`pieces_of`."""


def redacted(text: str, hidden: Hidden) -> str:
    """The text without all that."""
    text = _CARD.sub(r"\1-[removed]", masked(text, hidden.secrets))
    text = _without_rows(text, hidden.rows)
    for folder in sorted(hidden.folders, key=len, reverse=True):
        for written in {folder, folder.replace("\\", "\\\\"), folder.replace("\\", "/")}:
            text = text.replace(written, "~") if len(written) > 1 else text
    return _without_names(without_homes(text), hidden.names)


def redacted_value(value: Any, hidden: Hidden) -> Any:
    """The same for all texts in a JSON value, so that it stays one."""
    if isinstance(value, str):
        return redacted(value, hidden)
    if isinstance(value, dict):
        return {redacted(k, hidden): redacted_value(v, hidden) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_value(inner, hidden) for inner in value]
    return value


def without_homes(text: str) -> str:
    """The text with folders of users, of this computer or of any, written as ``~``."""
    for pattern in _HOMES:
        text = re.sub(pattern, "~", text)
    return text


def _without_names(text: str, names: Iterable[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= 3 and name.lower() not in _TOO_COMMON:
            text = re.sub(rf"(?i)(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "[name]", text)
    return text


# ---------------------------------------------------------------- rows of data


def pieces_of(rows: Iterable[Any]) -> frozenset[str]:
    """What rows are known by in another text. Texts shorter than a piece are not: they are what
    everybody writes."""
    found: set[str] = set()
    for row in rows:
        for text in _texts(row):
            found.update(text[at : at + _PIECE] for at in range(0, len(text) - _PIECE + 1, _PIECE))
        if len(found) > _MOST_PIECES:
            break
    return frozenset(found)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a row, as a log would write them: in one line."""
    if isinstance(value, str):
        yield " ".join(value.split())
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _without_rows(text: str, pieces: frozenset[str]) -> str:
    if not pieces:
        return text
    return "\n".join(_without_row(line, pieces) for line in text.split("\n"))


def _without_row(line: str, pieces: frozenset[str]) -> str:
    """The line, from the first piece of a row in it to the last, is replaced."""
    even = " ".join(_ESCAPED.sub(_sign, line).replace("\\n", " ").split())
    starts = [at for at in range(len(even) - _PIECE + 1) if even[at : at + _PIECE] in pieces]
    if not starts:
        return line
    return f"{_cut(even[: starts[0]])}{ROW}"


def _sign(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _cut(before: str) -> str:
    """What stands before a piece, without the part of the row that it may still hold."""
    return before[: max(len(before) - _PIECE, 0)]
