from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from engine.worker.schedule import Schedule, permutation


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_a_permutation_holds_each_row_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(count, seed, epoch)) == list(range(count))


def test_the_permutation_is_fixed_for_all_time() -> None:
    # A resume after an update of numpy must go on in the same order.
    assert permutation(8, 42, 0).tolist() == [7, 1, 6, 4, 3, 5, 0, 2]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 30))
def test_going_on_from_a_cursor_is_the_same_as_never_having_stopped(
    rows: int, batch: int, done: int
) -> None:
    schedule = Schedule(row_count=rows, batch=batch, seed=7)
    calm = list(islice(schedule.turns(), done + 10))
    cursor = calm[done - 1].cursor if done else 0
    assert list(islice(schedule.turns(cursor), 10)) == calm[done:]


def test_an_epoch_ends_with_a_partial_step_and_sees_each_row_once() -> None:
    schedule = Schedule(row_count=10, batch=4, seed=0, num_train_epochs=2)
    turns = list(islice(schedule.turns(), schedule.total_steps))
    assert schedule.total_steps == 6
    assert [len(turn.rows) for turn in turns] == [4, 4, 2, 4, 4, 2]
    assert sorted(row for turn in turns[:3] for row in turn.rows) == list(range(10))
    assert turns[2].epoch == 1.0


def test_the_same_effective_batch_takes_the_same_rows_however_it_is_split() -> None:
    # The schedule knows only the product; what is resumed with another micro-batch goes on.
    assert Schedule(row_count=9, batch=4, seed=0).total_steps == 3


def test_max_steps_wins_over_epochs() -> None:
    assert Schedule(row_count=9, batch=4, seed=0, max_steps=50).total_steps == 50
    assert Schedule(row_count=9, batch=4, seed=0, num_train_epochs=0.4).total_steps == 2
