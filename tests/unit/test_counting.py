"""How many rows a long file has is told without reading it, and told as an estimate."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from engine.cli.data_preview import about_file
from engine.cli.data_report import Making
from engine.contract.dataset_report import COMPARED, QUEUED, STARTING
from engine.contract.messages import Progress
from engine.formats import counting, preview

ROWS = [
    {"instruction": f"Say {'so ' * (1 + i % 40)}", "output": "é" * (i % 25)} for i in range(5000)
]


@pytest.fixture(autouse=True)
def _counted_up_to_1000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_COUNTED_BYTES", 1000)
    monkeypatch.setattr(counting, "_BLOCK", 4096)


def _lists() -> str:
    return json.dumps(ROWS, indent=2)


def _lines() -> str:
    # The beginning is unlike the rest.
    return "\n".join(json.dumps(row) for row in sorted(ROWS, key=lambda row: len(str(row))))


def _csv() -> str:
    lines = [f'"{row["instruction"]}","{row["output"]}"' for row in ROWS]
    return "instruction,output\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "make"), [("a.json", _lists), ("a.jsonl", _lines), ("a.csv", _csv)]
)
def test_an_estimate_is_near_and_said_to_be_one(tmp_path: Path, name: str, make: object) -> None:
    path = tmp_path / name
    assert callable(make)
    path.write_text(make(), encoding="utf-8")
    shown = preview(path)
    assert shown["row_count"] is None
    assert shown["row_estimate"] == pytest.approx(5000, rel=0.06)
    assert len(str(shown["row_estimate"]).rstrip("0")) <= 3
    assert ". About " in about_file(name, shown)[0]


def test_what_nothing_tells_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(_lines().encode()))
    shown = preview(path)
    assert (shown["row_count"], shown["row_estimate"]) == (None, None)
    assert "not counted" in about_file(path.name, shown)[0]


def test_what_is_counted_is_not_estimated(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1]))
    shown = preview(path)
    assert (shown["row_count"], shown["row_estimate"]) == (2, None)


def test_progress_says_how_quick_it_is_and_what_is_left() -> None:
    making = Making()

    def told(done: int, total: int, now: float, unit: str = "rows") -> str:
        progress = Progress(phase="tokenising", done=done, total=total, unit=unit)
        return making.words(progress, now).replace("\N{NARROW NO-BREAK SPACE}", " ")

    assert told(0, 0, 8.0, QUEUED) == "Waits until another dataset has been looked over"
    assert told(0, 0, 9.0, STARTING).startswith("Starts a worker")
    assert told(100, 5000, 10.0) == "Making tokens: 100 of about 5 000 rows"
    assert told(1100, 5100, 12.0) == (
        "Making tokens: 1 100 of about 5 100 rows, 500 rows/s, 8 s left"
    )
    assert told(5100, 0, 20.0) == "Making tokens: 5 100 rows, 500 rows/s"
    # Then the rows are compared, at a rate of its own.
    assert told(200, 5100, 30.0, COMPARED) == "Comparing rows: 200 of 5 100 rows"
    assert told(600, 5100, 31.0, COMPARED) == (
        "Comparing rows: 600 of 5 100 rows, 400 rows/s, 11 s left"
    )
