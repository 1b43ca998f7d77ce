"""The window calls rows by the file that they are in, and finds them by what they are called."""

from __future__ import annotations

from msgspec.structs import replace

from app import data_words
from tests.unit.test_row_places import REPORT, SKIPPED, TWO


def test_the_window_calls_rows_the_same() -> None:
    assert data_words.row_name(10, REPORT) == "row 11 of 30"
    mixed = replace(REPORT, files=TWO, lines={21: 8})
    assert data_words.row_name(21, mixed) == "b.jsonl row 4 (line 8)"
    assert data_words.row_called("#b.jsonl:4", mixed) == 21
    assert data_words.row_called("#99", mixed) == 98  # The engine says that it is not there.
    assert data_words.row_called("4", mixed) is data_words.row_called("#b:4", mixed) is None
    assert data_words.row_called("#6", replace(REPORT, files=SKIPPED)) == 0
