"""A dataset as a model sees it, on disk: the tokens of every row, and which of them are learnt.

    <home>/encoded/<key>/
      tokens.i32  learnt.u8     all tokens one behind the other, and a flag for each
      starts.i64                where each sample begins, and the end of the last
      rows.i64                  the row of the dataset that each sample is; the first is 0
      digests.sha256            of each row's content
      text.utf8  texts.i64      what the tokenizer was given, of the first samples
      spans.u32                 from and up to which character of it each token goes
      raw.utf8  raws.i64        the same rows as they stand in the file, as JSON
      ENCODED.json              all else; written last: a folder without it is none

Whatever could change a token is in the key, so a folder is never changed. Training reads the very
files that a person looks at. Everything here is light: arrays are mapped, not read.
"""

from __future__ import annotations

import bisect
import contextlib
import mmap
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine import paths
from engine.store.files import hide_tree

FORMAT = 1
META = "ENCODED.json"
TOKENS, LEARNT, STARTS, ROWS = "tokens.i32", "learnt.u8", "starts.i64", "rows.i64"
DIGESTS = "digests.sha256"
TEXT, TEXTS, SPANS, RAW, RAWS = "text.utf8", "texts.i64", "spans.u32", "raw.utf8", "raws.i64"
FILES = (TOKENS, LEARNT, STARTS, ROWS, DIGESTS, TEXT, TEXTS, SPANS, RAW, RAWS)
DIGEST_BYTES = 32

KEPT, KEPT_BYTES = 12, 32 << 30
"""Datasets kept, and what they may take together; those used longest ago go."""
SHOWN_TOKENS = 4000
"""Most tokens of a sample that are shown at once."""
MAX_FOUND = 200
_RAW_CHARS = 64 << 10
_TEXT_CHARS = 96 << 10
"""Of a text whose tokens are very long; a line of the wire has 1 MiB."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the model's chat template does not take."""

    row: int
    reason: str


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ENCODED.json`` holds."""

    format: int
    format_name: str
    """Of the dataset: a key of :data:`engine.formats.registry.FORMATS`."""
    method: str
    rows_read: int
    samples: int = 0
    tokens: int = 0
    shown: int = 0
    """How many samples, from the first, can be looked at as text."""
    shown_tokens: int = 0
    text_bytes: int = 0
    raw_bytes: int = 0
    has_conversations: bool = False
    merged_systems: int = 0
    refused_count: int = 0
    refused: list[Refused] = []
    """The first of them."""
    blank: int = 0
    """Documents left out because there is nothing in them."""
    suspects: dict[str, list[int]] = {}
    """Rows in which something was seen while they were read, by the kind of it."""
    special_tokens: dict[int, str] = {}
    seconds: float = 0.0


def folder_of(key: str) -> Path:
    """Where the dataset with this key is, or is to be."""
    return paths.home() / "encoded" / key


def find(key: str) -> Path | None:
    """The dataset's folder if it is there and whole; it counts as used now."""
    folder = folder_of(key)
    try:
        meta = read_meta(folder)
    except (OSError, msgspec.DecodeError):
        return None
    if meta.format != FORMAT or not is_whole(folder, meta):
        return None
    with contextlib.suppress(OSError):
        (folder / META).touch()
    return folder


def read_meta(folder: Path) -> Meta:
    """Raises ``OSError`` and ``msgspec.DecodeError``."""
    return msgspec.json.decode((folder / META).read_bytes(), type=Meta)


def is_whole(folder: Path, meta: Meta) -> bool:
    """Whether every file has its size."""
    wanted = {
        TOKENS: 4 * meta.tokens, LEARNT: meta.tokens, STARTS: 8 * (meta.samples + 1),
        ROWS: 8 * meta.samples, DIGESTS: DIGEST_BYTES * meta.samples,
        TEXTS: 8 * (meta.shown + 1), RAWS: 8 * (meta.shown + 1), SPANS: 8 * meta.shown_tokens,
        TEXT: meta.text_bytes, RAW: meta.raw_bytes,
    }  # fmt: skip
    try:
        return all((folder / name).stat().st_size == size for name, size in wanted.items())
    except OSError:
        return False


def make_room(keep: int = KEPT, keep_bytes: int = KEPT_BYTES) -> None:
    """Remove the datasets that were used longest ago, and what a crash left. A run that has one
    mapped goes on with it (Windows does not let go of such a file, and it stays)."""
    root = folder_of("x").parent
    if not root.is_dir():
        return
    ages: list[tuple[float, Path]] = []
    for folder in root.iterdir():
        try:
            ages.append(((folder / META).stat().st_mtime, folder))
        except OSError:
            if time.time() - _written_at(folder) > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    total = 0
    for place, (_, folder) in enumerate(sorted(ages, reverse=True)):
        total += _size(folder)
        if place >= keep or (place and total > keep_bytes):
            with contextlib.suppress(OSError):
                shutil.rmtree(hide_tree(folder), ignore_errors=True)


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:
        return 0


_ABANDONED_SECONDS = 1800.0
"""A folder without its last file is one that is being written, as long as it grows."""


def _written_at(folder: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return time.time()


def staging_of(folder: Path, pid: int) -> Path:
    """Where this process makes the dataset that is to be ``folder``."""
    return folder.with_name(f".{folder.name}-{pid}")


def forget(pid: int) -> None:
    """Remove what a process that has ended was making."""
    for folder in folder_of("x").parent.glob(f".*-{pid}"):
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- looking at samples


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
    """False for a sample too far behind to have been kept as text."""


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

    def why_not(self, row: int) -> str:
        """Why a row of the dataset is no sample."""
        for refused in self.meta.refused:
            if refused.row == row:
                return f"Row {row + 1} is left out: {refused.reason}"
        if 0 <= row < self.meta.rows_read:
            return f"Row {row + 1} is left out: there is nothing in it that could be learnt."
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
            is_shown=place < self.meta.shown,
        )  # fmt: skip
        return self._with_text(found, begin, first_token, limit) if found.is_shown else found

    def _with_text(self, found: Sample, begin: int, first: int, limit: int) -> Sample:
        text = self._cut(TEXT, self._texts, found.place)
        first = max(0, min(first, found.length - 1))
        last = min(found.length, first + limit)
        tokens = [
            Token(
                self._spans[2 * at], self._spans[2 * at + 1], self._tokens[at],
                bool(self._learnt[at]) and at >= begin + self._unlearnt,
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
