"""Tokens of texts, word by word: what a tokenizer makes of a word it is asked once.

Most of what a tokenizer does with a text is to find its words, and nearly all of them were met
before. Whatever cannot be said so for certain is left to the tokenizer.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from engine.worker.word_cuts import Cuts, cuts_of

Found: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""Ids, and from and up to which character of the text each goes, shape (tokens, 2)."""

_HELD_BYTES = 24 << 20
"""What the words may take that are remembered; then it begins anew."""
_BYTES_A_WORD = 250
_TOKEN_BYTES = 3 * 4
_LONGEST = 1 << 20
"""Characters; the words of a longer text would take too much memory."""
_MANY_NEW = 1 / 4
"""With more new words than that the whole text is asked for, which is quicker."""
_TRIED, _RESTED = 256, 4096
"""For so many texts words are remembered, and then not, if that does not pay."""
_PAYS = 1 / 8
"""With more new words a text is not worth it."""
_MOSTLY = 3 / 4
"""Of the texts may be so."""
_COMPARED = 512
"""Of so many texts one is asked for as well."""
_PROBE = (
    "I'll say it's 3.14159 (or 22/7), WE'VE\tseen 'em:  \r\n\n  x += foo_bar[0]; // two\x0b\x1f\n "
    "na\u00efve \u00bd\u00b2 \u201cquotes\u201d \u2014 \u041f\u0440\u0438\u0432\u0435\u0442, "
    "\u4e16\u754c\u3002\u3000\u0e44\u0e17\u0e22\u00a0\u20ac5  "
)


class WordsDiffer(Exception):
    """A text became other tokens than its words by themselves: whatever was made of words of this
    tokenizer has to be made anew without."""


class WordTokens:
    """Makes tokens of texts with what a tokenizer said of their words."""

    def __init__(self, tokenizer: Tokenizer, cuts: Cuts) -> None:
        self._tokenizer = tokenizer
        self._cuts = cuts
        self._held: dict[str, bytes] = {}
        """Of each word its tokens, three int32 each: the id, how many characters later the next one
        begins, and how many are in it."""
        self._bytes = 0
        self._texts = 0
        """Since it was last seen whether remembering pays."""
        self._new_texts = 0
        """Those of them that had many new words."""
        self._made = 0
        self._first, self._last = map(_placeless, _around(tokenizer))

    def of(self, text: str, *, add_special_tokens: bool) -> Found | None:
        """Exactly what the tokenizer makes of the text; None if only itself can say. Raises
        WordsDiffer if it is found out that it was not."""
        if self._rests() or len(text) > _LONGEST:
            return None
        words = self._cuts.words(text)
        data = None if words is None else self._tokens(text, words)
        if data is None:
            return None
        if add_special_tokens:
            data = self._first + data + self._last
        made = np.frombuffer(data, np.int32).reshape(-1, 3)
        ends = made[:, 1].cumsum(dtype=np.int64)
        if (ends[-1] if len(ends) else 0) != len(text):
            return None  # Some of it is in no token.
        places = np.empty((len(made), 2), np.int64)
        np.subtract(ends, made[:, 1], out=places[:, 0])
        np.add(places[:, 0], made[:, 2], out=places[:, 1])
        if add_special_tokens and self._last:
            places[-(len(self._last) // _TOKEN_BYTES) :] = 0
        found = made[:, 0].copy(), places
        self._made += 1
        if self._made % _COMPARED == 0:
            asked = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
            if not _agrees(found, asked):
                raise WordsDiffer
        return found

    def _rests(self) -> bool:
        """Where nearly each text has many new words, as Chinese has phrases, to remember them is
        more work than it spares; so only now and then it is tried again."""
        self._texts += 1
        pays = self._texts == _TRIED and self._new_texts <= _MOSTLY * _TRIED
        if pays or self._texts == _TRIED + _RESTED:
            self._texts = self._new_texts = 0
        return self._texts >= _TRIED

    def _tokens(self, text: str, words: list[str]) -> bytes | None:
        for _ in range(2):
            try:
                return b"".join(map(self._held.__getitem__, words))
            except KeyError:
                self._learn(text, words)
        return None

    def _learn(self, text: str, words: list[str]) -> None:
        if self._bytes > _HELD_BYTES:
            self._held.clear()
            self._bytes = 0
        new = set(words).difference(self._held)
        self._new_texts += len(new) > _PAYS * len(words)
        if len(new) > _MANY_NEW * len(words):
            self._learn_from_text(text, words, new)
            return
        for word in new:
            made = self._tokenizer.encode(word, add_special_tokens=False)
            found = self._held[word] = _as_bytes(made, len(word))
            self._bytes += _BYTES_A_WORD + len(word) + len(found)

    def _learn_from_text(self, text: str, words: list[str], new: set[str]) -> None:
        """All of its words at once, which is quicker if many of them are new. Nothing is learnt
        if a token goes across the end of a word."""
        made = self._tokenizer.encode(text, add_special_tokens=False)
        flat = np.fromiter(chain.from_iterable(made.offsets), np.int64)
        begins, ends = flat[::2], flat[1::2]
        starts = np.fromiter(accumulate(map(len, words), initial=0), np.int64, len(words) + 1)
        firsts = begins.searchsorted(starts)
        if starts[-1] != len(text) or (ends > starts[1:].repeat(np.diff(firsts))).any():
            return
        rows = np.empty((len(begins), 3), np.int32)
        rows[:, 0], rows[:, 2] = made.ids, ends - begins
        rows[:-1, 1], rows[-1:, 1] = begins[1:] - begins[:-1], len(text) - begins[-1:]
        data = rows.tobytes()
        bounds = (firsts * _TOKEN_BYTES).tolist()
        for word, first, after in zip(words, bounds, bounds[1:], strict=False):
            if word in new:
                self._held[word] = data[first:after]
        self._bytes += len(new) * _BYTES_A_WORD + len(data) + len(text)


def word_tokens_of(backend: str, tokenizer: Tokenizer) -> WordTokens | None:
    """None where the tokenizer, which is as ``backend`` has it, does not work word by word."""
    cuts = cuts_of(backend)
    if cuts is None or tokenizer.encode_special_tokens:
        return None
    found = WordTokens(tokenizer, cuts)
    return found if _is_right(found, tokenizer) else None


def _is_right(words: WordTokens, tokenizer: Tokenizer) -> bool:
    """Whether both say the same, which a later edition of the library may not."""
    for special in (False, True):
        made = tokenizer.encode(_PROBE, add_special_tokens=special)
        found = words.of(_PROBE, add_special_tokens=special)
        if found is None or not _agrees(found, made):
            return False
    return True


def _agrees(found: Found, made: Encoding) -> bool:
    ids, places = found
    return made.ids == ids.tolist() and made.offsets == list(map(tuple, places.tolist()))


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The tokens that are put before and behind a text."""
    made = tokenizer.encode("a", add_special_tokens=True)
    is_put = made.special_tokens_mask
    first = is_put.index(0) if 0 in is_put else len(is_put)
    last = is_put[::-1].index(0) if 0 in is_put else 0
    return made.ids[:first], made.ids[len(is_put) - last :]


def _placeless(ids: list[int]) -> bytes:
    return np.array([(id, 0, 0) for id in ids], np.int32).tobytes()


def _as_bytes(made: Encoding, length: int) -> bytes:
    found = array("i")
    places = made.offsets
    for id, (begin, end), (after, _) in zip(
        made.ids, places, [*places[1:], (length, 0)], strict=True
    ):
        found.extend((id, after - begin, end - begin))
    return found.tobytes()
