"""Near copies are found in tokens: those that are, none that are not, in little time."""

from __future__ import annotations

import time

import numpy as np

from engine.worker.near_copies import NEAR, RUN, near_copies
from engine.worker.samples import Samples

Row = np.ndarray


def drawn(chance: np.random.Generator, length: int) -> Row:
    return chance.integers(0, 30_000, length).astype(np.int32)


def changed(chance: np.random.Generator, row: Row, count: int) -> Row:
    other = row.copy()
    other[chance.choice(len(row), count, replace=False)] = drawn(chance, count)
    return other


def found_in(rows: list[Row], asked: int = 0) -> list[int]:
    """Of each row the one that it is near to; the first ``asked`` tokens are not learnt."""
    samples = Samples.of((row, np.arange(len(row)) >= asked) for row in rows)
    return near_copies(samples, np.arange(len(rows))).tolist()


def resemblance(one: Row, other: Row) -> float:
    """By plain sets."""
    runs = [{tuple(row[at : at + RUN]) for at in range(len(row) - RUN + 1)} for row in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_copies_point_to_the_first_of_them() -> None:
    chance = np.random.default_rng(1)
    rows = [drawn(chance, 120) for _ in range(40)]
    rows[7] = changed(chance, rows[3], 2)
    rows[21] = changed(chance, rows[3], 1)
    rows[30] = np.concatenate([rows[12], drawn(chance, 6)])
    found = found_in(rows)
    assert {place: first for place, first in enumerate(found) if place != first} == {
        7: 3, 21: 3, 30: 12,
    }  # fmt: skip


def test_what_is_told_is_true_and_little_is_missed() -> None:
    chance = np.random.default_rng(2)
    rows = [drawn(chance, int(chance.integers(60, 200))) for _ in range(150)]
    rows += [changed(chance, rows[place], 1 + place % 20) for place in range(150)]
    found = found_in(rows)
    near = [resemblance(rows[place], rows[place + 150]) >= NEAR for place in range(150)]
    for place, is_near in enumerate(near):
        assert found[place + 150] in ({place, place + 150} if is_near else {place + 150})
    hits = [found[place + 150] == place for place, is_near in enumerate(near) if is_near]
    assert 30 < len(hits) < 120
    assert np.mean(hits) > 0.95


def test_a_question_that_is_always_the_same_makes_no_copies() -> None:
    chance = np.random.default_rng(3)
    always = drawn(chance, 300)
    rows = [np.concatenate([always, drawn(chance, 24)]) for _ in range(200)]
    assert found_in(rows, asked=310) == list(range(200))


def test_most_of_a_dataset_can_be_near_copies_of_one_row() -> None:
    chance = np.random.default_rng(4)
    first = drawn(chance, 150)
    rows = [first, *(changed(chance, first, 1) for _ in range(90)), *[drawn(chance, 150)] * 1]
    assert found_in(rows, asked=60) == [0] * 91 + [91]


def test_short_and_empty_rows_are_near_to_nothing() -> None:
    rows = [
        np.array(ids, np.int32) for ids in ([], [1], [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4])
    ]
    assert found_in(rows) == list(range(6))
    assert found_in([]) == []


def test_ten_thousand_rows_take_about_a_second() -> None:
    chance = np.random.default_rng(5)
    rows = [drawn(chance, 150) for _ in range(10_000)]
    for place in range(9_000, 10_000):
        rows[place] = changed(chance, rows[place - 9_000], 1)
    samples = Samples.of((row, np.ones(len(row), np.bool_)) for row in rows)
    began = time.process_time()
    found = near_copies(samples, np.arange(len(rows)))
    assert time.process_time() - began < 2.5  # A second on a machine that does nothing else.
    assert (found[9_000:] < 1_000).mean() > 0.97
