"""A run of rows as tokens: what one call makes of it, here or in another process."""

from __future__ import annotations

import msgspec

from engine.formats.reading import Unit
from engine.store.encoded import Meta, Refused
from engine.worker.suspects import MAX_ROWS

_NAMED_ROWS = 1000


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """What is to be seen of the samples of a part: one behind the other, and how long each is."""

    text: bytes
    texts: list[int]
    spans: bytes
    """uint32, from and up to which character each token goes."""
    raw: bytes
    raws: list[int]


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Rows are counted from 0 in the part."""

    rows_read: int
    rows: list[int]
    """Those that are samples."""
    lengths: list[int]
    """Tokens of each sample."""
    tokens: bytes
    """int32."""
    learnt: bytes
    """A flag for each token."""
    digests: bytes
    lines: bytes
    """int64, of each row that was read; 0 where files have none."""
    shown: Shown | None = None
    blank: int = 0
    refused_count: int = 0
    refused: list[Refused] = []
    merged_systems: int = 0
    has_conversations: bool = False
    suspects: dict[str, list[int]] = {}
    unlearnt: int = 0


class Tally:
    """What the parts of a dataset come to, put in order."""

    def __init__(self, entries: int) -> None:
        self.rows_read = 0
        self._parts = [0] * entries
        self._files: list[tuple[int, int, int]] = []
        self._unlearnt = 0
        self._blank = 0
        self._refused_count = 0
        self._refused: list[Refused] = []
        self._merged_systems = 0
        self._has_conversations = False
        self._suspects: dict[str, list[int]] = {}

    def add(self, part: Part, entry: int, unit: Unit) -> None:
        """The next part, which entry of the dataset it is of, and the rows that it was made of."""
        if not self._files or self._files[-1][0] != unit.piece:
            self._files.append((unit.piece, self.rows_read, unit.number))
        self._parts[entry] += part.rows_read
        self._unlearnt += part.unlearnt
        before = self.rows_read
        self.rows_read += part.rows_read
        self._blank += part.blank
        self._refused_count += part.refused_count
        for refused in part.refused[: _NAMED_ROWS - len(self._refused)]:
            self._refused.append(msgspec.structs.replace(refused, row=before + refused.row))
        self._merged_systems += part.merged_systems
        self._has_conversations |= part.has_conversations
        for kind, rows in part.suspects.items():
            found = self._suspects.setdefault(kind, [])
            found += [before + row for row in rows[: MAX_ROWS - len(found)]]

    def into(self, meta: Meta) -> Meta:
        """The meta with all that."""
        return msgspec.structs.replace(
            meta, rows_read=self.rows_read, parts=self._parts, files=self._files,
            blank=self._blank,
            unlearnt=self._unlearnt,
            refused_count=self._refused_count, refused=self._refused,
            merged_systems=self._merged_systems, has_conversations=self._has_conversations,
            suspects=self._suspects,
        )  # fmt: skip
