"""What finished runs teach of a card."""

from __future__ import annotations

from pathlib import Path

from engine.planning import learnt
from engine.planning.learnt import Expected, Lesson

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


def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / learnt.FILE).write_text("{", "utf-8")
    assert read(tmp_path) == Lesson()
    learnt.record(tmp_path, expected(), 8100 * MIB)
    assert read(tmp_path).offset_bytes == 100 * MIB
