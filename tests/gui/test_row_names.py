"""The window calls rows by the file that they are in, and finds them by what they are called."""

from __future__ import annotations

from msgspec.structs import replace

from app import sample_words
from tests.unit.test_row_places import REPORT, SKIPPED, TWO


def test_the_window_calls_rows_the_same() -> None:
    assert sample_words.row_name(10, REPORT) == "row 11 of 30"
    mixed = replace(REPORT, files=TWO, lines={21: 8})
    assert sample_words.row_name(21, mixed) == "b.jsonl row 4 (line 8)"
    assert sample_words.row_called("#b.jsonl:4", mixed) == 21
    assert sample_words.row_called("#99", mixed) == 98  # The engine says that it is not there.
    assert sample_words.row_called("4", mixed) is sample_words.row_called("#b:4", mixed) is None
    assert sample_words.row_called("#6", replace(REPORT, files=SKIPPED)) == 0


def test_a_row_that_is_skipped_is_no_other_row() -> None:
    skipped = replace(REPORT, files=SKIPPED)  # Rows 6 to 35 of the file.
    for name in ("#5", "#a.jsonl:5", "#36"):
        assert sample_words.row_called(name, skipped) is None, name
        told = sample_words.row_missing(name, skipped)
        assert told.endswith("of a.jsonl the rows 6 to 35 are read."), name
    assert sample_words.row_missing("#6", skipped) == ""
    assert sample_words.row_missing("#b.jsonl:5", skipped) == "", "as words"
    assert sample_words.row_missing("5 things", skipped) == ""
    told = sample_words.row_missing("#5", replace(skipped, rows=1))
    assert told == "There is no row 5: of a.jsonl row 6 alone is read."
    mixed = replace(REPORT, files=TWO)
    assert sample_words.row_missing("#b.jsonl:2", mixed).endswith("the rows 3 to 12 are read.")
    assert sample_words.row_missing("#99", mixed) == "", "the engine says it"
