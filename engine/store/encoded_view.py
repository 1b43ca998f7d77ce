"""A tokenised dataset to look at: samples as text, token by token. Arrays are mapped, not read."""

from __future__ import annotations

import bisect
import codecs
import mmap
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.store.encoded import (
    DIGEST_BYTES,
    DIGESTS,
    LEARNT,
    PIECE_STARTS,
    PIECES,
    RAW,
    RAWS,
    ROWS,
    SPANS,
    STARTS,
    TEXT,
    TEXTS,
    TOKENS,
    read_meta,
)

SHOWN_TOKENS = 4000
"""Most tokens of a sample that are shown at once."""
MAX_FOUND = 200
_RAW_CHARS = 64 << 10
_TEXT_CHARS = 96 << 10
"""Of a text whose tokens are very long; a line of the wire has 1 MiB."""


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One token of a shown sample."""

    begin: int
    end: int
    """Characters of the text; nothing where the tokenizer put a token that the text does not
    have."""
    id: int
    learnt: bool


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample to look at."""

    row: int
    """The first row is 0."""
    place: int
    """Among the samples."""
    length: int
    """In tokens, before anything is cut."""
    targets: int
    """How many are learnt, within the cut."""
    hash: str = ""
    text: str = ""
    """As far as the tokens go that are shown."""
    tokens: list[Token] = []
    first_token: int = 0
    raw: str = ""
    names: dict[int, str] = {}
    """Of special tokens among them."""
    is_shown: bool = True
    """False if there is no text of it."""
    is_of_tokens: bool = False
    """The text is put together from the tokens: the row lies too far behind to have been kept."""


class Encoded:
    """One such folder, mapped for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = read_meta(folder)
        self._tokens = self._view(TOKENS, "i")
        self._learnt = self._view(LEARNT, "B")
        self._starts = self._view(STARTS, "q")
        self._rows = self._view(ROWS, "q")
        self._texts = self._view(TEXTS, "q")
        self._spans = self._view(SPANS, "I")
        self._raws = self._view(RAWS, "q")
        self._hashes = self._bytes(DIGESTS)
        self._unlearnt = 0 if self.meta.method == "pretrain" else 1
        """A sample's first token has nothing before it to be told from; in a block it has."""

    def _view(self, name: str, kind: Literal["B", "i", "I", "q"]) -> Sequence[int]:
        return memoryview(self._bytes(name)).cast(kind)

    def _bytes(self, name: str) -> Any:
        path = self.folder / name
        if path.stat().st_size == 0:
            return b""
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self.meta.samples

    def place_of(self, row: int) -> int | None:
        """Which sample a row of the dataset is; None if it is none."""
        place = bisect.bisect_left(self._rows, row)
        return place if place < len(self) and self._rows[place] == row else None

    def why_not(self, row: int, name: str = "") -> str:
        """Why a row of the dataset is no sample; ``name`` is what people call it."""
        name = name or f"Row {row + 1}"
        for refused in self.meta.refused:
            if refused.row == row:
                return f"{name} is left out: {refused.reason}"
        if 0 <= row < self.meta.rows_read:
            return f"{name} is left out: there is nothing in it that could be learnt."
        return f"There is no row {row + 1}; the last one is {self.meta.rows_read}."

    def sample(
        self, place: int, first_token: int = 0, limit: int = SHOWN_TOKENS,
        max_length: int | None = None,
    ) -> Sample:  # fmt: skip
        """The sample, with at most ``limit`` of its tokens. Raises IndexError."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        begin, end = self._starts[place], self._starts[place + 1]
        flags = self._learnt[begin : end if max_length is None else min(end, begin + max_length)]
        at = place * DIGEST_BYTES
        found = Sample(
            row=self._rows[place], place=place, length=end - begin,
            targets=sum(flags[self._unlearnt :]), hash=self._hashes[at : at + DIGEST_BYTES].hex(),
        )  # fmt: skip
        first = max(0, min(first_token, found.length - 1))
        last = min(found.length, first + limit)
        if place < self.meta.shown:
            return self._with_text(found, begin, first, last)
        return self._of_tokens(found, begin, first, last)

    def _of_tokens(self, found: Sample, begin: int, first: int, last: int) -> Sample:
        pieces = self._pieces
        if not pieces:
            return msgspec.structs.replace(found, is_shown=False)
        ids = self._tokens[begin + first : begin + last]
        text, spans = put_together(pieces.of(id) for id in ids)
        tokens = [
            Token(*spans[number], id, self._is_learnt(begin, begin + first + number))
            for number, id in enumerate(ids)
        ]
        return msgspec.structs.replace(
            found, text=text[:_TEXT_CHARS], tokens=tokens, first_token=first, is_of_tokens=True
        )

    @cached_property
    def _pieces(self) -> Pieces | None:
        """None if all is kept as text, or the tokenizer is one that cannot be asked."""
        try:
            starts = self._view(PIECE_STARTS, "q")
            return Pieces(self._bytes(PIECES), starts) if len(starts) > 1 else None
        except OSError:
            return None

    def _is_learnt(self, begin: int, at: int) -> bool:
        return bool(self._learnt[at]) and at >= begin + self._unlearnt

    def _with_text(self, found: Sample, begin: int, first: int, last: int) -> Sample:
        text = self._cut(TEXT, self._texts, found.place)
        tokens = [
            Token(
                self._spans[2 * at], self._spans[2 * at + 1], self._tokens[at],
                self._is_learnt(begin, at),
            )
            for at in range(begin + first, begin + last)
        ]  # fmt: skip
        low, high = _window(tokens, len(text), first, last, found.length)
        moved = [
            Token(t.begin - low, t.end - low, t.id, t.learnt) if t.end > t.begin
            else Token(0, 0, t.id, t.learnt)
            for t in tokens
        ]  # fmt: skip
        special = self.meta.special_tokens
        return msgspec.structs.replace(
            found,
            text=text[low:high][:_TEXT_CHARS],
            tokens=moved,
            first_token=first,
            raw=self._cut(RAW, self._raws, found.place)[:_RAW_CHARS],
            names={t.id: special[t.id] for t in tokens if t.id in special},
        )

    def _cut(self, name: str, starts: Sequence[int], place: int) -> str:
        with (self.folder / name).open("rb") as file:
            file.seek(starts[place])
            return file.read(starts[place + 1] - starts[place]).decode()

    def search(self, words: str, limit: int = MAX_FOUND) -> list[int]:
        """Places of the first samples whose text holds these words, whatever the case."""
        pattern = re.compile(b"".join(_any_case(letter) for letter in words))
        data = self._bytes(TEXT)
        found: list[int] = []
        at = 0
        while len(found) < limit and (hit := pattern.search(data, at)):
            place = bisect.bisect_right(self._texts, hit.start()) - 1
            # Two samples touch in the file; words across the border are in neither.
            if hit.end() <= self._texts[place + 1]:
                found.append(place)
                at = self._texts[place + 1]
            else:
                at = hit.start() + 1
        return found


class Pieces:
    """What each token stands for, by id."""

    def __init__(self, data: Any, starts: Sequence[int]) -> None:
        self._data = data
        self._starts = starts

    def of(self, id: int) -> bytes:
        """Nothing for an id that the vocabulary does not have."""
        if not 0 <= id < len(self._starts) - 1:
            return b""
        found: bytes = self._data[self._starts[id] : self._starts[id + 1]]
        return found


def put_together(pieces: Iterable[bytes]) -> tuple[str, list[tuple[int, int]]]:
    """The text of these pieces, and from and up to which letter of it each goes. A letter that
    several make belongs to each of them; bytes that make none are a mark."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, spans, size = [], [], 0
    for piece in pieces:
        made = decoder.decode(piece)
        waits = bool(decoder.getstate()[0])
        text.append(made)
        spans.append((size, size + len(made) + waits))
        size += len(made)
    text.append(decoder.decode(b"", final=True))
    return "".join(text), spans


def _any_case(letter: str) -> bytes:
    """A pattern for a letter, small or large: in bytes Python itself knows only those of ASCII."""
    forms = {form.encode() for form in (letter, letter.lower(), letter.upper())}
    return b"(?:" + b"|".join(re.escape(form) for form in sorted(forms)) + b")"


def _window(
    tokens: Sequence[Token], size: int, first: int, last: int, length: int
) -> tuple[int, int]:
    """From and up to which character the text of these tokens goes."""
    spans = [(token.begin, token.end) for token in tokens if token.end > token.begin]
    low = 0 if first == 0 or not spans else spans[0][0]
    high = size if last == length or not spans else max(end for _, end in spans)
    return low, high
