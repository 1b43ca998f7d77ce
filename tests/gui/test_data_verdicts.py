"""The Data page: what is said of data that no run can be made of, and which rows it is about."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app import finding_words
from app.pages.data import DataPage
from engine.contract.dataset_report import RowFinding
from engine.contract.messages import Complaint, Inspected
from engine.contract.row_places import FileRows
from engine.formats import preview
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme
from tests.gui.test_data_page import NAME, REPORT, look, page, texts
from tests.gui.test_data_rows import PAIR, dropped, written

__all__ = ["host", "link", "page", "theme"]

GRAVE = RowFinding(
    code="nothing_to_train_on", severity="error", title="40 of 40 rows have an empty answer.",
    cause="The model would learn to say nothing.", remedy="Write the answers.",
    row_count=40, rows=list(range(40)),
)  # fmt: skip
COPIES = RowFinding(
    code="duplicates", severity="warning", title="39 rows are the same as an earlier one.",
    row_count=39, rows=list(range(1, 40)), groups=[list(range(40))],
)  # fmt: skip
NOTHING = replace(
    REPORT, rows=40, samples=40, train=0, held_back=0, tokens=0, findings=[GRAVE, COPIES],
    files=[FileRows(name="a.jsonl", first=0)], lines={row: row + 1 for row in range(9)},
)  # fmt: skip


def reported(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=NOTHING))
    qtbot.waitUntil(lambda: page.report is not None)


def test_data_that_no_run_can_be_made_of_asks_for_no_run(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    assert page.use.isVisible(), "New run says the same, beside what can be changed"
    assert page.use.property("kind") != "primary"
    assert "40 of 40 rows have an empty answer." in page.use.toolTip()
    assert page.source.look.property("kind") == "primary"
    assert "none trained on" in texts(page.tiles)
    assert page.chip.property("tone") == "warning"
    page.show_report(REPORT)
    assert page.use.property("kind") == "primary"
    assert "empty answer" not in page.use.toolTip()


def test_the_first_rows_of_what_keeps_a_run_away_are_named(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    first, copies = page.findings.items
    assert "Rows 1, 2, 3 (lines 1, 2, 3) …" in texts(first)
    assert [each.text() for each in first.findChildren(QPushButton)] == ["Show rows"]
    assert "Row 1 (line 1), again as rows 2, 3 (lines 2, 3) …" in texts(copies)


def test_the_first_rows_of_a_finding_are_named_with_their_file() -> None:
    files = [FileRows(name="a.jsonl", first=0), FileRows(name="b.jsonl", first=20)]
    several = replace(REPORT, files=files)
    named = RowFinding(code="cut", severity="info", title="", row_count=3, rows=[2, 7, 24])
    assert finding_words.rows_named(named, several) == "a.jsonl rows 3, 8; b.jsonl row 5"
    assert finding_words.rows_named(replace(named, row_count=4), REPORT) == "Rows 3, 8, 25 …"
    assert finding_words.rows_named(replace(named, row_count=0, rows=[]), REPORT) == ""
    pair = replace(named, row_count=1, rows=[7], groups=[[2, 7]])
    assert finding_words.rows_named(pair, REPORT) == "Row 3, again as row 8"


def test_a_format_is_not_green_where_the_data_is_refused(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "output": "Hi."})
    host.replies["preview_dataset"] = preview(path)
    look(page, host, qtbot, str(path))
    qtbot.waitUntil(page.chip.isVisible)
    assert page.chip.property("tone") == "good"
    told = Complaint(field="dataset.path", problem="Line 3 is broken.", remedy="Mend it.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(lambda: "Line 3 is broken." in texts(page.state))
    assert page.chip.text().startswith("Alpaca")
    assert page.chip.property("tone") == "warning"
    pairs = written(tmp_path, PAIR, PAIR, name="pairs.jsonl")
    host.replies["preview_dataset"] = preview(pairs)
    page.source.model.clear()
    dropped(page, pairs)
    qtbot.waitUntil(lambda: page.state.headline.text() == "Say how it is to be learnt")
    assert page.chip.property("tone") == "warning"
