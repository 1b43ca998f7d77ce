"""The data card where only the person can say what the columns are, or what is meant."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.form import Form
from app.link import HostLink
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.data_card import DataCard
from app.theme import Theme
from engine.contract.messages import PreviewDataset
from engine.formats import preview
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme

__all__ = ["host", "link", "theme"]
FRAGE = '{"Frage": "Wo?", "Antwort": "Hier."}\n' * 2
KTO = '{"prompt": "a", "completion": "b", "label": true}\n' * 2


@pytest.fixture
def card(link: HostLink, theme: Theme, qtbot: QtBot) -> DataCard:
    made = DataCard(Form(), link, theme.tokens)
    qtbot.addWidget(made)
    made.resize(760, 420)
    made.show()
    link.open()
    qtbot.waitUntil(lambda: link.is_connected)
    return made


def _looks(card: DataCard, host: HostDouble, qtbot: QtBot, path: Path, **named: Any) -> None:
    """The real answer to what is asked next."""
    host.replies["preview_dataset"] = preview(path, **named)
    before = len(host.asked(PreviewDataset))
    qtbot.waitUntil(lambda: len(host.asked(PreviewDataset)) > before and bool(card.facts))


def test_columns_are_mapped_with_a_live_preview(
    card: DataCard, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(FRAGE)
    host.replies["preview_dataset"] = preview(path)
    card.chosen.choose(str(path))
    _looks(card, host, qtbot, path)
    assert card.view.columns.isVisible()
    assert list(card.view.columns.lists) == ["Frage", "Antwort"]
    assert card.view.columns.take.text() == "Take: Frage is the question, Antwort is the answer"
    columns = {"instruction": "Frage", "output": "Antwort"}
    host.replies["preview_dataset"] = preview(path, columns=columns)
    qtbot.mouseClick(card.view.columns.take, Qt.MouseButton.LeftButton)
    assert card._form.draft.raw()["dataset"]["columns"] == columns
    qtbot.waitUntil(lambda: card.facts.get("format") == "alpaca")
    assert host.asked(PreviewDataset)[-1].columns == columns
    assert card.view.columns.lists["Antwort"].currentText() == "the answer"
    assert "Hier." in card.view.example.text()
    card.view.columns.lists["Antwort"].setCurrentIndex(0)
    assert card._form.draft.raw()["dataset"]["columns"] == {"instruction": "Frage"}
    card.chosen.choose(str(tmp_path / "b.jsonl"))
    assert "columns" not in card._form.draft.raw()["dataset"]


def test_preference_rows_are_learnt_from_once_that_is_meant(
    card: DataCard, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(KTO)
    host.replies["preview_dataset"] = preview(path)
    card.chosen.choose(str(path))
    _looks(card, host, qtbot, path)
    assert "labelled good" in card.view.use.text()
    qtbot.mouseClick(card.view.confirm, Qt.MouseButton.LeftButton)
    assert card._form.draft.get("dataset.format") == "unpaired_preference"
    qtbot.waitUntil(lambda: host.asked(PreviewDataset)[-1].format == "unpaired_preference")
    qtbot.waitUntil(lambda: bool(card.facts) and not card.view.confirm.isVisible())


def test_what_is_in_no_list_stays_mapped(qtbot: QtBot) -> None:
    shown = ColumnMap()
    qtbot.addWidget(shown)
    facts = {"columns": [f"c{n}" for n in range(12)], "format": "unknown"}
    shown.show_columns(facts, {"instruction": "c10"})
    with qtbot.waitSignal(shown.mapped) as told:
        shown.lists["c2"].setCurrentIndex(shown.lists["c2"].findData("output"))
    assert told.args == [{"instruction": "c10", "output": "c2"}]


@pytest.mark.parametrize("answers", [False, True])
def test_keys_that_pass_what_another_column_is_take_nothing_from_it(
    answers: bool, qtbot: QtBot
) -> None:
    """Whether the host answers between two keys or not."""
    columns = ColumnMap()
    qtbot.addWidget(columns)
    facts = {"columns": ["erste", "zweite"], "format": "unknown"}
    said: list[dict[str, str]] = []
    columns.mapped.connect(said.append)
    if answers:
        columns.mapped.connect(partial(columns.show_columns, facts))
    columns.show_columns(facts, {})
    columns.show()
    first, second = columns.lists["erste"], columns.lists["zweite"]
    qtbot.keyClick(first, Qt.Key.Key_Down)
    assert said[-1] == {"instruction": "erste"}
    seen = []
    for _ in range(3):
        qtbot.keyClick(second, Qt.Key.Key_Down)
        seen.append(said[-1])
    assert seen == [
        {"instruction": "zweite"},
        {"instruction": "erste", "input": "zweite"},
        {"instruction": "erste", "output": "zweite"},
    ]
    # A list that is turned to anew begins with what there is then.
    qtbot.keyClick(first, Qt.Key.Key_Down)
    qtbot.keyClick(first, Qt.Key.Key_Down)
    assert said[-1] == {"instruction": "zweite", "output": "erste"}
