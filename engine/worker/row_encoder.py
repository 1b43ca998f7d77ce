"""Rows become tokens, run by run: the same in the worker and in the processes that help it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from engine.formats.answers import is_blank
from engine.formats.example import Example, Text
from engine.formats.mojibake import repaired_example
from engine.formats.reading import Dataset, Unit
from engine.store.encoded import Refused
from engine.worker.chat import PLAIN_TEMPLATE, CannotRender, ChatRenderer, LossOn, Rendered
from engine.worker.part import Part, Shown
from engine.worker.render import Renderer
from engine.worker.samples import row_hash
from engine.worker.suspects import BLANK, REPAIRED, Suspects
from engine.worker.tokenise import BATCH, AnyTokenizer, Encoded, close, closing_id, encode


class _Item(msgspec.Struct, frozen=True):
    """One row on its way."""

    row: int
    raw: Any
    digest: bytes
    rendered: Rendered


class RowEncoder:
    """Makes the parts of one dataset."""

    def __init__(
        self, tokenizer: AnyTokenizer, dataset: Dataset, seed: int, loss_on: LossOn,
        *, repairs: bool = False,
    ) -> None:  # fmt: skip
        self._tokenizer = tokenizer
        self._dataset = dataset
        self._seed = seed
        self._loss_on = loss_on
        self._end_id = closing_id(tokenizer)
        self._render = Renderer(self._chat, loss_on)
        self._suspects = Suspects(tokenizer)
        self._repairs = repairs

    def _chat(self) -> ChatRenderer:
        if not self._tokenizer.chat_template:
            self._tokenizer.chat_template = PLAIN_TEMPLATE
            try:
                return ChatRenderer(self._tokenizer, self._loss_on)
            finally:
                self._tokenizer.chat_template = None
        return ChatRenderer(self._tokenizer, self._loss_on)

    def part(self, unit: Unit, *, shows: bool) -> Part:
        """What becomes of some rows; ``shows`` keeps what is to be looked at. Raises
        DatasetError."""
        making = _Making(self, shows)
        merged = self._render.merged_systems
        self._suspects.found = {}
        for row, (raw, example, line) in enumerate(self._dataset.examples(unit)):
            making.rows_read += 1
            making.lines.append(line)
            if example is None:
                making.unlearnt += 1
            else:
                self._take(making, row, raw, example)
        making.flush()
        return making.part(
            merged_systems=self._render.merged_systems - merged,
            has_conversations=self._render.has_conversations,
            suspects=self._suspects.found,
        )

    def _take(self, making: _Making, row: int, raw: Any, example: Example) -> None:
        if isinstance(example, Text) and is_blank(example.text):
            making.blank += 1
            self._suspects.note(BLANK, row)
            return
        if self._repairs and (sound := repaired_example(example)) != example:
            self._suspects.note(REPAIRED, row)
            example = sound
        self._suspects.look(row, example)
        try:
            rendered = self._render(example)
        except CannotRender as error:
            making.refused.append(Refused(row=row, reason=str(error)))
            return
        content = _content(example, self._dataset.method)
        making.add(_Item(row, raw, row_hash(content, self._seed), rendered))

    def encoded(self, items: list[_Item], *, places: bool) -> Iterator[Encoded]:
        """The tokens of each, with its end."""
        texts = [item.rendered for item in items]
        for text, found in zip(
            texts, encode(self._tokenizer, texts, always_places=places), strict=True
        ):
            # Only a chat template writes the end itself.
            yield close(found, self._end_id) if text.special_tokens else found


class _Making:
    """A part as it grows."""

    def __init__(self, encoder: RowEncoder, shows: bool) -> None:
        self._encoder = encoder
        self._shows = shows
        self._items: list[_Item] = []
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._tokens: list[bytes] = []
        self._learnt: list[bytes] = []
        self._digests: list[bytes] = []
        self._texts: list[bytes] = []
        self._spans: list[bytes] = []
        self._raws: list[bytes] = []
        self.rows_read = 0
        self.lines = array("q")
        self.blank = 0
        self.unlearnt = 0
        self.refused: list[Refused] = []

    def add(self, item: _Item) -> None:
        self._items.append(item)
        if len(self._items) == BATCH:
            self.flush()

    def flush(self) -> None:
        items, self._items = self._items, []
        if not items:
            return
        for item, found in zip(
            items, self._encoder.encoded(items, places=self._shows), strict=True
        ):
            self._rows.append(item.row)
            self._lengths.append(len(found.ids))
            self._tokens.append(found.ids.astype(np.int32, copy=False).tobytes())
            self._learnt.append(found.flags.astype(np.uint8, copy=False).tobytes())
            self._digests.append(item.digest)
            if self._shows and found.places is not None:  # As it is for a quick tokenizer.
                self._texts.append(item.rendered.text.encode())
                self._spans.append(found.places.astype(np.uint32, copy=False).tobytes())
                self._raws.append(msgspec.json.encode(item.raw, enc_hook=str))

    def part(self, **known: Any) -> Part:
        shown = Shown(
            b"".join(self._texts), [len(text) for text in self._texts], b"".join(self._spans),
            b"".join(self._raws), [len(raw) for raw in self._raws],
        )  # fmt: skip
        return Part(
            self.rows_read, self._rows, self._lengths, b"".join(self._tokens),
            b"".join(self._learnt), b"".join(self._digests), self.lines.tobytes(),
            shown=shown if len(shown.texts) == len(self._rows) else None, blank=self.blank,
            refused_count=len(self.refused), refused=self.refused,
            unlearnt=self.unlearnt, **known,
        )  # fmt: skip


def _content(example: Example, method: str) -> bytes:
    """What two rows that hold the same have in common."""
    if method == "pretrain" and isinstance(example, Text):
        return example.text.encode(errors="replace")
    return msgspec.json.encode(example)
