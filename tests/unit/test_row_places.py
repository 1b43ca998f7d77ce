"""Rows are called by the file that they are in, and found by what they are called."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.contract.dataset_report import DatasetReport, RowFinding
from engine.contract.row_places import (
    FileRows,
    at_head,
    file_called,
    name_of,
    names_of,
    row_at,
    rows_in,
    told_apart,
)

ONE = [FileRows(name="a.jsonl", first=0)]
SKIPPED = [FileRows(name="a.jsonl", first=0, number=6)]
TWO = [FileRows(name="a.jsonl", first=0), FileRows(name="b.jsonl", first=20, number=3)]
REPORT = DatasetReport(
    data="d", method="sft", format="alpaca", rows=30, samples=30, train=30, held_back=0,
    max_length=64, tokens=1, trained_tokens=1, longest=1, shortest=1, median=1,
)  # fmt: skip


def test_of_one_file_the_number_is_name_enough() -> None:
    assert name_of(ONE, 11) == name_of([], 11) == "row 12"
    assert name_of(SKIPPED, 0) == "row 6"
    assert names_of(ONE, [2, 6]) == "rows 3, 7"
    assert at_head("row 3") == "Row 3"


def test_of_several_the_file_is_told_and_the_line_where_it_is_known() -> None:
    assert name_of(TWO, 19) == "a.jsonl row 20"
    assert name_of(TWO, 20, {20: 9}) == "b.jsonl row 3 (line 9)"
    assert (
        names_of(TWO, [1, 2, 21], {1: 4, 2: 6}) == "a.jsonl rows 2, 3 (lines 4, 6); b.jsonl row 4"
    )
    assert names_of(TWO, [1, 2], {1: 4}) == "a.jsonl rows 2, 3"
    assert at_head("rows.jsonl row 3") == "rows.jsonl row 3"


def test_what_is_called_so_is_found() -> None:
    for files in (ONE, SKIPPED, TWO):
        for row in range(30):
            named = name_of(files, row)
            file, _, number = named.rpartition("row ")
            assert row_at(files, int(number), file.strip(), 30) == row
    assert row_at(TWO, 25, "", 30) == 24  # Counted through all of them.
    assert row_at(TWO, 21, "a.jsonl", 30) is row_at(TWO, 2, "b.jsonl", 30) is None
    assert row_at(SKIPPED, 5, "", 30) is row_at(ONE, 31, "", 30) is row_at([], 0, "", 3) is None
    assert row_at([], 12, "b.jsonl", 10_000) is None  # Whose row 12 that is is not known.
    assert rows_in(TWO, "b.jsonl", 30) == (3, 12)
    assert rows_in(TWO, "/d/b.jsonl", 30) == (3, 12)
    assert rows_in([], "b.jsonl", 30) is None
    assert rows_in(TWO, "c.jsonl", 30) is None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("x/a.jsonl", "x/a.jsonl"),
        ("x\\a.jsonl", "x/a.jsonl"),
        ("C:\\d\\x\\a.jsonl", "x/a.jsonl"),
        ("./b.jsonl", "b.jsonl"),
        ("/d/b.jsonl", "b.jsonl"),
        ("a.jsonl", None),  # There are two.
        ("z/a.jsonl", None),
        ("c.jsonl", "z/c.jsonl"),
        ("ob.jsonl", None),
        ("./", None),
    ],
)
def test_a_file_is_meant_by_any_path_that_tells_it(written: str, name: str | None) -> None:
    names = ("x/a.jsonl", "y/a.jsonl", "b.jsonl", "z/c.jsonl")
    files = [FileRows(name=each, first=at) for at, each in enumerate(names)]
    assert file_called(files, written) == name


def test_the_longest_name_that_a_path_ends_in_is_meant() -> None:
    files = [FileRows(name="a.jsonl", first=0), FileRows(name="x/a.jsonl", first=5)]
    assert file_called(files, "/d/x/a.jsonl") == "x/a.jsonl"
    assert file_called(files, "a.jsonl") == "a.jsonl"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/a.jsonl", "/d/b.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["/d/x/a.jsonl", "/d/y/a.jsonl", "/d/b.jsonl"], ["x/a.jsonl", "y/a.jsonl", "b.jsonl"]),
        (["/1/x/a", "/2/x/a"], ["1/x/a", "2/x/a"]),
        (["C:\\d\\a.csv", "C:\\e\\a.csv"], ["d/a.csv", "e/a.csv"]),
        (["/d/a", "/d/a"], ["a", "a"]),
        ([], []),
    ],
)
def test_files_have_the_shortest_names_that_differ(paths: list[str], names: list[str]) -> None:
    assert told_apart(paths) == names


def test_which_fix_leaves_a_row_out() -> None:
    def done(name: str, count: int, rows: list[int]) -> RowFinding:
        return RowFinding(
            code=f"fixed_{name}", severity="info", title="t", row_count=count, rows=rows,
            is_done=True,
        )  # fmt: skip

    found = [done("drop_empty", 2, [3, 5]), done("drop_overlong", 3, [7]), done("reencode", 1, [5])]
    report = replace(REPORT, left_out_rows=[3, 5, 7, 8, 9], findings=found)
    assert report.fixes_without(4) == []
    assert report.fixes_without(5) == ["drop_empty"]
    assert report.fixes_without(9) == ["drop_overlong"]
