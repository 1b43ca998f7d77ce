"""Text that was saved as UTF-8 and read as Latin-1 or Windows-1252 on its way: told, and undone.

Only what can be nothing else is taken for it: a letter that begins a character of several bytes in
UTF-8, followed by what its other bytes look like. Such a piece says exactly which character it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from engine.formats.example import Conversation, Example, PromptCompletion, Text

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a reader puts where it cannot read: the character that was there is lost."""
_QUOTES = "\u2018\u2019\u201c\u201d\u2026"
"""They follow a capital letter in sound text too."""
_OTHERS = "\u20ac\u201a\u0192\u201e\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
_MORE = "\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
_NEXT = f"[\u0080-\u00bf{_OTHERS}{_MORE}]"
_ANY = f"[\u0080-\u00bf{_OTHERS}{_MORE}{_QUOTES}]"
_PATTERN = re.compile(
    f"\u00c3{_NEXT}"  # Letters of western Europe.
    "|\u00c2[\u0080-\u00bf]"  # Signs such as the degree.
    f"|\u00e2[\u0080\u20ac\u201a\u0082\u2020\u0086\u201e\u0084]{_ANY}"  # Quotes, dashes, the euro.
    f"|\u00f0[\u0090-\u009f\u0178]{_ANY}{_ANY}"  # Emoji.
    f"|(?:[\u00d0\u00d1]{_ANY}){{3,}}"  # Cyrillic.
    f"|(?:[\u00e3-\u00e9]{_ANY}{_ANY}){{2,}}"  # Chinese, Japanese, Korean.
)
_MOST_TIMES = 3
"""A text can have gone wrong more than once."""
_BYTES = {**{n: n for n in range(256)}, **{ord(bytes([n]).decode("cp1252", "ignore") or chr(n)): n
          for n in range(128, 160)}}  # fmt: skip
"""Of each character the byte that it was read from."""


def is_garbled(text: str) -> bool:
    """Whether something in the text was read in the wrong encoding."""
    return not text.isascii() and _PATTERN.search(text) is not None


def repaired(text: str) -> str:
    """The text as it was; whatever is not certain stays as it is."""
    for _ in range(_MOST_TIMES):
        found = text if text.isascii() else _PATTERN.sub(_decoded, text)
        if found == text:
            break
        text = found
    return text


def _decoded(match: re.Match[str]) -> str:
    piece = match[0]
    try:
        return bytes(_BYTES[ord(letter)] for letter in piece).decode()
    except (KeyError, UnicodeDecodeError):
        return piece


def repaired_example(example: Example) -> Example:
    """The same example if there is nothing to repair in it."""
    return with_texts(example, repaired)


def with_texts(example: Example, change: Callable[[str], str]) -> Example:
    """The example with each of its texts changed; itself if none is."""
    match example:
        case Conversation(messages=messages):
            turns = [msgspec.structs.replace(t, content=change(t.content)) for t in messages]
            return example if turns == messages else msgspec.structs.replace(
                example, messages=turns
            )  # fmt: skip
        case PromptCompletion(prompt=prompt, completion=completion):
            return msgspec.structs.replace(
                example, prompt=change(prompt), completion=change(completion)
            )
        case Text(text=text):
            return msgspec.structs.replace(example, text=change(text))
