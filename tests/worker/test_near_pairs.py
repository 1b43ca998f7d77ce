"""Pairs of rows are compared as their sets of runs say, whatever shortcut is taken."""

from __future__ import annotations

import numpy as np
import pytest

from engine.worker import near_pairs, token_runs
from engine.worker.near_copies import NEAR, RUN
from engine.worker.near_pairs import NearPairs
from engine.worker.samples import Samples
from engine.worker.token_runs import Flags, Ints, TokenRuns
from tests.worker.near_rows import Row, counted, drawn, edited, resemblance


@pytest.fixture(params=[False, True], ids=["near", "far"])
def is_far(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the samples lie in too many places of the files to have all of them in memory."""
    if request.param:
        monkeypatch.setattr(token_runs, "_REGION_BITS", 9)
        monkeypatch.setattr(near_pairs, "_REGIONS", 1)
        monkeypatch.setattr(near_pairs, "_TOKENS", 700)
    return bool(request.param)


@pytest.mark.usefixtures("is_far")
def test_pairs_are_compared_as_their_sets_of_runs_say() -> None:
    chance = np.random.default_rng(10)
    asked = drawn(chance, 12)
    rows: list[Row] = []
    for place in range(250):
        row = drawn(chance, int(chance.integers(20, 90)))
        row = np.tile(row, 2) if place % 5 == 0 else row  # Its runs stand there twice.
        rows += [
            np.concatenate([asked, row]),
            np.concatenate([asked, edited(chance, row, place % 6)]),
        ]
    flags = [np.arange(len(row)) >= (12 if place % 7 else 40) for place, row in enumerate(rows)]
    runs = TokenRuns(Samples.of(zip(rows, flags, strict=True)))
    common = {tuple(asked[at : at + RUN].tolist()) for at in range(10)}
    sets = [counted(row, learnt, common) for row, learnt in zip(rows, flags, strict=True)]
    first, later = np.arange(0, 500, 2), np.arange(1, 500, 2)
    truth = [len(a & b) >= NEAR * len(a | b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
    pairs = NearPairs(runs)
    order = chance.permutation(250)
    assert pairs.near(first[order], later[order]).tolist() == np.array(truth)[order].tolist()
    assert 50 < sum(truth) < 200
    for compare in (pairs._but_for_an_end, pairs._beside):
        sure = compare(first, later)
        assert not (sure & ~np.array(truth)).any(), compare.__name__
    assert sure.sum() > 0.6 * sum(truth), "for those whose edits lie together no run is sorted"
    assert pairs.near(first[:0], later[:0]).tolist() == []


def test_those_far_from_each_other_are_compared_by_where_they_lie(
    is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(17)
    runs = TokenRuns(Samples.of((drawn(chance, 60), np.ones(60, np.bool_)) for _ in range(400)))
    given_back: list[bool] = []
    monkeypatch.setattr(runs, "give_back", lambda: given_back.append(True))
    seen: list[Ints] = []

    def compare(first: Ints, later: Ints) -> Flags:
        seen.append(first)
        return first * 3 == later  # Says which, whatever the order.

    first, later = chance.integers(0, 130, 300), chance.integers(0, 400, 300)
    later[::2] = first[::2] * 3
    assert (NearPairs(runs)._compared(compare, first, later) == (first * 3 == later)).all()
    met = np.concatenate(seen)
    assert met.tolist() == (sorted(first) if is_far else first.tolist())
    assert all(len(set(runs.regions()[part])) == 1 for part in seen)
    assert len(given_back) == len(seen)
    assert len(seen) > 30 if is_far else len(seen) == 1


def test_what_is_learnt_of_one_row_alone_is_not_in_both() -> None:
    chance = np.random.default_rng(14)
    asked, count = drawn(chance, 40), 60
    rows: list[Row] = []
    for _ in range(count):
        rows += [np.concatenate([asked, drawn(chance, 30)])] * 2
    # What all ask counts where it is learnt: in the first of each two, and not in the other.
    flags = [np.arange(70) >= (0, 42)[place % 2] for place in range(2 * count)]
    common = {tuple(asked[at : at + RUN].tolist()) for at in range(38)}
    one, other = (counted(rows[place], flags[place], common) for place in (0, 1))
    assert len(one & other) < 0.5 * len(one | other)
    pairs = NearPairs(TokenRuns(Samples.of(zip(rows, flags, strict=True))))
    first, later = np.arange(0, 2 * count, 2), np.arange(1, 2 * count, 2)
    for compare in (pairs._but_for_an_end, pairs._beside, pairs.near):
        for ones, others in ((first, later), (later, first)):
            assert not compare(ones, others).any(), compare.__name__
    for compare in (pairs._but_for_an_end, pairs._beside, pairs.near):
        assert compare(first[:-1], first[:-1]).all(), compare.__name__


def test_no_runs_are_taken_for_each_other_each_time() -> None:
    chance = np.random.default_rng(12)
    rows: list[Row] = []
    for at in range(200):
        row, other = drawn(chance, 42), np.array([485, -1023, 324], np.int32)
        row[10:13] = 3000 + at  # A sum of tokens with factors is the same for both of these.
        rows += [row, np.concatenate([row[:10], row[10:13] + other, row[13:]])]
    assert resemblance(rows[0], rows[1]) < NEAR
    pairs = NearPairs(TokenRuns(Samples.of((row, np.ones(42, np.bool_)) for row in rows)))
    assert not pairs.near(np.arange(0, 400, 2), np.arange(1, 400, 2)).any()


def test_runs_have_the_same_numbers_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    row = drawn(np.random.default_rng(18), 100)
    whole = token_runs._hashes(row)
    assert len(set(whole[:98].tolist())) == 98
    assert (token_runs._hashes(row[5:])[:-2] == whole[5:-2]).all()
    monkeypatch.setattr(token_runs, "CHUNK", 7)
    assert (token_runs._hashes(row) == whole).all()
    assert [len(token_runs._hashes(row[:count])) for count in range(4)] == [0, 1, 2, 3]
