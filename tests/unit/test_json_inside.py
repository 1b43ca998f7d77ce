"""Rows in a list inside an object are found where only one can be meant, with their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.contract.dataset_spec import DatasetSpec
from engine.formats import check_dataset, preview, read_examples
from engine.formats.files import read_rows
from engine.formats.reading import open_dataset
from engine.formats.source import find

ROWS = [{"instruction": f"q [{n}", "output": f"a {n}"} for n in range(40)]
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def written(folder: Path, whole: Any, indent: int | None = None, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(whole, indent=indent))
    return path


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("whole", "place"),
    [
        ({"version": 1, "data": ROWS}, "data"),
        ({"tags": ["[", "b"], "about": {"by": "[me]"}, "rows": ROWS, "end": [1]}, "rows"),
        ({"data": {"train": ROWS}}, "data.train"),
    ],
)
def test_the_only_list_of_rows_is_read(
    tmp_path: Path, whole: Any, place: str, indent: int | None
) -> None:
    path = written(tmp_path, whole, indent)
    before = path.read_bytes()
    assert [row.value for row in read_rows(find(path))] == ROWS
    shown = preview(path)
    assert (shown["format"], shown["row_count"], shown["complaints"]) == ("alpaca", 40, [])
    assert shown["reason"].startswith(f"The rows are those in `{place}`. Every row")
    assert len(list(read_examples(path, "auto", "sft"))) == 40
    data = open_dataset(DatasetSpec(path=str(path)), "sft")
    assert [row for unit in data.units() for row, *_ in data.examples(unit)] == ROWS
    assert path.read_bytes() == before


def test_a_row_inside_is_named_with_its_line_of_the_file(tmp_path: Path) -> None:
    rows: list[Any] = [*ROWS[:20], {"nothing": "b"}, *ROWS[20:]]
    path = written(tmp_path, {"about": ["x", "y"], "data": rows}, 1)
    lines = path.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if '"nothing"' in text) - 1
    (complaint,) = check_dataset(path, "auto", "sft")
    assert f"a.json, row 21 (line {line}): `instruction` is missing" in complaint.problem


def test_a_long_list_inside_is_read_in_pieces(tmp_path: Path) -> None:
    path = written(tmp_path, {"version": 1, "data": ROWS * 300})
    assert sum(1 for _ in read_rows(find(path))) == 40 * 300


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"messages": TURNS}, "messages"),
        ({"question": "a", "answer": "b", "tools": [{"name": "x"}]}, "alpaca"),
        ({"instruction": "a", "output": "b", "data": ROWS}, "alpaca"),
    ],
)
def test_a_row_that_has_a_list_is_still_a_row(tmp_path: Path, row: Any, format: str) -> None:
    assert preview(written(tmp_path, row, name="a.jsonl"))["format"] == format
    two = tmp_path / "two.jsonl"
    two.write_text(f"{json.dumps({'data': ROWS})}\n" * 2)
    assert len(list(read_rows(find(two)))) == 2


def test_one_conversation_over_many_lines_is_no_list_of_rows(tmp_path: Path) -> None:
    (complaint,) = check_dataset(written(tmp_path, {"messages": TURNS}, 1), "auto", "sft")
    assert complaint.problem == "a.json is one object, not a list of rows."
