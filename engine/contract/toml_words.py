"""Why a text is no TOML, in plain words."""

from __future__ import annotations

import re

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_WORDS = (
    (r"Illegal character '\\n'", "a text ends without its closing quotation mark"),
    (r"Unterminated string|Expected \"'''\"|Expected '\"\"\"'",
     "a text has no closing quotation mark"),
    (r"Illegal character", "a character stands here that may not"),
    (r"Expected '=' after a key", "there is no = between a setting's name and its value"),
    (r"Invalid value", "this is no value: text needs quotation marks, as in \"text\""),
    (r"Unclosed array|Expected '\]' at the end of an array", "a list has no closing ]"),
    (r"Unclosed inline table|Expected '\}'", "a table in braces has no closing }"),
    (r"Expected '\]'|Expected '\]\]'", "a table's name has no closing ]"),
    (r"Cannot overwrite a value|Duplicate inline table key",
     "this setting is written a second time"),
    (r"Cannot declare|Cannot mutate|Cannot define", "this table is written a second time"),
    (r"Expected newline or end of document", "something stands behind a value on its line"),
    (r"Invalid statement", "a line begins with something that is no setting and no [table]"),
    (r"Invalid initial character for a key",
     "a setting's name begins with something that is no letter"),
    (r"Unescaped '\\\\'|Invalid hex|Escaped character", r"a \ in a text: write \\, or use '…'"),
    (r"Invalid date or datetime", "this is no date"),
    (r"recursion", "it is nested too deeply"),
    (r"Exceeds the limit", "a number has too many digits"),
)  # fmt: skip


def in_plain_words(error: Exception) -> str:
    """``line 3: a list has no closing ]``, from what :mod:`tomllib` raised."""
    text = str(error)
    place = _PLACE.search(text)
    technical = text[: place.start()] if place else text
    found = (words for pattern, words in _WORDS if re.search(pattern, technical))
    words = next(found, technical[:1].lower() + technical[1:])
    if place is None:
        return words
    return f"line {place[1]}: {words}" if place[1] else f"at its end: {words}"
