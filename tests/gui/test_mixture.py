"""Several datasets in one run, chosen and weighed on the New run page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QStyle, QStyleOptionFrame
from pytestqt.qtbot import QtBot

from app.form import Draft
from app.form_words import label
from app.mixture import changed, entries, is_mixture, key_of, patch_of, rows_of
from app.pages.new_run import NewRunPage
from app.theme import Theme
from engine.contract.messages import Complaint, PreviewDataset, Refusal, Start
from engine.contract.validate import check
from tests.gui.host_double import HostDouble
from tests.gui.pages import new_run_page, theme

__all__ = ["theme"]

PREVIEW: dict[str, Any] = {
    "format": "alpaca", "confidence": 1.0, "reason": "Every row has what it takes.",
    "rows": [{"instruction": "Where?", "output": "Here."}],
    "examples": [{"kind": "prompt_completion", "prompt": "Where?", "completion": "Here."}],
    "row_count": 1000, "bytes": 4 << 20, "columns": ["instruction", "output"],
}  # fmt: skip


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


# ---------------------------------------------------------------- values


def test_one_dataset_needs_no_list_and_two_do() -> None:
    one = Draft().with_patch({"dataset.path": "a.jsonl", "dataset.columns": {"output": "reply"}})
    (entry,) = entries(one)
    assert entry == {"path": "a.jsonl", "columns": {"output": "reply"}}
    two = one.with_patch(patch_of([entry, {"path": "b.csv", "weight": 2.0}]))
    assert two.raw()["dataset"] == {"sources": [entry, {"path": "b.csv", "weight": 2.0}]}
    assert is_mixture(two)
    again = two.with_patch(patch_of(entries(two)[:1]))
    assert again.raw() == one.raw()
    assert not is_mixture(again)


def test_none_left_is_a_draft_without_data() -> None:
    draft = Draft().with_patch(patch_of([{"path": "a"}, {"path": "b"}])).with_patch(patch_of([]))
    assert entries(draft) == [{}]
    assert draft.raw()["dataset"] == {}


def test_a_default_is_left_out() -> None:
    entry = {"path": "a", "weight": 2.0, "format": "alpaca"}
    assert changed(entry, "weight", 1.0) == {"path": "a", "format": "alpaca"}
    assert changed(entry, "format", "auto") == {"path": "a", "weight": 2.0}
    assert changed(entry, "path", None) == {"weight": 2.0, "format": "alpaca"}


def test_what_makes_no_sense_stays_and_is_asked_for_as_usual() -> None:
    draft = Draft(values={"dataset.sources": ["nonsense", {"path": 3, "format": "unheard-of"}]})
    nothing, wrong = entries(draft)
    assert nothing == {}
    assert key_of(wrong) == key_of(nothing)


@pytest.mark.parametrize(
    ("entry", "facts", "rows"),
    [
        ({}, {"row_count": 10}, (10, 10, True)),
        ({"weight": 2.5}, {"row_count": 10}, (25, 10, True)),
        ({"skip_samples": 4, "max_samples": 5, "weight": 2.0}, {"row_count": 10}, (10, 5, True)),
        ({"skip_samples": 40}, {"row_count": 10}, (0, 0, True)),
        ({"weight": "much"}, {"row_estimate": 10}, (10, 10, False)),
        ({"weight": float("inf")}, {"row_count": 10}, (10, 10, True)),
        ({"weight": float("nan")}, {"row_count": 10}, (10, 10, True)),
        ({}, {}, (None, None, False)),
    ],
)
def test_rows_of_an_epoch(
    entry: dict[str, Any], facts: dict[str, Any], rows: tuple[int | None, int | None, bool]
) -> None:
    assert rows_of([entry], [facts]) == rows
    if rows[0] is not None and rows[1] is not None:
        both = rows_of([entry, {}], [facts, {"row_count": 7}])
        assert both == (rows[0] + 7, rows[1] + 7, rows[2])


def test_a_dataset_of_a_weight_stays_a_list_when_it_is_the_only_one() -> None:
    draft = Draft().with_patch(patch_of([{"path": "a", "weight": 3.0}, {"path": "b"}]))
    alone = draft.with_patch(patch_of(entries(draft)[:1]))
    assert alone.raw()["dataset"] == {"sources": [{"path": "a", "weight": 3.0}]}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("dataset.sources[2].path", "Data of dataset 2"),
        ("dataset.sources[12].max_samples", "Most rows used of dataset 12"),
        ("dataset.sources[2].columns.foo", "Foo of dataset 2"),
        ("dataset.max_samples", "Most rows used"),
    ],
)
def test_settings_of_one_of_several_say_so(path: str, words: str) -> None:
    assert label(path) == words


def test_what_is_said_twice_can_be_mended_by_a_click() -> None:
    raw = {
        "name": "x", "model": {"path": "m"},
        "dataset": {"path": "a", "format": "alpaca", "sources": [{"path": "b"}, {"path": "c"}]},
    }  # fmt: skip
    draft = Draft.from_raw(raw)
    _, complaints = check(draft.raw())
    for complaint in complaints:
        draft = draft.with_patch(complaint.patch)
    assert check(draft.raw())[1] == []


def test_its_name_says_how_many_there_are() -> None:
    draft = Draft().with_patch({"model.path": "m", **patch_of([{"path": "/x/a.json"}] * 3)})
    assert draft.suggested_name() == "m · a and 2 more"
    draft = draft.with_patch({"model.path": "n" * 90})
    assert draft.suggested_name().endswith(" and 2 more")
    assert len(draft.suggested_name()) == 80


# ---------------------------------------------------------------- the page


def _drop(page: NewRunPage, *paths: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    page.dropEvent(
        QDropEvent(
            QPointF(40, 40), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip


def _dropped(page: NewRunPage, qtbot: QtBot, folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.write_text('{"instruction": "a", "output": "b"}\n')
    _drop(page, *paths)
    qtbot.waitUntil(lambda: page.data.chosen.rows.learnt is not None)
    return paths


def _sources(page: NewRunPage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.form.draft.raw()["dataset"]["sources"]
    return found


def test_two_files_that_are_dropped_are_learnt_from_together(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    page.model.choose("mistralai/Mistral-7B-v0.3")
    a, b = _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    assert page.data.mixture.isVisible()
    assert [name.text() for name in page.data.mixture.names] == ["a.jsonl", "b.jsonl"]
    page.data.mixture.weights[1].setValue(2.0)
    assert _sources(page) == [{"path": str(a)}, {"path": str(b), "weight": 2.0}]
    assert page.data.chosen.rows == (3000, 2000, True)
    page.header.start.click()
    qtbot.waitUntil(lambda: bool(host.asked(Start)))
    assert host.asked(Start)[0].spec["dataset"]["sources"][1]["weight"] == 2.0


def test_each_has_a_format_and_columns_of_its_own(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    page.data.mixture.names[1].click()
    assert page.data.path.control.text().endswith("b.jsonl")  # type: ignore[attr-defined]
    page.data.format.edited.emit("dataset.format", "sharegpt")
    qtbot.waitUntil(lambda: host.asked(PreviewDataset)[-1].format == "sharegpt")
    page.data.view.mapped.emit({"output": "reply"})
    assert [each.get("format") for each in _sources(page)] == [None, "sharegpt"]
    assert [each.get("columns") for each in _sources(page)] == [None, {"output": "reply"}]
    page.data.mixture.names[0].click()
    assert page.data.format.control.currentData() == "auto"  # type: ignore[attr-defined]


def test_the_last_but_one_that_goes_leaves_one_file_and_comes_back(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    a, b = _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    page.data.mixture.removers[0].click()
    assert page.form.draft.raw()["dataset"] == {"path": str(b)}
    assert not page.data.mixture.isVisible()
    page.form.undo()
    assert [each["path"] for each in _sources(page)] == [str(a), str(b)]
    assert page.data.mixture.isVisible()


def test_one_more_file_is_added_to_a_mixture_and_takes_the_place_of_one(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    a, b = _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    (c,) = _dropped(page, qtbot, tmp_path, "c.jsonl")
    assert [each["path"] for each in _sources(page)] == [str(a), str(b), str(c)]
    page.data.mixture.weights[2].setValue(3.0)
    page.data.chosen.choose("d.jsonl")
    assert _sources(page)[2] == {"path": "d.jsonl", "weight": 3.0}
    page.form.restore(Draft())
    _dropped(page, qtbot, tmp_path, "a.jsonl")
    _dropped(page, qtbot, tmp_path, "b.jsonl")
    assert page.form.draft.raw()["dataset"] == {"path": str(b)}


def test_what_is_wrong_with_one_is_told_beside_it(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    page.data.mixture.names[1].click()
    host.replies["preview_dataset"] = Refusal(
        to=0, sentence="No.", complaints=[Complaint(field="dataset.path", problem="It is empty.")]
    )
    page.data.path.edited.emit("dataset.path", str(tmp_path / "c.jsonl"))
    qtbot.waitUntil(lambda: page.data.path.problem == "It is empty.")
    (complaint,) = [c for c in page.form.complaints if c.field != "model.path"]
    assert complaint.field == "dataset.sources[2].path"
    page.data.mixture.names[0].click()
    assert page.data.path.problem == ""
    page.go_to("dataset.sources[2].path")
    assert page.data.path.problem == "It is empty."
    assert page.data.path.control.hasFocus()


def test_one_of_several_that_cannot_be_read_is_named_and_asked_about_once(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    host.replies["preview_dataset"] = Refusal(to=0, sentence="Nobody can read this.")
    _drop(page, tmp_path / "a.bin", tmp_path / "b.bin")
    qtbot.waitUntil(lambda: len(page.form.complaints) == 3)
    assert {c.field for c in page.form.complaints} == {
        "model.path", "dataset.sources[1].path", "dataset.sources[2].path"
    }  # fmt: skip
    page.form.set_value("training.max_length", 512)
    page.data.mixture.weights[0].setValue(2.0)
    assert page.form.apply({"training.per_device_train_batch_size": 1})
    qtbot.wait(600)
    assert len(host.asked(PreviewDataset)) == 2
    # Whatever else is changed, it stands.
    assert len(page.form.complaints) == 3
    assert page.data.mixture._said[1].text() == "cannot be read"
    # What goes takes its blame with it.
    page.data.mixture.removers[0].click()
    assert {c.field for c in page.form.complaints} == {"model.path", "dataset.path"}


def test_a_host_that_takes_its_time_is_asked_once(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    host.mute.add("preview_dataset")
    _drop(page, tmp_path / "a.gz", tmp_path / "b.gz")
    qtbot.waitUntil(lambda: len(host.asked(PreviewDataset)) == 2)
    for length in (128, 256, 512):
        page.form.set_value("training.max_length", length)
        qtbot.wait(300)
    assert len(host.asked(PreviewDataset)) == 2
    assert page.data.aside.text() == "looking at it …"
    page.data.mixture.names[1].click()
    assert page.data.aside.text() == "looking at it …"


def test_a_weight_can_be_read(page: NewRunPage, qtbot: QtBot, tmp_path: Path) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    line = page.data.mixture.weights[0].lineEdit()
    option = QStyleOptionFrame()
    line.initStyleOption(option)
    room = line.style().subElementRect(QStyle.SubElement.SE_LineEditContents, option, line)
    assert room.height() >= line.fontMetrics().height()


def test_each_weight_is_a_step_to_undo(page: NewRunPage, qtbot: QtBot, tmp_path: Path) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl")
    a, b = page.data.mixture.weights
    a.setValue(2.0)
    b.setValue(3.0)
    b.setFocus()
    page.form.undo()
    assert [each.get("weight") for each in _sources(page)] == [2.0, None]
    assert (a.value(), b.value()) == (2.0, 1.0)


def test_columns_of_a_dataset_that_is_not_shown_cannot_be_mapped(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    unknown = {**PREVIEW, "format": "unknown", "columns": ["ask", "reply"], "examples": []}
    host.replies["preview_dataset"] = unknown
    page.data.chosen.choose(str(tmp_path / "a.jsonl"))
    qtbot.waitUntil(page.data.view.columns.isVisible)
    host.replies["preview_dataset"] = Refusal(to=0, sentence="Nobody can read this.")
    page.data.chosen.add([str(tmp_path / "b.bin")])
    assert not page.data.view.columns.isVisible()


def test_what_was_said_of_another_file_does_not_stay(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl")
    page.form.set_value("dataset.fixes", ["drop_empty"])
    _dropped(page, qtbot, tmp_path, "b.jsonl", "c.jsonl")
    assert "fixes" not in page.form.draft.raw()["dataset"]


def test_limits_are_told_and_namesakes_told_apart(
    page: NewRunPage, qtbot: QtBot, tmp_path: Path
) -> None:
    for folder in ("Q&A", "b"):
        (tmp_path / folder).mkdir()
    _dropped(page, qtbot, tmp_path, "Q&A/train.jsonl", "b/train.jsonl")
    found = _sources(page)
    page.form.set_value("dataset.sources", [{**found[0], "max_samples": 400}, found[1]])
    assert [name.text() for name in page.data.mixture.names] == [
        "Q&&A/train.jsonl",
        "b/train.jsonl",
    ]
    assert page.data.mixture._said[0].text().endswith("at most 400")
    assert page.data.chosen.rows == (1400, 1400, True)
    page.settings.show_all()
    assert not page.settings.editors["dataset.max_samples"].isEnabled()


def test_a_dataset_that_is_not_shown_is_looked_at_too(
    page: NewRunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    _dropped(page, qtbot, tmp_path, "a.jsonl", "b.jsonl", "c.jsonl")
    assert len(host.asked(PreviewDataset)) == 3
    page.data.mixture.names[2].click()
    assert page.data.facts
    assert len(host.asked(PreviewDataset)) == 3
