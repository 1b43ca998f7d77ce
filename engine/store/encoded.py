"""A dataset as a model sees it, on disk: the tokens of every row, and which of them are learnt.

    <home>/encoded/<key>/
      tokens.i32  learnt.u8     all tokens one behind the other, and a flag for each
      starts.i64                where each sample begins, and the end of the last
      rows.i64                  the row of the dataset that each sample is; the first is 0
      digests.sha256            of each row's content
      lines.i64                 of each row that was read, the line of its file where it begins, 0
                                where files have none
      text.utf8  texts.i64      what the tokenizer was given, of the first samples
      spans.u32                 from and up to which character of it each token goes
      raw.utf8  raws.i64        the same rows as they stand in the file, as JSON
      ENCODED.json              all else; written last: a folder without it is none
      pieces.bytes  pieces.i64  what each token stands for, and where that begins; there where not
                                all samples are kept as text
      near.i64                  of each sample the earlier one that it is nearly the same as, or
                                itself; there once somebody has asked

Beside them ``<digest>.words-differ`` says of a tokenizer that nothing may be remembered of words.

Whatever could change a token is in the key, so a folder is never changed. Training reads the very
files that a person looks at. Everything here is light: arrays are mapped, not read.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import msgspec

from engine import paths
from engine.store.files import hide_tree

FORMAT = 7
META = "ENCODED.json"
TOKENS, LEARNT, STARTS, ROWS = "tokens.i32", "learnt.u8", "starts.i64", "rows.i64"
DIGESTS, LINES = "digests.sha256", "lines.i64"
TEXT, TEXTS, SPANS, RAW, RAWS = "text.utf8", "texts.i64", "spans.u32", "raw.utf8", "raws.i64"
NEAR = "near.i64"
PIECES, PIECE_STARTS = "pieces.bytes", "pieces.i64"
FILES = (TOKENS, LEARNT, STARTS, ROWS, DIGESTS, LINES, TEXT, TEXTS, SPANS, RAW, RAWS)
DIGEST_BYTES = 32

KEPT, KEPT_BYTES = 12, 32 << 30
"""Datasets kept, and what they may take together; those used longest ago go."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the model's chat template does not take."""

    row: int
    reason: str


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ENCODED.json`` holds."""

    format: int
    format_name: str
    """Of the dataset: a key of :data:`engine.formats.registry.FORMATS`, or several."""
    method: str
    rows_read: int
    parts: list[int] = []
    """Of those, how many of each entry of the dataset; they follow one behind the other."""
    files: list[tuple[int, int, int]] = []
    """Of each file with rows, in order: which of the dataset's files it is, its first row, and
    which row of the file that is, from 1."""
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
    unlearnt: int = 0
    """Rows left out because the method learns nothing of them, such as answers labelled bad."""
    suspects: dict[str, list[int]] = {}
    """Rows in which something was seen while they were read, by the kind of it."""
    special_tokens: dict[int, str] = {}
    seconds: float = 0.0


def folder_of(key: str) -> Path:
    """Where the dataset with this key is, or is to be."""
    return paths.home() / "encoded" / key


def words_differ(tokenizer: str) -> bool:
    """Whether the tokenizer with this digest was seen to make other tokens of a text than of its
    words."""
    return _note_of(tokenizer).exists()


def note_words_differ(tokenizer: str) -> None:
    """It was. Raises ``OSError``."""
    note = _note_of(tokenizer)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def _note_of(tokenizer: str) -> Path:
    return folder_of(f"{tokenizer[:40]}.words-differ")


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
        ROWS: 8 * meta.samples, DIGESTS: DIGEST_BYTES * meta.samples, LINES: 8 * meta.rows_read,
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
