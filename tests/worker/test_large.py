"""What is found in parts, in files and with little in memory is what numpy finds in one piece."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.methods.pretrain.train import blocks
from engine.worker import heaviest, large, packing, schedule
from engine.worker.batches import Rows, row_lengths
from engine.worker.near_copies import near_copies
from engine.worker.packing import packed, unpacked
from engine.worker.samples import Samples
from engine.worker.witness import _digest_of_order

Small = Callable[[], None]
CHANCE = np.random.default_rng(4)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, fettle_home: Path) -> Small:
    """From now on nothing is looked at in one piece, and all of it lies in files."""

    def begin() -> None:
        for name, number in (("CHUNK", 13), ("IN_MEMORY", 0), ("_BLOCK", 64)):
            monkeypatch.setattr(large, name, number)
        monkeypatch.setattr(schedule, "_GROUP", 20)

    return begin


def test_numbers_in_files_are_numbers(small: Small, fettle_home: Path) -> None:
    small()
    numbers = CHANCE.integers(0, 40, 100)
    held = large.taken(numbers, np.arange(100))
    large.give_back(held)
    assert held.tolist() == numbers.tolist()
    assert list(fettle_home.glob("encoded/*")) == [], "what lies there has no name"
    places = CHANCE.integers(0, 100, 50)
    assert large.at(held, places).tolist() == numbers[places].tolist()
    assert large.in_order(held).tolist() == np.argsort(numbers, kind="stable").tolist()
    assert large.total(held) == numbers.sum()
    assert large.places_of(large.over(held, 20)).tolist() == np.flatnonzero(numbers > 20).tolist()
    assert large.are_in(held, [7, 3]).tolist() == np.isin(numbers, [3, 7]).tolist()
    known = [part.tolist() for part in np.unique(numbers, return_counts=True)]
    assert [part.tolist() for part in large.counts_of(held)] == known
    longest = np.argsort(-numbers, kind="stable")
    assert large.first_by(9, lambda p: -held[p], held).tolist() == longest[:9].tolist()
    shortest = large.first_by(9, lambda p: held[p], held, last=True)
    assert shortest.tolist() == longest[::-1][:9].tolist()


def test_places_among_numbers_that_rise(small: Small) -> None:
    small()
    rising = np.delete(np.arange(90), [0, 1, 5, 40, 41, 42, 88])
    asked = CHANCE.permutation(rising)[:60]
    assert large.found_in(rising, asked).tolist() == np.searchsorted(rising, asked).tolist()
    assert large.found_in(rising, asked[:0]).tolist() == []


def test_a_full_disk_leaves_memory(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> None:
        raise OSError(28, "No space left on device")

    small()
    monkeypatch.setattr(large, "_scratch", full)
    assert large.counting(30).tolist() == list(range(30))


def _drawn() -> Samples:
    parts = [
        (CHANCE.integers(0, 9, length).astype(np.int32), CHANCE.integers(0, 2, length) > 0)
        for length in [*CHANCE.integers(1, 12, 60).tolist(), 0, 3]
    ]
    found = Samples.of(parts)
    found.origins = np.arange(len(parts))
    return found


def _plain_counts(samples: Samples) -> list[int]:
    return [int(samples[place][1][1:].sum()) for place in range(len(samples))]


@pytest.mark.parametrize("knows", [False, True])
def test_samples_of_samples_count_their_targets(small: Small, knows: bool) -> None:
    whole = _drawn()
    digest = whole.cut(5).take(np.arange(3, 40)).digest()
    small()
    cut = whole.cut(5)
    if knows:
        assert whole.target_counts.tolist() == _plain_counts(whole)
    others, held = cut.parted([50, 3, 7])
    few, apart = others.take([9, 2]), others.take([0, 30, 31, 55])
    for some in (few, apart, others, held, cut, whole, others.take([5, 5, 1] * 20)):
        assert some.target_counts.tolist() == _plain_counts(some)
        assert some.lengths.tolist() == [len(some[place][0]) for place in range(len(some))]
    assert held.origins is not None
    assert held.origins.tolist() == [50, 3, 7]
    assert cut.take(np.arange(3, 40)).digest() == digest
    has = whole.with_tokens(lambda ids: ids == 4)
    assert has.tolist() == [bool((whole[n][0] == 4).any()) for n in range(len(whole))]


def test_blocks_of_documents_are_their_tokens(small: Small) -> None:
    documents, _ = _drawn().parted([3, 4, 20])
    tokens = np.concatenate([documents[place][0] for place in range(len(documents))])
    small()
    found = blocks(documents, 16)
    assert [len(found[place][0]) for place in range(len(found) - 1)] == [16] * (len(found) - 1)
    assert np.concatenate([found[n][0] for n in range(len(found))]).tolist() == tokens.tolist()


def test_the_order_of_a_run_does_not_depend_on_how_it_is_found(small: Small) -> None:
    one = schedule.permutation.__wrapped__
    whole, digest = one(300, 5, 2), _digest_of_order.__wrapped__(300, 5, 2)
    small()
    assert one(300, 5, 2).tolist() == whole.tolist()
    bits = np.random.Philox(key=np.array([5, 2], np.uint64)).random_raw(300)
    assert whole.tolist() == np.argsort(bits, kind="stable").tolist()
    assert _digest_of_order.__wrapped__(300, 5, 2) == digest


def _one_by_one(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Best fit decreasing as it is told: each sample where it leaves the least room."""
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        place = bisect.bisect_left(room, (lengths[index], 0))
        if place == len(room):
            rows.append([index])
            left, row = max_length - lengths[index], len(rows) - 1
        else:
            free, row = room.pop(place)
            rows[row].append(index)
            left = free - lengths[index]
        if left > 0:
            bisect.insort(room, (left, row))
    return rows


@pytest.mark.parametrize("longest", [9, 30, 64, 90])
def test_packing_many_at_once_is_packing_one_by_one(
    small: Small, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    lengths = CHANCE.integers(0 if longest == 30 else 1, longest + 1, 400).tolist()
    whole = packed(lengths, 64)
    monkeypatch.setattr(packing, "_tightened", lambda rows, lengths, max_length: rows)
    assert packed(lengths, 64) == [tuple(row) for row in _one_by_one(lengths, 64)]
    monkeypatch.undo()
    small()
    anew = packed(lengths, 64)
    assert anew == whole
    assert anew[2:5] == list(whole)[2:5]
    samples = Samples.of((range(length), [True] * length) for length in lengths)
    sums = [sum(lengths[sample] for sample in row) for row in anew]
    assert row_lengths(Rows(samples=samples, rows=anew, packed=True)).tolist() == sums
    plain = Rows(samples=samples, rows=unpacked(400))
    assert row_lengths(plain).tolist() == lengths
    assert plain.rows[-1] == (399,)
    assert plain.rows[1:3] == [(1,), (2,)]


def test_near_copies_are_the_same_in_small_parts(small: Small) -> None:
    rows = [CHANCE.integers(0, 3000, 60).astype(np.int32) for _ in range(40)]
    rows += [np.append(row, np.int32(5)) for row in rows[::3]] + [rows[4][:-1], rows[4][1:]]
    samples = Samples.of((row, np.ones(len(row), np.bool_)) for row in rows)
    whole = near_copies(samples, np.arange(len(rows))).tolist()
    assert sum(place != first for place, first in enumerate(whole)) > 10
    small()
    assert near_copies(samples, np.arange(len(rows))).tolist() == whole


def test_the_last_of_equally_long_batches_is_the_longest() -> None:
    lengths = np.array([3, 9, 9, 2, 9, 1, 4])
    assert heaviest.heaviest_batches(lengths, np.ones(7, int), 2) == [4, 5]
    assert heaviest.heaviest_batches(lengths[:0], lengths[:0], 2) == []
