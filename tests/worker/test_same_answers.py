"""Answers that are the same in nearly all rows are noticed, and others are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.worker import suspects
from engine.worker.encoded_parts import Encoding
from engine.worker.same_answers import MOST_SAMPLES, SameAnswers, same_answers
from engine.worker.samples import Samples


def found(
    answers: list[list[int]], first: list[int] | None = None, **suspected: list[int]
) -> SameAnswers | None:
    """Each behind a question of its own."""
    samples = Samples.of(
        ([number, 7, *answer], [False, False, *[True] * len(answer)])
        for number, answer in enumerate(answers)
    )
    samples.origins = np.arange(len(answers))
    encoding: Any = SimpleNamespace(samples=samples, meta=SimpleNamespace(suspects=suspected))
    return same_answers(cast(Encoding, encoding), np.array(first or range(len(answers)), np.int64))


def test_nearly_all_are_told_and_fewer_are_not() -> None:
    one, other = [1, 2], [1, 3]
    told = found([other, *[one] * 99])
    assert told == SameAnswers(list(range(1, 100)), 100, 100)
    assert told.words == "99 of 100 rows have the same answer."
    assert found([other, other, *[one] * 98]) is None
    assert found([[number] for number in range(20)]) is None


def test_of_few_rows_and_of_none_nothing_is_said() -> None:
    assert found([[1]] * 9) is None
    assert found([]) is None


def test_what_teaches_nothing_is_no_answer() -> None:
    assert found([[]] * 95) is None
    told = found([*[[]] * 10, *[[1]] * 10])
    assert told is not None
    assert told.words == "10 of 10 rows that were compared have the same answer."


def test_copies_of_whole_rows_are_not_compared() -> None:
    others = [[number] for number in range(10)]
    assert found([*others, *[[5]] * 990], [*range(10), *[5] * 990]) is None


def test_placeholders_are_told_already() -> None:
    rows = list(range(20))
    assert found([[1]] * 20, **{suspects.PLACEHOLDERS: rows}) is None
    assert found([[1]] * 20, **{suspects.PLACEHOLDERS: rows[1:]}) is not None


@pytest.mark.parametrize("period", [2, 3, 5, 8])
@pytest.mark.parametrize("more", [1, 2])
def test_answers_that_take_turns_are_not_taken_for_one(period: int, more: int) -> None:
    """However many there are: chosen at even distances, all might be of one kind."""
    count = (MOST_SAMPLES - 1) * period + more
    assert found([[place % period] for place in range(count)]) is None
    told = found([[1]] * count)
    assert told is not None
    assert (told.looked, told.whole) == (MOST_SAMPLES, count)
