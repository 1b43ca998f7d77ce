"""What kind of file one is whose name does not say it. Pure."""

from __future__ import annotations

from typing import Literal

Kind = Literal["json", "csv", "parquet", "arrow", "text"]

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_DELIMITERS = (",", ";", "\t", "|")
_LINES = 4
_NAME_CHARS = 40
"""Longest name of a column; longer is rather a sentence with commas in it."""


def kind_of(head: bytes) -> Kind:
    """By its first bytes; what nothing tells is text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    text = _decoded(head).lstrip()
    if text.startswith(("{", "[{", "[\n", "[\r", "[ ")):
        return "json"
    return "csv" if _is_table(text.splitlines()) else "text"


def _decoded(head: bytes) -> str:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "ignore")
    return head.decode(errors="ignore")


def _is_table(lines: list[str]) -> bool:
    """Whether the lines have as many of one separator as the first, which has short names."""
    first, *others = lines[:_LINES] or [""]
    for sign in _DELIMITERS:
        names = first.split(sign)
        if len(names) < 2 or not all(map(_is_name, names)):
            continue
        if others and all(other.count(sign) >= len(names) - 1 for other in others if other):
            return True
    return False


def _is_name(text: str) -> bool:
    """Behind a comma of a sentence is a space."""
    return 0 < len(text) <= _NAME_CHARS and not text.startswith(" ")
