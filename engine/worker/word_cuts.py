"""Where byte-level tokenizers cut a text into words, each of which becomes tokens by itself.

Their patterns are written for other engines and look at what kind of letter each is, about which
editions of Unicode differ. So a pattern is read only if it is made of what means the same here, and
a text is cut only if all its characters have been letters or not since 2002, as nearly all have.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What the byte-level step cuts by, if it cuts."""
_SPACE = r"\s"
_KIND = r"\\p\{[LMN][a-z]?\}|\\s"
_LETTER = r"\\[rnt]|[A-Za-z0-9'/ ]"
_CLASS = rf"\[\^?(?:{_KIND}|{_LETTER})+\]"
_KNOWN = re.compile(
    rf"(?:{_CLASS}|{_KIND}|\\S|{_LETTER}|\(\?i:(?![^)]*(?:ss|st|ff|fl))[a-hjl-z'|\[\]]+\)|\(\?[:!]|\)|\||[?*+]\+?|"
    r"\{[0-9]+(?:,[0-9]*)?\}(?![?*+{]))+"
)
"""Patterns that can be read: no escapes, anchors or ranges but these; no i or k where case is
ignored."""
_KINDS = re.compile(rf"{_CLASS}|{_KIND}|\\S")
_ASCII = 128
_PLANE = 1 << 16
_EMOJI = range(0x1F000, 0x20000)
_LONG_S = "\u017f"
"""An s where case is ignored; other letters of patterns have no such other form."""
_NO_SPACE = frozenset("\x1c\x1d\x1e\x1f")
"""White space to Python alone."""


class _Model(msgspec.Struct):
    type: str = ""
    dropout: float | None = None


class _Added(msgspec.Struct):
    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool


class _Config(msgspec.Struct):
    """Of ``tokenizer.json`` what decides where a text is cut."""

    model: _Model
    added_tokens: list[_Added]
    normalizer: Any
    pre_tokenizer: Any
    post_processor: Any


class Cuts:
    """Cuts texts as one tokenizer does."""

    def __init__(self, added: Iterable[str], patterns: list[str], *, is_nfc: bool) -> None:
        """``added``: tokens that are found in the text before it is cut by each pattern in turn;
        ``is_nfc``: the text is composed (NFC) before that."""
        longest = sorted(filter(None, added), key=len, reverse=True)
        self._added = re.compile(f"({'|'.join(map(re.escape, longest))})") if longest else None
        self._patterns = patterns
        self._is_nfc = is_nfc

    def words(self, text: str) -> list[str] | None:
        """The text in pieces, in order; None if it cannot be said where it is cut."""
        if not text.isascii():
            if not _settled().fullmatch(text):
                return None
            if self._is_nfc and not unicodedata.is_normalized("NFC", text):
                return None
        steps = [_compiled(each, text.isascii()) for each in self._patterns]
        if self._added is None:
            return _cut(text, steps)
        words: list[str] = []
        for place, piece in enumerate(self._added.split(text)):
            words += [piece] if place % 2 else _cut(piece, steps)
        return words


def cuts_of(backend: str) -> Cuts | None:
    """Of a tokenizer as ``tokenizer.json`` has it. None if it does not make tokens word by word, or
    cuts or places them in a way that is not known here."""
    try:
        config = msgspec.json.decode(backend, type=_Config)
        patterns = list(_patterns(config.pre_tokenizer))
        for pattern in patterns:
            _compiled(pattern, True)
    except (msgspec.ValidationError, _UnknownError, re.error):
        return None
    normalizer = (config.normalizer or {}).get("type")
    if config.model.type != "BPE" or config.model.dropout or normalizer not in (None, "NFC"):
        return None
    after = config.post_processor or {}
    if any(step.get("trim_offsets") for step in after.get("processors", [after])):
        return None
    added = config.added_tokens
    if any(each.single_word or each.lstrip or each.rstrip for each in added):
        return None
    if len({each.normalized for each in added}) > 1:  # One kind is looked for before the other.
        return None
    if not all(unicodedata.is_normalized("NFC", each.content) for each in added):
        return None
    return Cuts([each.content for each in added], patterns, is_nfc=normalizer == "NFC")


# ---------------------------------------------------------------- patterns


class _UnknownError(ValueError):
    """A step that is not known here."""


def _patterns(step: Any, *, is_last: bool = True) -> Iterator[str]:
    """What a pre-tokenizer cuts by, one pattern after the other. Raises :class:`_UnknownError`."""
    match step:
        case {"type": "Sequence", "pretokenizers": [*steps]} if steps:
            for place, each in enumerate(steps, start=1):
                yield from _patterns(each, is_last=is_last and place == len(steps))
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": cuts} if is_last:
            yield from [_GPT2] if cuts else []
        case {"type": "Digits", "individual_digits": one} if not is_last:
            yield r"\p{N}|[^\p{N}]+" if one else r"\p{N}+|[^\p{N}]+"
        case {
            "type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated",
            "invert": False,
        } if not is_last and _KNOWN.fullmatch(pattern):  # fmt: skip
            yield pattern
        case _:
            raise _UnknownError


@lru_cache
def _compiled(pattern: str, is_ascii: bool) -> re.Pattern[str]:
    """The pattern as this engine has it, for texts in ASCII or any that can be cut."""

    def spelt(match: re.Match[str]) -> str:
        piece = match[0]
        if piece == r"\S":
            return f"[^{_members(_SPACE, is_ascii)}]"
        found = re.sub(_KIND, lambda kind: _members(kind[0], is_ascii), piece)
        return found if piece.startswith("[") else f"[{found}]"

    return re.compile(_KINDS.sub(spelt, pattern))


def _cut(text: str, steps: list[re.Pattern[str]]) -> list[str]:
    pieces = [text]
    for step in steps:
        pieces = list(chain.from_iterable(map(step.findall, pieces)))
    return pieces


# ---------------------------------------------------------------- kinds of characters


@lru_cache
def _members(kind: str, is_ascii: bool) -> str:
    """The characters of a kind, such as ``\\p{Lu}`` or ``\\s``, as they are written in brackets."""
    letters = map(chr, range(_ASCII)) if is_ascii else _settled_characters()
    if kind == _SPACE:
        return _ranges(c for c in letters if c.isspace() and c not in _NO_SPACE)
    name = kind[3:-1]
    return _ranges(c for c in letters if unicodedata.category(c).startswith(name))


@lru_cache
def _settled() -> re.Pattern[str]:
    """Texts of characters about which all editions of Unicode agree."""
    return re.compile(f"[{_ranges(_settled_characters())}]*")


@lru_cache
def _settled_characters() -> list[str]:
    """In rising order. Emoji are among them, though they came later: what is neither letter, mark,
    digit nor space is cut alike, assigned or not."""
    return [c for c in map(chr, chain(range(_PLANE), _EMOJI)) if _is_settled(c)]


def _is_settled(letter: str) -> bool:
    now = unicodedata.category(letter)
    if now in ("Cn", "Co", "Cs") or letter == _LONG_S:
        return False
    return _cut_as(now) == _cut_as(unicodedata.ucd_3_2_0.category(letter))


def _cut_as(category: str) -> str:
    return category if category[0] in "LMNZ" else ""


def _ranges(letters: Iterable[str]) -> str:
    """Characters in rising order; nothing matches where there are none."""
    found: list[list[int]] = []
    for code in map(ord, letters):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(rf"\U{a:08x}-\U{b:08x}" for a, b in found) or rf"\U{sys.maxunicode:08x}"
