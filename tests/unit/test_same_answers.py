"""Answers that are the same in nearly all rows are noticed, and others are not."""

from __future__ import annotations

import numpy as np
import pytest

from engine.worker.same_answers import MOST_SAMPLES, SameAnswers, same_answers
from engine.worker.samples import Samples


def samples(answers: list[list[int]]) -> Samples:
    """Each with a question of its own."""
    return Samples.of(
        ([number, 7, *answer], [False, False, *[True] * len(answer)])
        for number, answer in enumerate(answers)
    )


def found(answers: list[list[int]], first: list[int] | None = None) -> SameAnswers | None:
    return same_answers(samples(answers), np.array(first or range(len(answers)), np.int64))


def test_nine_of_ten_are_told_and_fewer_are_not() -> None:
    one, other = [1, 2], [1, 3]
    told = found([other, *[one] * 9])
    assert told == SameAnswers(list(range(1, 10)), 10)
    assert told.words == "9 of 10 rows that were compared have the same answer."
    assert found([other, other, *[one] * 8]) is None
    assert found([[number] for number in range(20)]) is None


def test_of_few_rows_and_of_none_nothing_is_said() -> None:
    assert found([[1]] * 9) is None
    assert found([]) is None


def test_copies_of_whole_rows_are_not_compared() -> None:
    others = [[number] for number in range(10)]
    assert found([*others, *[[5]] * 90], [*range(10), *[5] * 90]) is None


@pytest.mark.parametrize("count", [MOST_SAMPLES - 1, 2 * MOST_SAMPLES + 3])
def test_of_many_some_that_are_evenly_spread_are_compared(count: int) -> None:
    told = found([[1]] * count)
    assert told is not None
    assert told.looked == len(told.places) == min(count, MOST_SAMPLES)
    assert (told.places[0], told.places[-1]) == (0, count - 1)
