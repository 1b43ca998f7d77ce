from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.worker.packing import packed, unpacked


@given(st.lists(st.integers(1, 100), max_size=80))
def test_every_sample_lies_in_one_row_and_no_row_is_too_long(lengths: list[int]) -> None:
    rows = packed(lengths, 64)
    assert sorted(sample for row in rows for sample in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[s] for s in row) <= 64 for row in rows)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=80))
def test_no_two_rows_could_be_one(lengths: list[int]) -> None:
    sizes = sorted(sum(lengths[sample] for sample in row) for row in packed(lengths, 64))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > 64


def test_the_best_fit_is_taken() -> None:
    assert packed([7, 5, 5, 3], 10) == [(0, 3), (1, 2)]


def test_rows_that_the_best_fit_leaves_half_empty_are_filled_anew() -> None:
    # Best fit: 11 + 7, 7 + 5 + 5, 4.
    assert packed([7, 4, 5, 5, 7, 11], 20) == [(5, 2, 1), (0, 4, 3)]


def test_unpacked_is_a_row_for_each() -> None:
    assert unpacked(3) == [(0,), (1,), (2,)]
