"""What finished runs teach of a card."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from engine.planning import learnt
from engine.planning.learnt import Expected, Lesson, TimeLesson

MIB = 1 << 20


def expected(peak: int = 8000 * MIB, driver: str = "580.65") -> Expected:
    return Expected(
        card="RTX 3090", driver=driver, torch="2.13.0", peak_bytes=peak, context_bytes=300 * MIB
    )


def read(home: Path) -> Lesson:
    key = learnt.key("RTX 3090", "580.65", "2.13.0")
    return learnt.read(home).get(key, learnt.Lesson())


def test_nothing_is_known_at_first(tmp_path: Path) -> None:
    assert read(tmp_path) == Lesson()
    assert Lesson().error_share == 0.05


def test_the_offset_is_the_median_and_errors_shrink(tmp_path: Path) -> None:
    shares = []
    for more in (200, 210, 900, 205, 195):
        learnt.record(tmp_path, expected(), (8000 + more) * MIB)
        shares.append(read(tmp_path).error_share)
    lesson = read(tmp_path)
    assert lesson.offset_bytes == 205 * MIB
    assert lesson.runs == 5
    assert shares[1] < shares[0] < 0.05
    # One run that was far off widens the bars again.
    assert 0.07 < lesson.error_share < 0.09


def test_another_driver_starts_anew(tmp_path: Path) -> None:
    learnt.record(tmp_path, expected(driver="591.44"), 9000 * MIB)
    assert read(tmp_path) == Lesson()


def test_only_the_newest_runs_count(tmp_path: Path) -> None:
    learnt.record(tmp_path, expected(), 20_000 * MIB)
    for _ in range(learnt.KEPT):
        learnt.record(tmp_path, expected(), 8100 * MIB)
    assert read(tmp_path) == Lesson(offset_bytes=100 * MIB, error_share=0.01, runs=learnt.KEPT)


def test_the_time_is_the_median_and_its_span_shrinks_with_agreement(tmp_path: Path) -> None:
    spans = []
    for ratio in (2.0, 2.1, 1.9, 2.0, 2.02):
        known = learnt.record(tmp_path, expected(), ratio=ratio).time
        spans.append(known.most - known.least)
    assert (known.ratio, known.runs) == (2.0, 5)
    assert spans[0] == pytest.approx(0.3), "one run says nothing of how runs scatter"
    assert spans == sorted(spans, reverse=True)
    assert spans[-1] == pytest.approx(0.1)
    far = learnt.record(tmp_path, expected(), ratio=4.0).time
    assert far.most == pytest.approx(4.0 / far.ratio), "a run that was far off widens it"
    assert read(tmp_path).runs == 0, "nothing was said of memory"
    assert read(tmp_path).time == far


def test_one_odd_run_of_many_does_not_widen_the_span(tmp_path: Path) -> None:
    for ratio in [1.0] * 10 + [9.0]:
        known = learnt.record(tmp_path, expected(), 8100 * MIB, ratio).time
    assert (known.ratio, known.least, known.most) == (1.0, 0.95, 1.05)
    assert read(tmp_path).offset_bytes == 100 * MIB


def test_a_file_without_times_is_read_and_kept(tmp_path: Path) -> None:
    key = learnt.key("RTX 3090", "580.65", "2.13.0")
    old = {"format": 1, "cards": {key: [{"planned": 8000 * MIB, "measured": 8100 * MIB}]}}
    (tmp_path / learnt.FILE).write_text(json.dumps(old), "utf-8")
    assert (read(tmp_path).offset_bytes, read(tmp_path).time) == (100 * MIB, TimeLesson())
    found = learnt.record(tmp_path, expected(), ratio=1.5)
    assert (found.offset_bytes, found.time.ratio) == (100 * MIB, 1.5)


def test_what_was_foretold_by_an_older_version_is_of_a_step_as_it_comes() -> None:
    old = msgspec.structs.replace(expected(), step_seconds=2.0, parts={"compute": 2.0})
    assert old.seconds_at(17) == 2.0


def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / learnt.FILE).write_text("{", "utf-8")
    assert read(tmp_path) == Lesson()
    learnt.record(tmp_path, expected(), 8100 * MIB)
    assert read(tmp_path).offset_bytes == 100 * MIB
