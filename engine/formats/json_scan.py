"""Where in JSON something stands that the decoder refuses without saying where.

Each is one match of a pattern that never goes back: a line may have millions of small values.
"""

from __future__ import annotations

import math
import re
import sys

_MOST_BYTES = 1 << 20
"""So far is looked; further on a place would take longer than a person waits for it."""
_DEEP = 200
"""Brackets within one another that nobody writes; how many can be read depends on the program."""
_MOST_DIGITS = sys.get_int_max_str_digits()
"""Of a whole number."""
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SMALL = (
    rb"[0-9]{1,4300}+(?![0-9.eE])"
    rb"|[0-9]{1,200}+(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]{1,2}+)?+(?![0-9.eE])"
)
"""A number that is surely not too large."""
_SOUND = re.compile(rb'(?:[^"0-9]++|' + _TEXT + rb"|" + _SMALL + rb")*+", re.DOTALL)
_NUMBER = re.compile(rb"[0-9]++(?P<tail>\.[0-9]*+)?+(?P<power>[eE][+-]?[0-9]++)?+")
_OPENED = re.compile(rb'(?:[\[{](?:[^][{}"]++|' + _TEXT + rb")*+){%d}[\[{]" % _DEEP, re.DOTALL)


def deep(data: bytes) -> int | None:
    """A bracket within more of them than anybody writes; None if it is not found."""
    found = _OPENED.search(data, 0, _MOST_BYTES)
    return found.end() - 1 if found else None


def too_large(data: bytes) -> int | None:
    """Where a number begins that is too large; None if it is not found."""
    at = 0
    while sound := _SOUND.match(data, at, _MOST_BYTES):
        number = _NUMBER.match(data, sound.end())
        if number is None or sound.end() == _MOST_BYTES:
            return None
        if _is_too_large(number):
            return number.start() - data.endswith(b"-", 0, number.start())
        at = number.end()
    return None


def _is_too_large(number: re.Match[bytes]) -> bool:
    if number["tail"] is None and number["power"] is None:
        return len(number[0]) > _MOST_DIGITS
    return math.isinf(float(number[0]))
