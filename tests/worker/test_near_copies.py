"""Near copies are found in tokens: those that are, none that are not, in little time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from engine.worker import near_copies as looking
from engine.worker import near_pairs, token_runs
from engine.worker.near_copies import NEAR, RUN, near_copies
from engine.worker.near_pairs import NearPairs
from engine.worker.report import Halted
from engine.worker.run_signatures import signed
from engine.worker.samples import Samples
from engine.worker.token_runs import Flags, Ints, TokenRuns
from tests.worker.near_rows import Row, changed, drawn, resemblance


def found_in(rows: list[Row], asked: int = 0) -> list[int]:
    """Of each row the one that it is near to; the first ``asked`` tokens are not learnt."""
    samples = Samples.of((row, np.arange(len(row)) >= asked) for row in rows)
    return near_copies(samples, np.arange(len(rows))).tolist()


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


def test_of_rows_that_are_just_near_one_in_a_hundred_is_missed() -> None:
    chance = np.random.default_rng(15)
    rows = [drawn(chance, 200) for _ in range(6000)]
    for row in rows[:]:
        other = row.copy()
        other[10:199:28] = drawn(chance, 7)
        rows.append(other)
    assert resemblance(rows[0], rows[6000]) == pytest.approx(177 / 219)
    found = np.array(found_in(rows))[6000:]
    assert (found == np.arange(6000)).mean() > 0.991


def test_a_row_is_compared_with_few_of_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(16)
    first, compared = drawn(chance, 300), np.zeros(400, np.int64)
    rows = [changed(chance, first, 13) for _ in compared]
    near = NearPairs.near

    def watched(self: NearPairs, ones: Ints, others: Ints) -> Flags:
        np.add.at(compared, others, 1)
        return near(self, ones, others)

    monkeypatch.setattr(NearPairs, "near", watched)
    assert found_in(rows) == list(range(400))
    assert compared.max() == 4
    assert compared.mean() > 3


def test_short_rows_are_found_as_well_as_long_ones() -> None:
    chance = np.random.default_rng(6)
    for length in (18, 30, 60, 400):
        rows = [drawn(chance, length + place % 5) for place in range(300)]
        more = max(1, length // 25)
        rows += [np.concatenate([row, drawn(chance, more)]) for row in rows]
        found = np.array(found_in(rows))[300:]
        assert (found == np.arange(300)).mean() > 0.95, length


def test_of_long_rows_the_beginning_is_compared() -> None:
    chance = np.random.default_rng(7)
    first, other = drawn(chance, 1500), drawn(chance, 1500)
    ends = [np.concatenate([row[:1024], drawn(chance, 800)]) for row in (first, other)]
    assert found_in([first, drawn(chance, 90), other, *ends]) == [0, 1, 2, 0, 2]
    # And all of it: with only so much the same four of five runs are not.
    parted = np.concatenate([first[:900], drawn(chance, 600)])
    assert resemblance(first[:1024], parted[:1024]) < NEAR < resemblance(first[:950], parted[:950])
    assert found_in([first, parted]) == [0, 1]


@pytest.mark.parametrize("is_far", [False, True])
def test_whatever_an_answer_names_is_near_to_none_itself(
    is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_far:  # Few are looked at together, and they lie in many places.
        monkeypatch.setattr(looking, "_LATER", 7)
        monkeypatch.setattr(token_runs, "_REGION_BITS", 9)
        monkeypatch.setattr(near_pairs, "_REGIONS", 1)
        monkeypatch.setattr(near_pairs, "_TOKENS", 700)
    chance = np.random.default_rng(8)
    rows = [drawn(chance, 100)]
    for place in range(400):  # Each is near to the one before, and after some no more to the first.
        rows.append(np.concatenate([rows[-1][1:], drawn(chance, 1)]) if place % 40 else rows[0][:])
        rows[-1][place % 97] = 7
    found = found_in(rows)
    assert sum(place != first for place, first in enumerate(found)) > 200
    for place, first in enumerate(found):
        assert first <= place
        assert found[first] == first
        assert first == place or resemblance(rows[first], rows[place]) >= NEAR


def test_it_is_told_how_far_it_is_and_can_be_ended() -> None:
    chance = np.random.default_rng(9)
    rows = [drawn(chance, 200) for _ in range(2000)]
    samples = Samples.of((row, np.ones(len(row), np.bool_)) for row in [*rows, *rows[:300]])
    told: list[tuple[int, int]] = []
    near_copies(samples, np.arange(2300), lambda done, total: told.append((done, total)))
    assert len(told) > 5
    assert told == sorted(told)
    assert told[-1] == (2300, 2300)

    def ended(done: int, total: int) -> None:
        raise Halted

    with pytest.raises(Halted):
        near_copies(samples, np.arange(2300), ended)


def test_it_is_told_also_while_the_same_rows_are_compared() -> None:
    chance = np.random.default_rng(13)
    first = drawn(chance, 1024)
    # So much is the same that each is compared with several before it, and none is near.
    rows = [changed(chance, first, 45) for _ in range(700)]
    samples = Samples.of((row, np.ones(1024, np.bool_)) for row in rows)
    for count, least in ((1, 0), (2, 12), (700, 60)):
        told: list[int] = []
        found = near_copies(samples, np.arange(count), lambda done, _, told=told: told.append(done))
        assert (found == np.arange(count)).all()
        # For each band, and for each 128 pairs that are laid beside each other, and then sorted.
        assert told.count(count // 2) >= least
        assert told == sorted(told)


@pytest.mark.parametrize("length", [14, 40, 300])
def test_signatures_agree_as_often_as_runs_are_in_both(length: int) -> None:
    chance = np.random.default_rng(11)
    rows = [drawn(chance, length) for _ in range(400)]
    more = length // 4
    rows += [np.concatenate([row[:-more], drawn(chance, more)]) for row in rows]
    runs = TokenRuns(Samples.of((row, np.ones(len(row), np.bool_)) for row in rows))
    signatures, counts = signed(runs, lambda done: None)
    assert counts.tolist() == [length - RUN + 1] * 800
    agree = (signatures[:400] == signatures[400:]).mean(axis=1)
    wanted = resemblance(rows[0], rows[400])
    assert abs(agree.mean() - wanted) < 0.02
    # As of 32 independent draws.
    assert agree.std() < 1.3 * np.sqrt(wanted * (1 - wanted) / 32)


def test_ten_thousand_rows_take_about_a_tenth_of_a_second() -> None:
    chance = np.random.default_rng(5)
    rows = [drawn(chance, 150) for _ in range(10_000)]
    for place in range(9_000, 10_000):
        rows[place] = changed(chance, rows[place - 9_000], 1)
    samples = Samples.of((row, np.ones(len(row), np.bool_)) for row in rows)
    began = time.process_time()
    found = near_copies(samples, np.arange(len(rows)))
    assert time.process_time() - began < 0.5  # For machines that do other things too.
    assert (found[9_000:] < 1_000).mean() > 0.97
