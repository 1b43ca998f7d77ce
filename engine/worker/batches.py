"""From rows of samples to the tensors of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from engine.worker import large
from engine.worker.by_sample import BORDERS
from engine.worker.rows import AnyRows, Row
from engine.worker.samples import IGNORED, Samples
from engine.worker.schedule import Schedule, Turn, in_batches

Batch = dict[str, Any]
"""Tensors by the names of the model's arguments, and maybe the borders of samples."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Samples, and how they are put into rows."""

    samples: Samples
    rows: AnyRows
    packed: bool = False
    one_line: bool = False
    """Put the rows of a batch one behind the other, for attention that looks at one sample after
    the other and has nothing to compute in between."""
    has_borders: bool = False
    """Tell where samples end, for :mod:`engine.worker.by_sample`; flash attention finds out."""

    def __len__(self) -> int:
        return len(self.rows)


def row_lengths(data: Rows) -> npt.NDArray[np.int64]:
    """Tokens of each row."""
    return data.rows.sums(data.samples.lengths)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """All that one optimizer step computes: for the trainer it is one batch."""

    batches: list[Batch]
    tokens: int
    """Padding not counted."""
    targets: int
    cursor: int
    epoch: float
    rows: list[int] = []
    """What it is made of, by index."""
    wait_ms: float = 0.0
    """How long the trainer waited for it."""

    @property
    def padded_tokens(self) -> int:
        """Tokens that the model computes, padding among them."""
        return sum(batch["input_ids"].numel() for batch in self.batches)


class Collator:
    """Makes batches of rows. Nothing here is random, and nothing but padding is added."""

    def __init__(self, data: Rows, pad_id: int) -> None:
        self._data = data
        self._pad_id = pad_id

    def __call__(self, indices: Sequence[int]) -> Batch:
        """The batch of these rows; shapes are (rows, longest row), or (1, all tokens)."""
        rows = [self._data.rows[index] for index in indices]
        if self._data.one_line:
            rows = [tuple(sample for row in rows for sample in row)]
        parts = [self._join(row) for row in rows]
        longest = max(len(ids) for ids, _, _ in parts)
        ids = np.full((len(parts), longest), self._pad_id, dtype=np.int64)
        labels = np.full((len(parts), longest), IGNORED, dtype=np.int64)
        # In a packed row padding is one more sample: positions from 0 on, and no targets.
        positions = np.tile(np.arange(longest), (len(parts), 1))
        mask = np.zeros((len(parts), longest), dtype=np.int64)
        for place, (row_ids, row_labels, row_positions) in enumerate(parts):
            size = len(row_ids)
            ids[place, :size], labels[place, :size] = row_ids, row_labels
            positions[place, :size] = row_positions
            positions[place, size:] = np.arange(longest - size)
            mask[place, :size] = 1
        has_borders = self._data.has_borders and len(rows[0]) > 1
        # transformers keeps samples of a row apart by their positions, but only without a mask.
        is_apart = self._data.packed or has_borders
        extra = {"position_ids": positions} if is_apart else {"attention_mask": mask}
        arrays = {"input_ids": ids, "labels": labels, **extra}
        batch: Batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if has_borders:
            lengths = self._data.samples.lengths[list(rows[0])].tolist()
            batch[BORDERS] = [0, *accumulate(lengths)]
        return batch

    def _join(self, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, labels and positions of a row's samples, one behind the other."""
        parts = [self._data.samples[index] for index in row]
        ids = np.concatenate([tokens for tokens, _ in parts]).astype(np.int64)
        learnt = np.concatenate([flags for _, flags in parts])
        positions = np.concatenate([np.arange(len(tokens)) for tokens, _ in parts])
        # A sample's first token must not be told from the sample before it.
        return ids, np.where(learnt & (positions > 0), ids, IGNORED), positions


def first_tokens(batch: Batch, count: int) -> Batch:
    """The batch with so many tokens of each row."""
    cut = {name: part[:, :count] for name, part in batch.items() if name != BORDERS}
    if BORDERS in batch:
        width = cut["input_ids"].shape[1]
        cut[BORDERS] = [*(place for place in batch[BORDERS] if place < width), width]
    return cut


class WindowLoader:
    """What the trainer takes for its data loader: one window a step, from the cursor on.

    Its length is the length of the whole run, which is one epoch for the trainer; real epochs are
    the schedule's business.
    """

    def __init__(
        self, data: Rows, collator: Collator, schedule: Schedule, *, micro_batch: int,
        step: int = 0, cursor: int = 0,
    ) -> None:  # fmt: skip
        self.dataset = data
        self._counts = data.samples.target_counts
        self._lengths = data.samples.lengths
        self._row_lengths = row_lengths(data)
        self._collator = collator
        self._schedule = schedule
        self._micro_batch = micro_batch
        self._step = step
        self._cursor = cursor

    def __len__(self) -> int:
        return self._schedule.total_steps

    def __iter__(self) -> Iterator[Window]:
        left = self._schedule.total_steps - self._step
        turns = islice(self._schedule.turns(self._cursor), left)
        # The trainer waits from the moment it asks; a generator goes on exactly then.
        asked = time.monotonic()
        for turn in turns:
            yield self._window(turn, asked)
            asked = time.monotonic()

    def _window(self, turn: Turn, asked: float) -> Window:
        samples = [sample for row in turn.rows for sample in self.dataset.rows[row]]
        parts = in_batches(turn.rows, self._row_lengths, self._micro_batch)
        batches = [self._collator(part) for part in parts]
        tokens, targets = int(self._lengths[samples].sum()), int(self._counts[samples].sum())
        # Samples come from all over the files; in the end all of them would be in memory.
        self.dataset.samples.give_back()
        large.give_back(self._lengths, self._counts, self._row_lengths)
        return Window(
            batches=batches, tokens=tokens, targets=targets, cursor=turn.cursor, epoch=turn.epoch,
            rows=turn.rows, wait_ms=1000 * (time.monotonic() - asked),
        )  # fmt: skip
