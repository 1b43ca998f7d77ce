"""A dataset is checked in the time there is, however long its rows take to be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.contract.dataset_spec import DatasetSpec
from engine.formats import check, entries
from engine.formats.check import TIME_SECONDS, check_data
from engine.formats.example import Row
from engine.formats.files import read_rows
from engine.formats.source import Source

Pace = Callable[[int], float]


class Clock:
    """Goes on only while rows are read."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pace], Clock]:
    """Makes the row with each number take so many seconds."""
    clock = Clock()

    def set_to(seconds: Pace) -> Clock:
        def read(source: Source) -> Iterator[Row]:
            for row in read_rows(source):
                clock.now += seconds(row.number)
                yield row

        monkeypatch.setattr(entries, "read_rows", read)
        for module in (check, entries):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
        return clock

    return set_to


def write(path: Path, rows: int) -> Path:
    row = json.dumps({"frage": "a", "antwort": "b"})
    path.write_text("\n".join([row] * rows))
    return path


def spec(path: Path) -> DatasetSpec:
    return DatasetSpec(path=str(path), columns={"instruction": "frage", "output": "antwort"})


@pytest.mark.parametrize(
    "seconds",
    [
        lambda number: 0.2,
        lambda number: 0.005,
        lambda number: 0.001 if number <= 60 else 0.2,
        lambda number: 0.2 if number in (1, 50) else 0.0,
    ],
    ids=["all", "a little", "later ones", "two of the first"],
)
def test_rows_that_take_long_do_not_hold_up_the_answer(
    seconds: Pace, tmp_path: Path, clock: Callable[[Pace], Clock]
) -> None:
    told = clock(seconds)
    before = told.now
    assert check_data(spec(write(tmp_path / "a.jsonl", 400)), "sft") == []
    assert told.now - before <= TIME_SECONDS + 0.5


def test_files_that_take_long_are_compared_as_far_as_there_is_time(
    tmp_path: Path, clock: Callable[[Pace], Clock]
) -> None:
    for number in range(30):
        write(tmp_path / f"{number}.jsonl", 50)
    told = clock(lambda number: 0.004)
    before = told.now
    assert check_data(spec(tmp_path), "sft") == []
    assert told.now - before <= TIME_SECONDS + 0.5


def test_a_file_that_breaks_off_is_told_though_there_is_no_time_to_come_to_it_again(
    tmp_path: Path, clock: Callable[[Pace], Clock]
) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"frage": "a", "antwort": "b"},\n{"frage": oops}]')
    read: list[int] = []

    def seconds(number: int) -> float:
        read.append(number)
        return 0.0 if len(read) == 1 else 5.0

    clock(seconds)
    (complaint,) = check_data(spec(path), "sft")
    assert "line 2 is not valid JSON" in complaint.problem
