"""The Data page: columns that were said, or taken from their names, can be said anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.form import Draft
from app.pages.data import DataPage
from app.pages.new_run.column_map import ColumnMap
from engine.contract.messages import Complaint, Inspect, Inspected, PreviewDataset, Refusal
from engine.formats import preview
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme
from tests.gui.test_data_page import NAME, REPORT, asked, page, refused_for_its_columns
from tests.gui.test_data_rows import dropped, written

__all__ = ["host", "link", "page", "theme"]

WRONG = {"instruction": "Antwort", "output": "Frage"}
RIGHT = {"instruction": "Frage", "output": "Antwort"}


def test_a_wrong_mapping_is_set_right_beside_a_report(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"Frage": "Wo?", "Antwort": "Hier."})
    host.replies["preview_dataset"] = preview(path, columns=WRONG)
    values = {"model.path": "m", "dataset.path": str(path), "dataset.columns": WRONG}
    page.show_draft(Draft(values=values))
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    qtbot.waitUntil(page.naming.button.isVisible)
    assert not page.naming.isVisible()
    page.naming.button.click()
    assert page.naming.isVisible()
    assert page.report is not None
    lists = page.naming.columns.lists
    assert lists["Frage"].currentText() == "the answer"
    assert lists["Antwort"].currentText() == "the question"
    host.replies["preview_dataset"] = preview(path, columns=RIGHT)
    # One choice is enough: the two change places.
    lists["Frage"].setCurrentIndex(lists["Frage"].findData("instruction"))
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"] == {"path": str(path), "columns": RIGHT}
    assert not page.naming.isVisible()
    qtbot.waitUntil(page.naming.button.isVisible)


def test_a_mapping_is_cleared_without_a_model(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Wo?", "output": "Hier.", "more": "Ja."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.naming.button.isVisible)
    page.naming.button.click()
    columns = page.naming.columns
    assert columns.lists["output"].currentText() == "the answer", "by its usual name"
    assert columns.take.isHidden(), "it is taken so already"
    said = {"output": "more", "instruction": "instruction"}
    host.replies["preview_dataset"] = preview(path, columns=said)
    columns.lists["more"].setCurrentIndex(columns.lists["more"].findData("output"))
    qtbot.waitUntil(lambda: page.subject.wanted.get("dataset.columns") == {"output": "more"})
    qtbot.waitUntil(page.naming.button.isVisible)
    page.naming.button.click()
    assert columns.lists["more"].currentText() == "the answer"
    assert columns.lists["output"].currentText() == "not used"
    host.replies["preview_dataset"] = preview(path)
    columns.clear.click()
    qtbot.waitUntil(lambda: not page.subject.wanted.get("dataset.columns"))


def test_what_can_not_be_read_by_is_asked_for_on(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"Frage": "Wo?", "Antwort": "Hier."})
    host.replies["preview_dataset"] = preview(path, columns=RIGHT)
    values = {"dataset.path": str(path), "dataset.columns": RIGHT}
    page.show_draft(Draft(values=values))
    qtbot.waitUntil(page.naming.button.isVisible)
    page.naming.button.click()
    host.replies["preview_dataset"] = preview(path, columns={"output": "Antwort"})
    page.naming.columns.lists["Frage"].setCurrentIndex(0)
    qtbot.waitUntil(lambda: asked(host, PreviewDataset)[-1].columns == {"output": "Antwort"})
    qtbot.waitUntil(lambda: "No known format" in page.naming.text.text())
    assert page.naming.isVisible()
    assert page.subject.wanted.get("dataset.columns") == RIGHT
    page.naming.button.click()
    assert not page.naming.isVisible()


def test_columns_are_not_offered_twice_nor_of_several_files(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    assert not page.naming.button.isVisible()
    path = refused_for_its_columns(page, host, qtbot, tmp_path)
    assert not page.naming.button.isVisible(), "the lists are there"
    host.replies["preview_dataset"] = preview(path, columns=RIGHT)
    page.source.model.clear()
    dropped(page, path, tmp_path / "b.jsonl")
    qtbot.waitUntil(page.parts.isVisible)
    assert not page.naming.button.isVisible()


def test_a_name_that_is_no_column_can_be_cleared(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Wo?", "output": "Hier."})
    gone = Complaint(field="dataset.columns.output", problem="No `Fage`.", remedy="Name another.")
    host.mute.add("preview_dataset")
    values = {"dataset.path": str(path), "dataset.columns": {"output": "Fage"}}
    page.show_draft(Draft(values=values))
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 1)
    host.mute.clear()
    first = asked(host, PreviewDataset)[0]
    host.send(Refusal(to=first.id, sentence="No.", complaints=[gone]))
    host.replies["preview_dataset"] = preview(path)
    qtbot.waitUntil(page.state.columns.isVisible)
    page.state.columns.clear.click()
    qtbot.waitUntil(lambda: not page.subject.wanted.get("dataset.columns"))
    qtbot.waitUntil(lambda: page.state.headline.text() == "Choose a model to see every token")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "Where is it?", "answer": "It is here."}, ("the question", "the answer")),
        ({"prompt": "Where is", "completion": " it?"}, ("the beginning", "the continuation")),
        ({"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hi."}]},
         ("the conversation",)),
    ],
)  # fmt: skip
def test_what_columns_are_now_is_chosen_already(
    qtbot: QtBot, tmp_path: Path, row: dict[str, Any], expected: tuple[str, ...]
) -> None:
    made = ColumnMap()
    qtbot.addWidget(made)
    made.show_columns(preview(written(tmp_path, row, row)), {}, is_asked=True)
    assert tuple(each.currentText() for each in made.lists.values()) == expected
    assert made.take.isHidden()
