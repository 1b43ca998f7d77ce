from __future__ import annotations

import numpy as np

from engine.worker.samples import Samples, held_back, row_hash


def hashes(count: int, seed: int) -> list[bytes]:
    return [row_hash(f"row {i}".encode(), seed) for i in range(count)]


def _three() -> Samples:
    return Samples.of([([1, 2, 3], [True, False, True]), ([4], [True]), ([5, 6], [True, True])])


def test_samples_come_back_as_they_went_in() -> None:
    samples = _three()
    assert [ids.tolist() for ids, _ in (samples[i] for i in range(3))] == [[1, 2, 3], [4], [5, 6]]
    assert samples.lengths.tolist() == [3, 1, 2]
    assert samples.take([2, 0])[1][1].tolist() == [True, False, True]


def test_a_first_token_is_no_target() -> None:
    assert _three().target_counts.tolist() == [1, 0, 1]


def test_the_digest_sees_tokens_flags_and_borders() -> None:
    same = _three().digest()
    other_flag = Samples.of([([1, 2, 3], [True, True, True]), ([4], [True]), ([5, 6], [True] * 2)])
    other_border = Samples.of([([1, 2, 3, 4], [True, False, True, True]), ([5, 6], [True, True])])
    assert same == _three().digest()
    assert len({same, other_flag.digest(), other_border.digest()}) == 3


def test_the_same_rows_are_held_back_in_any_order() -> None:
    keys = hashes(100, seed=3)
    held = {keys[i] for i in held_back(keys, 10)}
    assert held == {keys[::-1][i] for i in held_back(keys[::-1], 10)}
    assert set(held_back(keys, 10)) != set(held_back(hashes(100, seed=4), 10))
    assert len(held) == 10


def test_the_choice_of_earlier_versions_holds() -> None:
    """A save knows the digest of what it was trained on: another choice would end its run."""
    keys = [row_hash(f'{{"text":"row {i}"}}'.encode(), 42) for i in range(100)]
    assert held_back(keys, 5).tolist() == [18, 47, 63, 66, 81]


def test_more_rows_change_the_choice_little() -> None:
    keys = hashes(200, seed=0)
    before = set(held_back(keys[:198], 20))
    assert len(before & set(held_back(keys, 20))) >= 17


def test_a_sample_knows_its_row_whatever_is_taken() -> None:
    samples = _three()
    assert samples.take([1]).origins is None
    samples.origins = np.array([4, 7, 9])
    assert samples.take([2, 0]).take([1]).origins.tolist() == [4]
    assert samples.take([]).origins.tolist() == []
    assert samples.digest() == _three().digest()
