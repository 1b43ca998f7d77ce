"""What a window tells beside its tensors: its rows, its padding, and how long it was waited for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

from engine.worker.batches import Batch, Collator, Rows, WindowLoader
from engine.worker.packing import packed, unpacked
from engine.worker.samples import Samples
from engine.worker.schedule import Schedule, in_batches

SAMPLES = Samples.of([(range(n), [True] * n) for n in (3, 8, 5, 2, 7, 4)])


def loader(data: Rows, collator: Collator | None = None, batch: int = 4) -> WindowLoader:
    schedule = Schedule(row_count=len(data), batch=batch, seed=1, num_train_epochs=2)
    return WindowLoader(data, collator or Collator(data, 0), schedule, micro_batch=2)


def test_a_window_counts_its_tokens_with_and_without_padding() -> None:
    data = Rows(samples=SAMPLES, rows=unpacked(len(SAMPLES)))
    for window in loader(data):
        lengths = sorted((int(SAMPLES.lengths[row]) for row in window.rows), reverse=True)
        pairs = [lengths[n : n + 2] for n in range(0, len(lengths), 2)]
        assert window.tokens == sum(lengths)
        assert window.padded_tokens == sum(len(pair) * max(pair) for pair in pairs)


def test_rows_of_like_length_share_a_batch_and_the_longest_come_first() -> None:
    assert in_batches([4, 0, 2, 3], [7, 5, 9, 7, 3], 2) == [[2, 0], [3, 4]]
    assert in_batches([1, 3, 0], [7, 5, 9, 7], 2) == [[3, 0], [1]], (
        "of the same length as they come"
    )
    data = Rows(samples=SAMPLES, rows=unpacked(len(SAMPLES)))
    for window in loader(data):
        widths = [batch["input_ids"].shape[1] for batch in window.batches]
        assert widths == sorted(widths, reverse=True)


def test_packed_rows_have_little_padding() -> None:
    data = Rows(samples=SAMPLES, rows=packed(SAMPLES.lengths.tolist(), 10), packed=True)
    (window, *_) = loader(data, batch=len(data))
    assert window.tokens == int(SAMPLES.lengths.sum())
    assert window.tokens <= window.padded_tokens <= 10 * len(data)
    assert sorted(window.rows) == list(range(len(data)))


def test_the_wait_is_that_for_the_batches_and_not_for_the_step() -> None:
    class Slow(Collator):
        def __call__(self, indices: Sequence[int]) -> Batch:
            time.sleep(0.02)
            return super().__call__(indices)

    data = Rows(samples=SAMPLES, rows=unpacked(len(SAMPLES)))
    for window in islice(loader(data, Slow(data, 0)), 3):
        time.sleep(0.2)  # the step
        assert 20 * len(window.batches) <= window.wait_ms < 200
