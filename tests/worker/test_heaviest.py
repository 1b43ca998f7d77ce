"""The heaviest steps are those that an enumeration of the whole run finds."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.worker.batches import Rows, row_lengths
from engine.worker.heaviest import (
    Chosen,
    Shape,
    heaviest_batches,
    padded_tokens,
    pick,
    shape_of,
)
from engine.worker.packing import packed, unpacked
from engine.worker.samples import Samples
from engine.worker.schedule import Schedule


def _schedule(rows: int, batch: int, **fields: float) -> Schedule:
    return Schedule(row_count=rows, batch=batch, seed=7, **fields)  # type: ignore[arg-type]


def _samples(lengths: list[int]) -> Samples:
    return Samples.of((np.ones(n, np.int32), np.ones(n, np.bool_)) for n in lengths)


def _weight(lengths: list[int], rows: list[int]) -> tuple[int, int]:
    longest = max(lengths[row] for row in rows)
    return len(rows) * longest, longest


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    size=st.integers(1, 5),
    accumulation=st.integers(1, 4),
    epochs=st.sampled_from([1.0, 2.5]),
)
def test_no_batch_of_the_run_is_heavier(
    lengths: list[int], size: int, accumulation: int, epochs: float
) -> None:
    schedule = _schedule(len(lengths), size * accumulation, num_train_epochs=epochs)
    steps = [turn.rows for turn in islice(schedule.turns(), schedule.total_steps)]
    batches = []
    for rows in steps:
        order = sorted(rows, key=lambda row: lengths[row], reverse=True)
        batches.append(
            [_weight(lengths, order[at : at + size]) for at in range(0, len(order), size)]
        )
    found = pick(lengths, schedule, size)
    assert found.shape.weight == max(max(step) for step in batches)
    assert found.windows[0] == found.windows[1]
    tried = [batches[steps.index(rows)] for rows in found.windows]
    assert max(tried[0]) == found.shape.weight
    # With gradients there: no later batch of any step is heavier than one that is tried.
    later = [weight for step in batches for weight in step[1:]]
    assert max(later, default=(0, 0)) == max(
        (weight for step in tried for weight in step[1:]), default=(0, 0)
    )
    assert found.ordinary in steps


def test_a_step_of_one_batch_is_tried_twice_and_no_other() -> None:
    found = pick([3, 9, 4, 2], _schedule(4, 2), 2)
    assert len(found.windows) == 2
    assert 1 in found.windows[0]
    assert found.shape == Shape(rows=2, width=9)


def test_ends_of_a_run_after_few_steps_are_seen() -> None:
    lengths = [1] * 99 + [500]
    schedule = _schedule(100, 1, max_steps=3)
    reached = {row for turn in islice(schedule.turns(), 3) for row in turn.rows}
    assert 99 not in reached
    assert pick(lengths, schedule, 1).shape.width == 1


def test_the_ordinary_step_is_nearest_to_the_mean() -> None:
    lengths = [10, 12, 11, 90]
    found = pick(lengths, _schedule(4, 1), 1)
    assert lengths[found.ordinary[0]] == 12
    assert found.mean * 12 == 30.75


def test_rows_in_one_line_count_together() -> None:
    line = shape_of([4, 7], one_line=True)
    assert line == Shape(rows=2, width=11, one_line=True)
    assert (line.weight, line.length) == ((11, 11), 6)
    found = pick([4, 6, 5, 5], _schedule(4, 2), 2, one_line=True)
    assert found.shape == Shape(rows=2, width=11, one_line=True)


def test_packed_rows_are_as_long_as_their_samples_together() -> None:
    lengths = [5, 9, 3, 7]
    rows = Rows(samples=_samples(lengths), rows=packed(lengths, 12), packed=True)
    assert sorted(row_lengths(rows)) == sorted(
        sum(lengths[sample] for sample in row) for row in rows.rows
    )
    assert max(row_lengths(rows)) == 12
    plain = Rows(samples=_samples(lengths), rows=unpacked(4))
    assert row_lengths(plain).tolist() == lengths


def test_the_longest_batch_of_an_evaluation() -> None:
    assert heaviest_batches([3, 3, 8, 1, 9], [1] * 5, 2) == [2, 3]
    assert heaviest_batches([1, 1, 1, 1, 9], [1, 1, 1, 1, 9], 2) == [4]
    assert heaviest_batches([], [], 4) == []
    assert padded_tokens([3, 3, 8, 1, 9], 2) == 6 + 16 + 9


def test_of_an_evaluation_the_batch_with_most_to_learn_is_tried_too() -> None:
    lengths = [3, 3, 8, 1, 6, 6, 9]
    assert heaviest_batches(lengths, [1, 1, 2, 1, 5, 5, 1], 2) == [2, 3, 4, 5]
    # The short one stays last, where the evaluation ends.
    assert heaviest_batches([3, 3, 2, 2, 9], [2, 2, 1, 1, 1], 2) == [0, 1, 4]


def test_the_step_with_most_to_learn_is_tried_after_the_longest() -> None:
    lengths, schedule = [90, 60, 50, 40], _schedule(4, 1)
    found = pick(lengths, schedule, 1, targets=[2, 1, 49, 3])
    assert found.windows == [[0], [0], [2]]
    assert found.shape.width == 90
    # Where the longest has most to learn, nothing else is.
    assert pick(lengths, schedule, 1, targets=[60, 1, 49, 3]).windows == [[0], [0]]


@given(
    rows=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=40),
    size=st.integers(1, 5),
    accumulation=st.integers(1, 4),
)
def test_no_batch_of_the_run_has_more_to_learn(
    rows: list[tuple[int, int]], size: int, accumulation: int
) -> None:
    lengths, targets = [n for n, _ in rows], [min(t, n) for n, t in rows]
    schedule = _schedule(len(rows), size * accumulation)

    def most(step: list[int]) -> int:
        order = sorted(step, key=lambda row: lengths[row], reverse=True)
        batches = (order[at : at + size] for at in range(0, len(order), size))
        return max(sum(targets[row] for row in batch) for batch in batches)

    found = pick(lengths, schedule, size, targets=targets)
    every = [turn.rows for turn in islice(schedule.turns(), schedule.total_steps)]
    assert max(map(most, found.windows)) == max(map(most, every))
    assert found.windows[:2] == pick(lengths, schedule, size).windows[:2]


def test_chosen_steps_come_over_and_over_from_any_place() -> None:
    chosen = Chosen(row_count=9, batch=2, seed=0, windows=[[1, 2], [3, 4], [5]], steps=5)
    assert chosen.total_steps == 5
    turns = list(islice(chosen.turns(2), 3))
    assert [turn.rows for turn in turns] == [[5], [1, 2], [3, 4]]
    assert [turn.cursor for turn in turns] == [3, 4, 5]
