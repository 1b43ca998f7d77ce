"""The New run page, driven through its widgets against a host that speaks the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.endpoint import Place
from app.form_fields import fields
from app.form_words import BASIC, ELSEWHERE
from app.link import HostLink
from app.pages.new_run import NewRunPage, outlook
from app.pages.new_run.catalogue import bundled
from app.pages.new_run.models import Option, merge, parameters
from app.pages.new_run.preview import Learnt, example_html, pieces, table
from app.preferences import Preferences
from app.theme import Theme
from app.transport import LocalTransport
from app.widgets.line_button import LineButton
from engine.contract.messages import Complaint, ListModels, PreviewDataset, Refusal, Start
from engine.contract.spec import Spec
from engine.contract.toml import EXAMPLE, read_file, to_raw
from engine.contract.validate import check
from tests.gui.host_double import HostDouble
from tests.gui.pages import new_run_page, theme

__all__ = ["theme"]

MODEL = "mistralai/Mistral-7B-v0.3"
CONVERSATION = {
    "kind": "conversation",
    "messages": [
        {"role": "user", "content": "Where is <my> order?"},
        {"role": "assistant", "content": "On its way."},
    ],
}
PREVIEW: dict[str, Any] = {
    "format": "alpaca",
    "confidence": 1.0,
    "reason": "Every row looked at has instruction and output.",
    "rows": [{"instruction": "Where is <my> order?", "output": "On its way."}],
    "examples": [CONVERSATION],
    "row_count": 1000,
    "bytes": 4 << 20,
}


@pytest.fixture
def host(qapp: object, fettle_home: Path) -> Iterator[HostDouble]:
    double = HostDouble()
    double.replies["preview_dataset"] = PREVIEW
    double.replies["start"] = {"run": "20261122-221503-x", "folder": "/x"}
    double.listen()
    yield double
    double.stop()


@pytest.fixture
def page(host: HostDouble, theme: Theme, qtbot: QtBot) -> Iterator[NewRunPage]:
    yield from new_run_page(theme, qtbot)


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n')
    return path


def write(qtbot: QtBot, line: QWidget, text: str) -> None:
    assert isinstance(line, QLineEdit)
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)


def fill_in(page: NewRunPage, qtbot: QtBot, data_file: Path) -> None:
    write(qtbot, page.model.line, MODEL)
    write(qtbot, page.data.path.control, str(data_file))
    qtbot.waitUntil(lambda: bool(page.data.facts))


def click(qtbot: QtBot, target: QWidget) -> None:
    qtbot.mouseClick(target, Qt.MouseButton.LeftButton)


# ---------------------------------------------------------------- starting


def test_a_new_page_asks_for_model_and_data(page: NewRunPage) -> None:
    assert page.budget.headline == "Choose a model and data"


def test_filling_in_and_starting_opens_the_run(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    fill_in(page, qtbot, data_file)
    with qtbot.waitSignal(page.run_started) as caught:
        click(qtbot, page.header.start)
    assert caught.args == ["20261122-221503-x"]
    (request,) = host.asked(Start)
    spec, complaints = check(request.spec)
    assert complaints == []
    assert spec is not None
    assert spec.model.path == MODEL
    assert spec.dataset.path == str(data_file.resolve())
    assert spec.name == "Mistral-7B-v0.3 · chats"
    assert spec.kind == "QLoRA 4-bit"


def test_start_without_data_goes_to_the_field(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    write(qtbot, page.model.line, MODEL)
    click(qtbot, page.header.start)
    assert host.asked(Start) == []
    assert page.data.path.control.hasFocus()
    assert page.data.path.control.property("state") == "wrong"


def test_what_the_host_refuses_lands_on_its_field(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    host.replies["start"] = Refusal(
        to=0,
        sentence="1 problem.",
        complaints=[Complaint(field="training.seed", problem="Too dull.", remedy="Write 7.")],
    )
    fill_in(page, qtbot, data_file)
    click(qtbot, page.header.start)
    qtbot.waitUntil(lambda: "training.seed" in page.settings.editors)
    editor = page.settings.editors["training.seed"]
    assert editor.problem == "Too dull. Write 7."
    assert page.settings.is_expert
    assert page.header.start.isEnabled()
    write(qtbot, editor.control, "7")
    assert editor.problem == ""
    assert page.form.draft.get("model.path") == MODEL


def test_a_second_click_starts_nothing_twice(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    fill_in(page, qtbot, data_file)
    with qtbot.waitSignal(page.run_started):
        click(qtbot, page.header.start)
        click(qtbot, page.header.start)
    assert len(host.asked(Start)) == 1


# ---------------------------------------------------------------- complaints


def test_complaints_are_live_and_beside_their_field(page: NewRunPage, qtbot: QtBot) -> None:
    editor = page.settings.editors["training.learning_rate"]
    write(qtbot, editor.control, "fast")
    assert "fast" in editor.problem
    assert editor.control.property("state") == "wrong"
    write(qtbot, editor.control, "1e-4")
    assert editor.problem == ""


def test_a_complaint_takes_one_to_its_field(page: NewRunPage, qtbot: QtBot) -> None:
    write(qtbot, page.settings.editors["training.max_length"].control, "3")
    page.model.line.setFocus()
    (link,) = [
        made
        for made in page.budget.findChildren(QPushButton)
        if made.property("field") == "training.max_length"
    ]
    click(qtbot, link)
    assert page.settings.editors["training.max_length"].control.hasFocus()


def test_every_complaint_has_a_way_to_its_field(page: NewRunPage, qtbot: QtBot) -> None:
    for path in set(fields()):
        page.model.line.setFocus()
        page.header.start.setFocus()
        page.go_to(path)
        assert page.focusWidget() is not page.header.start, path


# ---------------------------------------------------------------- settings


def test_expert_shows_every_setting_with_its_meaning(page: NewRunPage, qtbot: QtBot) -> None:
    assert set(page.settings.editors) == set(BASIC)
    click(qtbot, page.settings.expert)
    assert set(page.settings.editors) == set(fields()) - set(ELSEWHERE)
    for path, editor in page.settings.editors.items():
        assert fields()[path].help in editor.toolTip().replace("&quot;", '"')
        assert editor.control.accessibleName()


def test_the_view_is_remembered(page: NewRunPage, theme: Theme, qtbot: QtBot) -> None:
    click(qtbot, page.settings.expert)
    again = NewRunPage(HostLink(transport=LocalTransport(launch=None)), Preferences(), theme)
    qtbot.addWidget(again)
    assert again.settings.is_expert


def test_methods_set_the_spec(page: NewRunPage, qtbot: QtBot, data_file: Path) -> None:
    fill_in(page, qtbot, data_file)
    click(qtbot, page.model.chip("full"))
    assert page.form.spec is not None
    assert page.form.spec.kind == "Full"
    assert not page.settings.editors["lora.r"].isEnabled()
    click(qtbot, page.model.chip("lora8"))
    click(qtbot, page.model.pretrain)
    spec = page.form.spec
    assert (spec.kind, spec.method) == ("LoRA 8-bit", "pretrain")
    click(qtbot, page.model.pretrain)
    assert page.form.spec.method == "sft"


def test_undo_and_redo_by_keyboard(page: NewRunPage, qtbot: QtBot) -> None:
    line = page.settings.editors["lora.r"].control
    page.activateWindow()
    write(qtbot, line, "64")
    qtbot.keyClick(line, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert page.form.draft.get("lora.r") == 16
    page.header.redo.click()
    assert page.form.draft.get("lora.r") == 64


def test_reset_keeps_model_and_data(page: NewRunPage, qtbot: QtBot, data_file: Path) -> None:
    fill_in(page, qtbot, data_file)
    write(qtbot, page.settings.editors["training.max_length"].control, "64")
    page.header.reset_action.trigger()
    assert page.form.draft.get("training.max_length") == 1024
    assert page.form.draft.get("model.path") == MODEL


def test_all_is_reached_by_tab(page: NewRunPage, qtbot: QtBot) -> None:
    page.header.name.setFocus()
    reached = set()
    for _ in range(60):
        qtbot.keyClick(page.focusWidget(), Qt.Key.Key_Tab)
        reached.add(page.focusWidget().objectName())
    assert set(BASIC) | {"model.path", "dataset.path", "dataset.format", "name"} <= reached


def test_who_comes_to_the_page_begins_at_what_is_to_do(
    page: NewRunPage, qtbot: QtBot, data_file: Path
) -> None:
    page.setFocus()
    assert page.model.line.hasFocus()
    fill_in(page, qtbot, data_file)
    page.setFocus()
    assert page.header.start.hasFocus()


def test_the_last_choices_are_there_in_the_next_window(
    page: NewRunPage, theme: Theme, qtbot: QtBot, data_file: Path
) -> None:
    fill_in(page, qtbot, data_file)
    write(qtbot, page.settings.editors["training.learning_rate"].control, "fast")
    page.close()
    again = NewRunPage(HostLink(transport=LocalTransport(launch=None)), Preferences(), theme)
    qtbot.addWidget(again)
    assert again.form.draft == page.form.draft
    assert again.settings.editors["training.learning_rate"].control.text() == "fast"
    assert again.model.line.text() == MODEL


# ---------------------------------------------------------------- data


def test_an_estimate_of_the_rows_is_said_to_be_one(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    host.replies["preview_dataset"] = {**PREVIEW, "row_count": None, "row_estimate": 12_300_000}
    fill_in(page, qtbot, data_file)
    assert "about 12\u202f300\u202f000 conversations" in page.data.aside.text()
    page.budget.facts.open()
    lines = [line.figure for line in page.budget.facts.findChildren(LineButton)]
    assert "about 11\u202f685\u202f000" in lines


def test_the_data_is_shown_as_rows_and_as_the_model_sees_it(
    page: NewRunPage, qtbot: QtBot, data_file: Path
) -> None:
    fill_in(page, qtbot, data_file)
    assert "1\u202f000 conversations" in page.data.aside.text()
    assert "Alpaca" in page.data.aside.text()
    assert page.data.view.example.isVisible()
    assert "&lt;my&gt;" in page.data.view.example.text()
    page.budget.facts.open()
    lines = [line.figure for line in page.budget.facts.findChildren(LineButton)]
    assert "about 119 steps" in lines


def test_a_format_can_be_forced(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    fill_in(page, qtbot, data_file)
    page.data.format.edited.emit("dataset.format", "sharegpt")
    qtbot.waitUntil(lambda: len(host.asked(PreviewDataset)) == 2)
    assert host.asked(PreviewDataset)[1].format == "sharegpt"


@pytest.mark.parametrize(
    ("place", "typed", "asked"),
    [
        (Place(), "chats.jsonl", str(Path.home().resolve() / "chats.jsonl")),
        (Place(), "~/chats.jsonl", str(Path.home().resolve() / "chats.jsonl")),
        (Place(), "~nobody-here/chats.jsonl", "~nobody-here/chats.jsonl"),
        (Place(kind="ssh", name="box"), "~/chats.jsonl", "~/chats.jsonl"),
        (Place(kind="wsl", name="Ubuntu"), "/home/me/chats.jsonl", "/home/me/chats.jsonl"),
    ],
)
def test_the_preview_is_of_the_file_that_would_be_trained_on(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, place: Place, typed: str, asked: str
) -> None:
    page._link.place = place
    page.data.chosen.choose(typed)
    qtbot.waitUntil(lambda: bool(host.asked(PreviewDataset)))
    assert host.asked(PreviewDataset)[0].path == asked
    write(qtbot, page.model.line, MODEL)
    click(qtbot, page.header.start)
    qtbot.waitUntil(lambda: bool(host.asked(Start)))
    assert host.asked(Start)[0].spec["dataset"]["path"] == asked


def test_bad_data_is_told_beside_the_field(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, data_file: Path
) -> None:
    host.replies["preview_dataset"] = Refusal(
        to=0,
        sentence="No.",
        complaints=[Complaint(field="dataset.path", problem="chats.jsonl is empty.")],
    )
    write(qtbot, page.data.path.control, str(data_file))
    qtbot.waitUntil(lambda: page.data.path.problem == "chats.jsonl is empty.")
    host.replies["preview_dataset"] = PREVIEW
    write(qtbot, page.data.path.control, str(data_file) + "x")
    qtbot.waitUntil(lambda: bool(page.data.facts))
    assert page.data.path.problem == ""


@pytest.mark.parametrize("name", ["chats.jsonl", "model", "run.toml"])
def test_files_can_be_dropped(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path, data_file: Path, name: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run.toml").write_text('name = "dropped"\n')
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
    event = QDropEvent(
        QPointF(QPoint(9, 9)), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    page.dropEvent(event)
    draft = page.form.draft
    assert (
        draft.values
        == {
            "chats.jsonl": {"dataset.path": str(data_file)},
            "model": {"model.path": str(tmp_path / "model")},
            "run.toml": {"name": "dropped"},
        }[name]
    )


# ---------------------------------------------------------------- files


def test_export_and_import_give_the_same_run(
    page: NewRunPage, qtbot: QtBot, data_file: Path, tmp_path: Path
) -> None:
    fill_in(page, qtbot, data_file)
    write(qtbot, page.settings.editors["lora.r"].control, "32")
    spec = page.form.spec
    assert spec is not None
    path = tmp_path / "exported.toml"
    page.exchange.export_file(spec, path)
    assert "# Rank: how much the adapter can learn." in path.read_text()
    assert check(read_file(path)[0])[0] == spec
    page.form.set_value("lora.r", 8)
    page.exchange.import_file(path)
    assert page.form.spec == spec


def test_importing_nonsense_changes_nothing(
    page: NewRunPage, qtbot: QtBot, data_file: Path, tmp_path: Path
) -> None:
    fill_in(page, qtbot, data_file)
    before = page.form.draft
    path = tmp_path / "bad.toml"
    path.write_text("name = \n")
    with qtbot.waitSignal(page.said) as caught:
        page.exchange.import_file(path)
    assert "not TOML" in caught.args[0]
    assert page.form.draft == before


def test_importing_mistakes_keeps_and_marks_them(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "x"\n[training]\nmax_length = "long"\nsed = 3\noptim = "adam"\n')
    page.exchange.import_file(path)
    editor = page.settings.editors["training.max_length"]
    assert editor.control.text() == "long"
    assert "long" in editor.problem
    assert page.settings.editors["training.optim"].problem
    shown = {c.field for c in page.form.complaints}
    assert {"training.sed", "training.max_length", "training.optim"} <= shown
    page.header.undo.click()
    assert page.form.draft.values == {}


def test_a_setting_that_does_not_exist_can_be_removed(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "x"\n[training]\nsed = 3\n')
    page.exchange.import_file(path)
    (link,) = [
        made
        for made in page.budget.findChildren(QPushButton)
        if made.property("field") == "training.sed"
    ]
    click(qtbot, link)
    assert page.form.draft.unknown == {}


def test_the_command_holds_the_whole_run(page: NewRunPage, qtbot: QtBot, data_file: Path) -> None:
    fill_in(page, qtbot, data_file)
    page.header.copy_action.trigger()
    text = QApplication.clipboard().text()
    assert "fettle train" in text
    assert MODEL in text


# ---------------------------------------------------------------- models


def test_models_of_the_machine_come_first(page: NewRunPage, host: HostDouble, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: bool(host.asked(ListModels)))
    options = merge(
        [Option(path="a/b", group="To download", parameters=7_241_732_096, licence="MIT")],
        [
            {"path": "a/b", "name": "b", "source": "cache", "bytes": 1 << 30, "family": "x"},
            {"path": "/m/c", "name": "c", "source": "folder", "bytes": 5, "family": "llama"},
        ],
    )
    assert [option.path for option in options] == ["/m/c", "a/b"]
    assert options[1].facts == "7.2\u00a0B parameters · MIT · 1.0\u00a0GiB on disk"


def test_the_catalogue_is_offered_with_its_facts(page: NewRunPage, qtbot: QtBot) -> None:
    paths = {option.path for option in bundled()}
    assert MODEL in paths
    assert page.model.combo.findText(MODEL) >= 0
    page.model.choose(MODEL)
    assert "7.2\u00a0B parameters" in page.model.aside.text()
    assert "to download" in page.model.aside.text()


@pytest.mark.parametrize(
    ("number", "shown"), [(7_241_732_096, "7.2\u00a0B"), (494_032_768, "494\u00a0M"), (93, "93")]
)
def test_parameters_in_words(number: int, shown: str) -> None:
    assert parameters(number) == shown


# ---------------------------------------------------------------- what will run


def spec_with(**training: Any) -> Spec:
    raw = to_raw(EXAMPLE)
    raw["training"] |= training
    spec, complaints = check(raw)
    assert spec is not None, complaints
    return spec


@pytest.mark.parametrize(
    ("training", "rows", "headline"),
    [
        ({}, 1000, "about 119 steps"),
        ({"num_train_epochs": 2}, 1000, "about 238 steps"),
        ({"max_steps": 30}, 1000, "30 steps"),
        ({"max_steps": 1}, None, "1 step"),
        ({"packing": True}, 1000, "1 epoch"),
        ({"num_train_epochs": 2.5}, None, "2.5 epochs"),
    ],
)
def test_steps(training: dict[str, Any], rows: int | None, headline: str) -> None:
    assert outlook.steps(spec_with(**training), rows).headline == headline


def test_only_answers_are_trained_on() -> None:
    assert [part for part, is_trained in pieces(CONVERSATION, Learnt()) if is_trained] == [
        "On its way. "
    ]
    text = {"kind": "text", "text": "All of it."}
    assert pieces(text, Learnt("pretrain")) == [("All of it.", True)]
    shown = example_html(CONVERSATION, Learnt(), "#111111", "#00ff00")
    assert '<span style="color:#00ff00">On its way. </span>' in shown


def test_rows_of_any_shape_make_a_table() -> None:
    names, cells = table([{"a": 1}, {"b": ["x"]}, "plain"])
    assert names == ["a", "b", "value"]
    assert cells == [["1", "", ""], ["", '["x"]', ""], ["", "", "plain"]]


def test_the_keyboard_reaches_each_way_of_tuning(page: NewRunPage, qtbot: QtBot) -> None:
    first = page.model.chip("lora4")
    assert first.text()
    first.setFocus()
    qtbot.keyClick(first, Qt.Key.Key_Tab)
    assert page.focusWidget() is not first
    assert page.focusWidget() in page.model._chips.values()


def test_a_narrow_page_has_the_budget_below_and_all_can_be_scrolled_to(page: NewRunPage) -> None:
    page.resize(764, 540)
    QApplication.processEvents()
    left = page.desk.area.widget()
    assert left.isAncestorOf(page.budget)
    assert left.width() <= page.desk.area.viewport().width()
    for target in (page.model.pretrain, page.model._browse, page.data._browse):
        assert target.mapTo(left, target.rect().bottomRight()).x() < left.width()
    page.resize(1164, 860)
    QApplication.processEvents()
    assert not left.isAncestorOf(page.budget)
    assert page.budget.width() == 400
