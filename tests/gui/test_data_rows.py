"""The Data page before there are tokens: first rows, formats, several files, what helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app import data_ways, raw_words, sample_words, words
from app.form import Draft
from app.form_fields import fields
from app.link import HostLink
from app.pages.data import DataPage
from app.theme import Theme
from engine.contract.dataset_report import Packing, RowFinding
from engine.contract.messages import (
    Complaint,
    Inspect,
    Inspected,
    PreviewDataset,
    Refusal,
    ShowSamples,
)
from engine.contract.spec import DatasetSpec
from engine.formats import DatasetError, preview
from engine.formats.reading import open_dataset
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, new_run_page, theme
from tests.gui.test_data_page import NAME, REPORT, SAMPLE, asked, filled, look, page, texts

__all__ = ["host", "link", "page", "theme"]

PAIR = {"prompt": "Is it so?", "chosen": "It is so.", "rejected": "Hm."}
VERDICT = {"prompt": "Is it so?", "completion": "It is.", "label": True}


def written(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def dropped(page: DataPage, *paths: str | Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    page.dropEvent(
        QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip


def refused_as(page: DataPage, host: HostDouble, qtbot: QtBot, path: Path) -> None:
    """It is looked at with a model, and the worker's answer is what it would really be."""
    host.replies["preview_dataset"] = preview(path)
    with pytest.raises(DatasetError) as error:
        open_dataset(DatasetSpec(path=str(path)), "sft")
    look(page, host, qtbot, str(path))
    host.send(Inspected(run=NAME, complaint=error.value.complaint))
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    qtbot.waitUntil(lambda: bool(page.first.facts))


# ---------------------------------------------------------------- rows at once


def test_without_a_model_the_rows_and_their_format_are_there(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "input": "", "output": "Well\nthen."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.first.card.isVisible)
    shown = page.first.card.view.toPlainText()
    for part in ("Row 1", "instruction\tSay hi.", "input\t(empty)", "Well\nthen."):
        assert part in shown, part
    assert page.chip.text() == f"Alpaca, 100{words.SPACE}% sure"
    assert page.first.card.aside.text() == "1 row"
    assert "instruction and output" in page.first.card.reason.text()
    assert page.state.headline.text() == "Choose a model to see every token"
    assert page.source.model.hasFocus()
    assert asked(host, Inspect) == []
    with qtbot.waitSignal(page.use_wanted) as used:
        page.use.click()
    assert used.args[0].values["dataset.path"] == str(path)


def test_rows_stand_below_the_progress_and_after_stop_until_the_report_is_there(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "output": "Hi."})
    host.replies["preview_dataset"] = preview(path)
    look(page, host, qtbot, str(path))
    qtbot.waitUntil(page.first.card.isVisible)
    assert page.state.bar.isVisible()
    assert page.stop.isVisible()
    assert page.state.y() < page.desk.y()
    page.stop.click()
    assert page.first.card.isVisible()
    assert page.state.headline.text() == "Stopped"
    assert not page.state.bar.isVisible()
    page.source.look.click()
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    assert page.first.card.isVisible()
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(page.samples.isVisible)
    assert not page.first.card.isVisible()
    assert not page.state.isVisible()


def test_rows_of_one_file_do_not_stand_below_the_name_of_the_next(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "output": "Hi."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.first.card.isVisible)
    no = Complaint(field="dataset.path", problem="There is no such file.", remedy="Choose one.")
    host.replies["preview_dataset"] = Refusal(to=0, sentence="No.", complaints=[no])
    dropped(page, tmp_path / "gone.jsonl")
    assert not page.first.card.isVisible()
    qtbot.waitUntil(lambda: "There is no such file. Choose one." in texts(page))
    assert page.title.text() == "gone.jsonl"
    assert not page.chip.isVisible()
    assert not page.use.isVisible()


def test_a_file_that_was_changed_is_read_anew(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "output": "Hi."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.first.card.isVisible)
    written(tmp_path, {"instruction": "Say more.", "output": "More."})
    host.replies["preview_dataset"] = preview(path)
    page.source.look.click()
    qtbot.waitUntil(lambda: "Say more." in page.first.card.view.toPlainText())


def test_a_row_that_does_not_fit_is_marked_where_it_stands(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    good = {"instruction": "a", "output": "b"}
    path = written(tmp_path, good, {"instruction": "a"}, good)
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.first.card.isVisible)
    lines = page.first.card.view.toPlainText().split("\n")
    assert lines[lines.index("Row 2") + 1].startswith("`output` is missing")
    assert not lines[lines.index("Row 3") + 1].startswith("`output`")


def test_how_many_rows_there_are_is_told_as_far_as_it_is_known() -> None:
    assert raw_words.how_many({"row_count": 1}) == "1 row"
    assert raw_words.how_many({"row_estimate": 11_500_000}) == "About 11.5 million rows"
    assert raw_words.how_many({"row_estimate": 146_000}) == "About 146\u202f000 rows"
    assert raw_words.how_many({}) == "Rows not counted"
    told = raw_words.extent({"row_count": 5, "files": 3, "bytes": 4096})
    assert told == f"5 rows · 3 files · 4{words.SPACE}KiB"


def test_turns_are_a_line_each_and_other_lists_have_their_fields() -> None:
    row = {
        "conversations": [{"from": "human", "value": "Hi.\n"}, {"role": "a", "x": 1, "y": None}],
        "chosen": {"from": "gpt", "value": "Hm."}, "n": [1, 2],
    }  # fmt: skip
    assert raw_words.lines_of(row) == [
        (0, "conversations", ""), (1, "human", "Hi."), (1, "role", "a"), (1, "x", "1"),
        (1, "y", "null"), (0, "chosen", ""), (1, "gpt", "Hm."), (0, "n", "[1, 2]"),
    ]  # fmt: skip
    assert raw_words.lines_of("bare") == [(0, "", "bare")]


def test_of_a_turn_the_speaker_stands_first_in_whichever_order_the_file_has_them() -> None:
    turns = [{"content": "Hi", "role": "user"}, {"value": "", "from": "gpt"}]
    pair = {"Frage": "Wo?", "Antwort": "Hier."}
    assert raw_words.lines_of({"messages": [*turns, pair]})[1:] == [
        (1, "user", "Hi"), (1, "gpt", raw_words.EMPTY), (1, "Frage", "Wo?"),
        (1, "Antwort", "Hier."),
    ]  # fmt: skip


# ---------------------------------------------------------------- formats


def test_preference_data_is_no_dead_end(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, *[PAIR] * 3)
    refused_as(page, host, qtbot, path)
    assert page.first.card.isVisible(), "what the complaint is about"
    said = texts(page.state)
    assert "of two answers one is better" in said
    assert "format =" not in said
    assert "--" not in said
    (way,) = page.state.ways
    assert way.text() == "Learn the chosen answers"
    way.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"]["format"] == "preference"
    assert page.source.format.currentData() == "preference"
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    with qtbot.waitSignal(page.use_wanted) as used:
        page.use.click()
    assert used.args[0].values["dataset.format"] == "preference"


def test_labelled_answers_can_be_learnt_whole(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    refused_as(page, host, qtbot, written(tmp_path, *[VERDICT] * 3))
    assert [way.text() for way in page.state.ways] == [
        "Learn the answers labelled good", "Learn all rows as Prompt and completion",
    ]  # fmt: skip
    page.state.ways[1].click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"]["format"] == "prompt_completion"


def test_text_is_learnt_from_by_one_click(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    refused_as(page, host, qtbot, written(tmp_path, {"text": "Once upon a time."}))
    assert 'method = "pretrain"' not in texts(page.state)
    (way,) = page.state.ways
    assert way.text() == "Learn from text"
    way.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["method"] == "pretrain"
    assert page.source.method.currentData() == "pretrain"


def test_a_format_is_chosen_on_the_page_and_goes_with_the_data(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"instruction": "Say hi.", "output": "Hi."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.first.card.isVisible)
    box = page.source.format
    assert [box.itemData(at) for at in range(box.count()) if box.itemData(at)] == [
        "auto", "alpaca", "sharegpt", "messages", "prompt_completion", "preference",
        "unpaired_preference",
    ]  # fmt: skip
    host.replies["preview_dataset"] = preview(path, "messages")
    box.setCurrentIndex(box.findData("messages"))
    box.activated.emit(box.currentIndex())
    qtbot.waitUntil(lambda: asked(host, PreviewDataset)[-1].format == "messages")
    qtbot.waitUntil(lambda: "do not look like Messages" in texts(page.state))
    assert not page.use.isVisible()
    host.replies["preview_dataset"] = preview(path)
    page.state.ways[0].click()
    qtbot.waitUntil(page.use.isVisible)
    assert box.currentData() == "auto"
    # With a model later, what was chosen still holds; with another file it does not.
    box.setCurrentIndex(box.findData("alpaca"))
    box.activated.emit(box.currentIndex())
    page.source.model.setText("some/model")
    page.source.look.click()
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    assert asked(host, Inspect)[-1].spec["dataset"]["format"] == "alpaca"
    page.source.take("/other.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[-1].spec["dataset"] == {"path": "/other.jsonl"}
    assert box.currentData() == "auto"


def test_columns_are_said_without_a_model(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"Frage": "Wo?", "Antwort": "Hier."}, {"Frage": "A", "Antwort": "B"})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.state.columns.isVisible)
    assert page.chip.text() == "No known format"
    wanted = {"instruction": "Frage", "output": "Antwort"}
    host.replies["preview_dataset"] = preview(path, columns=wanted)
    page.state.columns.take.click()
    qtbot.waitUntil(page.use.isVisible)
    assert page.chip.text().startswith("Alpaca")
    page.source.model.setText("some/model")
    page.source.look.click()
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    assert asked(host, Inspect)[0].spec["dataset"]["columns"] == wanted


def test_questions_alone_ask_which_column_is_the_answer(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    refused_as(page, host, qtbot, written(tmp_path, {"prompt": "Why?", "told": "So."}))
    qtbot.waitUntil(page.state.columns.isVisible)
    assert set(page.state.columns.lists) == {"prompt", "told"}


def test_what_helps_is_said_only_where_something_is_wrong() -> None:
    good = {"format": "alpaca", "confidence": 1.0, "fits": ["alpaca"]}
    assert data_ways.ways_of(good, "sft", "auto") == []
    assert data_ways.trouble_of(good, "sft", "auto") == ""
    assert data_ways.ways_of({}, "sft", "auto") == []
    (way,) = data_ways.ways_of(good, "pretrain", "auto")
    assert way.patch == {"method": "sft"}
    pairs = {"format": "preference", "confidence": 1.0, "fits": ["preference"], "use": "Hm."}
    assert data_ways.ways_of(pairs, "sft", "preference") == []
    # Other formats do not read the two answers of a pair.
    pairs["fits"] = ["preference", "sharegpt"]
    assert [way.patch for way in data_ways.ways_of(pairs, "sft", "auto")] == [
        {"dataset.format": "preference"}
    ]


# ---------------------------------------------------------------- several files


def test_several_files_are_a_mixture(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    facts = {"format": "alpaca", "confidence": 1.0, "rows": [{"instruction": "a"}] * 5}
    host.replies["preview_dataset"] = {**facts, "row_count": 5, "bytes": 1}
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    qtbot.waitUntil(lambda: "b.jsonl" in page.first.card.view.toPlainText())
    shown = page.first.card.view.toPlainText()
    assert shown.count("Row 2") == 2, "two rows of each"
    assert "Row 3" not in shown
    assert "a.jsonl · Alpaca, 5 rows" in shown
    assert page.title.text() == "a.jsonl and 1 more"
    assert not page.source.format.isEnabled()
    assert "2 datasets" in page.source.path.placeholderText()
    page.source.model.setText("some/model")
    page.source.look.click()
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    sources = [{"path": "/data/a.jsonl"}, {"path": "/data/b.jsonl"}]
    assert asked(host, Inspect)[0].spec["dataset"] == {"sources": sources}
    dropped(page, "/data/c.jsonl")  # Beside several one more is learnt from too.
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    more = [*sources, {"path": "/data/c.jsonl"}]
    assert asked(host, Inspect)[1].spec["dataset"] == {"sources": more}
    page.source.take("/data/d.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    assert asked(host, Inspect)[2].spec["dataset"] == {"path": "/data/d.jsonl"}


def test_one_of_several_that_is_refused_is_set_right_on_new_run(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, *[PAIR] * 3)
    host.replies["preview_dataset"] = preview(path)
    page.source.model.setText("some/model")
    dropped(page, path, "/data/b.jsonl")
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    field = "dataset.sources[1].format"
    told = Complaint(field=field, problem="This is preference data.", remedy="Choose a format.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(lambda: "New run shows the datasets one by one" in texts(page.state))
    assert "This is preference data. Choose a format." in texts(page.state)
    assert [way.text() for way in page.state.ways] == ["Take rows.jsonl out", "Take b.jsonl out"]
    with qtbot.waitSignal(page.use_wanted) as used:
        page.use.click()
    assert len(used.args[0].values["dataset.sources"]) == 2


def test_a_file_dropped_on_another_takes_its_place(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot, "/data/a.jsonl")
    dropped(page, "/data/b.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"] == {"path": "/data/b.jsonl"}


def test_data_looked_at_without_a_model_leaves_that_of_the_run(
    host: HostDouble, theme: Theme, qtbot: QtBot
) -> None:
    made = new_run_page(theme, qtbot)
    new_run = next(made)
    new_run.form.set_value("model.path", "my/model")
    new_run.use_data(Draft(values={"dataset.path": "/data/a.jsonl"}))
    assert new_run.form.draft.values["model.path"] == "my/model"
    new_run.use_data(filled("/data/a.jsonl", "other/model"))
    assert new_run.form.draft.values["model.path"] == "other/model"
    next(made, None)


def test_all_that_was_said_of_the_data_goes_into_the_run(
    host: HostDouble, theme: Theme, qtbot: QtBot
) -> None:
    said = {
        "dataset.path": "/data/a.jsonl", "dataset.format": "alpaca",
        "dataset.columns": {"output": "answer"}, "dataset.roles": {"human": "user"},
        "dataset.skip_samples": 5, "dataset.max_samples": 40, "dataset.fixes": ["drop_duplicates"],
        "dataset.chat_template": "chatml", "dataset.loss_on": "last", "training.max_length": 512,
        "lora.trainable_tokens": [7],
    }  # fmt: skip
    assert {path for path in fields() if path.startswith("dataset.")} - set(said) == {
        "dataset.eval_fraction", "dataset.sources"
    }  # fmt: skip
    made = new_run_page(theme, qtbot)
    new_run = next(made)
    new_run.use_data(Draft(values=said))
    assert said.items() <= new_run.form.draft.values.items()
    # Of other data nothing of it is true.
    new_run.use_data(Draft(values={"dataset.path": "/data/b.jsonl"}))
    kept = set(said) & set(new_run.form.draft.values)
    assert kept == {"dataset.path", "lora.trainable_tokens"}
    next(made, None)


# ---------------------------------------------------------------- pairs, tiles, fixes

NEAR = RowFinding(
    code="near_duplicates", severity="info", title="3 rows are nearly the same.", row_count=3,
    rows=[51, 60, 9], groups=[[11, 51, 60], [2, 9]],
)  # fmt: skip


def test_a_sample_says_which_row_it_is_like(
    page: DataPage, host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=msgspec.structs.replace(REPORT, findings=[NEAR])))
    like = page.samples.like
    qtbot.waitUntil(like.isVisible)
    assert like.text() == "Nearly the same as row 12 ›"
    head = msgspec.structs.replace(SAMPLE, row=11)
    host.replies["show_samples"] = {"samples": [msgspec.to_builtins(head)]}
    like.click()
    qtbot.waitUntil(lambda: like.text() == "Nearly the same as row 52 and 1 later ›")
    own = msgspec.structs.replace(SAMPLE, row=12)
    host.replies["show_samples"] = {"samples": [msgspec.to_builtins(own)]}
    page.samples.picks["longest"].click()
    qtbot.waitUntil(lambda: not like.isVisible())
    # In a walk through pairs it is a step of the walk.
    page.findings.rows_wanted.emit([11, 51, 60, 2, 9])
    page.samples._show_likeness(sample_words.Likeness("", 2))
    like.click()
    assert page.samples._at == 3


LARGE = msgspec.structs.replace(
    REPORT, rows=1_234_567, samples=1_234_567, train=1_172_839, held_back=61_728, left_out=12_345,
    tokens=812_345_678, longest=123_456, median=12_345, cut=123_456, max_length=131_072,
    duplicates=12_345, near_duplicates=12_345, duplicates_across=1_234,
    padded=Packing(steps=123_456, computed=10, waste=0.573),
    packed=Packing(steps=12_345, computed=5, waste=0.006),
)  # fmt: skip


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"in_line": True}, {"method": "pretrain", "packed": None}, {"left_out": 0},
        {"near_duplicates": 0}, {"duplicates_across": 0},
        {"duplicates": 0, "near_duplicates": 0, "duplicates_across": 0},
    ],
)  # fmt: skip
def test_no_tile_is_cut_in_a_window_of_its_first_size(
    page: DataPage, changes: dict[str, Any], is_packed: bool
) -> None:
    page.show_report(msgspec.structs.replace(LARGE, is_packed=is_packed, **changes))
    for tile in page.tiles.tiles:
        for part in (tile.name, tile.number, tile.small):
            width = part.fontMetrics().horizontalAdvance(part.text())
            assert width <= part.contentsRect().width(), part.text()


def test_what_is_looked_at_stays_while_it_is_mended_and_goes_with_its_file(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.samples.sample is not None)
    page.samples.search.setText("#52")
    host.requests.clear()
    page.show_report(msgspec.structs.replace(REPORT, left_out=35))
    qtbot.waitUntil(lambda: bool(asked(host, ShowSamples)))
    assert [each.row for each in asked(host, ShowSamples)] == [51]
    assert page.samples.search.text() == "#52"
    page.show_report(msgspec.structs.replace(REPORT, rows=50))
    qtbot.waitUntil(lambda: len(asked(host, ShowSamples)) == 2)
    assert [each.row for each in asked(host, ShowSamples)] == [51, None]
    assert page.samples.search.text() == ""


@pytest.mark.parametrize("text", ["max_length = 64", "Leave out, not cut"])
def test_a_button_that_goes_leaves_the_keyboard_on_the_page(
    page: DataPage, host: HostDouble, qtbot: QtBot, text: str
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    buttons = {each.text(): each for each in page.findings.items[0].findChildren(QPushButton)}
    buttons[text].setFocus()
    buttons[text].click()
    assert page.focusWidget() is page.source.look


def test_what_is_too_long_is_left_out_by_a_button(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    buttons = {each.text(): each for each in page.findings.items[0].findChildren(QPushButton)}
    assert list(buttons) == ["Show rows", "max_length = 64", "Leave out, not cut"]
    buttons["Leave out, not cut"].click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"]["fixes"] == ["drop_overlong"]
