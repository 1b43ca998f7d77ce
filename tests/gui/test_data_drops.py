"""The Data page: what is dropped on it, once, again and in masses, and answers that come late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.endpoint import Place
from app.link import HostLink
from app.pages.data import DataPage
from app.pages.data.first_look import MOST
from app.pages.data.rows_card import RowsCard
from engine.contract.messages import (
    Complaint,
    Inspect,
    Inspected,
    PreviewDataset,
    Refusal,
    Reply,
)
from engine.formats import preview
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme
from tests.gui.test_data_page import NAME, REPORT, asked, look, page, texts
from tests.gui.test_data_rows import dropped, written
from tests.gui.test_data_templates import choose

__all__ = ["host", "link", "page", "theme"]

FACTS: dict[str, Any] = {
    "format": "alpaca", "confidence": 1.0, "rows": [{"instruction": "a"}] * 5, "row_count": 5,
}  # fmt: skip


def answer(host: HostDouble, facts: dict[str, Any]) -> None:
    """The previews that were kept waiting so far have come."""
    for request in asked(host, PreviewDataset):
        host.send(Reply(to=request.id, data=facts))


def reported(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)


# ---------------------------------------------------------------- many


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows whenever the first rows are written anew."""
    found: list[int] = []
    write = RowsCard._write

    def counting(card: RowsCard) -> None:
        found.append(1)
        write(card)

    monkeypatch.setattr(RowsCard, "_write", counting)
    return found


def test_of_many_files_the_first_are_shown(
    page: DataPage, host: HostDouble, qtbot: QtBot, writes: list[int]
) -> None:
    host.replies["preview_dataset"] = FACTS
    dropped(page, *(f"/data/{number}.jsonl" for number in range(200)))
    view = page.first.card.view
    qtbot.waitUntil(lambda: f"{MOST - 1}.jsonl" in view.toPlainText())
    assert view.toPlainText().endswith("and 180 more datasets")
    assert f"\n{MOST}.jsonl" not in view.toPlainText()
    assert len(asked(host, PreviewDataset)) == MOST, "of the others nothing is shown"
    assert len(writes) < MOST / 2
    assert page.title.text() == "0.jsonl and 199 more"


def test_answers_that_come_one_by_one_are_gathered(
    page: DataPage, host: HostDouble, qtbot: QtBot, writes: list[int]
) -> None:
    host.mute.add("preview_dataset")
    dropped(page, *(f"/data/{number}.jsonl" for number in range(4)))
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 4)
    writes.clear()
    for request in asked(host, PreviewDataset):
        host.send(Reply(to=request.id, data=FACTS))
        qtbot.wait(5)
    qtbot.waitUntil(lambda: page.first.card.view.toPlainText().count("Row 1") == 4)
    assert len(writes) < 4


def test_few_files_are_read_at_the_same_time(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.mute.add("preview_dataset")
    dropped(page, *(f"/data/{number}.jsonl" for number in range(10)))
    qtbot.waitUntil(lambda: bool(asked(host, PreviewDataset)))
    qtbot.wait(50)
    assert len(asked(host, PreviewDataset)) == 4
    host.send(Reply(to=asked(host, PreviewDataset)[0].id, data=FACTS))
    host.send(Refusal(to=asked(host, PreviewDataset)[1].id, sentence="No."))
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 6)
    # What is of no interest any more keeps nobody waiting.
    page.source.take("/data/other.jsonl")
    qtbot.waitUntil(lambda: asked(host, PreviewDataset)[-1].path == "/data/other.jsonl")


# ---------------------------------------------------------------- dropped again, or with a model


def test_what_is_among_several_is_not_added_again(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    page.source.model.setText("some/model")
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    assert not page.notice.isVisible()
    dropped(page, "/data/b.jsonl", "/data/c.jsonl", "/data/c.jsonl")
    assert page.notice.text.text().startswith("b.jsonl is among these datasets already")
    sources = [{"path": f"/data/{name}.jsonl"} for name in "abc"]
    assert page.subject.wanted.get("dataset.sources") == sources
    dropped(page, *(f"/data/{name}.jsonl" for name in "abc"), "/data/d.jsonl")
    assert page.notice.text.text().startswith("a.jsonl, b.jsonl, c.jsonl are among")
    assert len(page.subject.wanted.get("dataset.sources")) == 4


def test_a_model_and_a_file_dropped_together_are_looked_at_once(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    reported(page, host, qtbot)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    dropped(page, model, "/data/new.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    qtbot.wait(30)
    (spec,) = [request.spec for request in asked(host, Inspect)[1:]]
    assert spec["dataset"] == {"path": "/data/new.jsonl"}
    assert spec["model"]["path"] == str(model)
    dropped(page, model)
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)


def test_where_no_files_are_shared_a_drop_is_refused_in_a_sentence(
    page: DataPage, host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    link.place = Place(kind="ssh", name="box")
    dropped(page, "/data/a.jsonl")
    assert page.notice.isVisible()
    assert page.notice.text.text().startswith("The engine is on box, over SSH, and reads no files")
    assert page.source.path.text() == ""
    qtbot.wait(30)
    assert asked(host, PreviewDataset) == []


# ---------------------------------------------------------------- settings go with what is there


def test_a_format_is_chosen_once_there_is_a_file(page: DataPage) -> None:
    box = page.source.format
    assert not box.isEnabled()
    assert "Choose a file first" in box.toolTip()
    page.source.path.setText("/data/a.jsonl")
    assert box.isEnabled()
    assert "file first" not in box.toolTip()
    # Chosen for a path that was not looked at yet, it holds.
    choose(box, "alpaca")
    assert page.subject.wanted.get("dataset.format") == "alpaca"
    assert box.currentData() == "alpaca"
    page.source.path.clear()
    assert not box.isEnabled()


def test_a_template_goes_with_the_file_that_is_filled_in(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    page.source.model.clear()
    dropped(page, "/data/b.jsonl")
    choose(page.templates.bar.template, "chatml")
    choose(page.templates.bar.loss, "last_answer")
    assert page.subject.wanted.get("dataset.path") == "/data/b.jsonl"
    assert page.templates.bar.template.currentData() == "chatml"
    qtbot.wait(30)
    assert len(asked(host, Inspect)) == 1, "there is no model"
    page.source.model.setText("some/model")
    page.source.look.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"] == {
        "path": "/data/b.jsonl", "chat_template": "chatml", "loss_on": "last_answer",
    }  # fmt: skip


def test_after_a_file_was_refused_a_template_goes_with_it(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    look(page, host, qtbot, "/data/b.jsonl")
    told = Complaint(field="dataset.path", problem="Line 3 is broken.", remedy="Mend it.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    choose(page.templates.bar.template, "chatml")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    dataset = asked(host, Inspect)[2].spec["dataset"]
    assert dataset == {"path": "/data/b.jsonl", "chat_template": "chatml"}


def test_without_data_a_template_is_kept_for_it(page: DataPage) -> None:
    choose(page.templates.bar.template, "chatml")
    assert page.templates.bar.template.currentData() == "chatml"
    dropped(page, "/data/a.jsonl")
    assert page.subject.wanted.get("dataset.chat_template") == "chatml"


# ---------------------------------------------------------------- late answers


def test_rows_that_come_after_stop_are_shown(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.mute.add("preview_dataset")
    look(page, host, qtbot)
    page.stop.click()
    answer(host, FACTS)
    qtbot.waitUntil(page.first.card.isVisible)
    assert page.state.headline.text() == "Stopped"
    assert page.chip.isVisible()
    assert not page.use.isVisible()


def test_rows_that_come_after_the_host_was_lost_are_shown(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.mute.add("preview_dataset")
    look(page, host, qtbot)
    host.drop()
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    host.mute.clear()
    host.replies["preview_dataset"] = FACTS
    qtbot.waitUntil(page.first.card.isVisible)
    assert page.state.headline.text() == "This cannot be looked at"


def test_what_is_said_to_be_usable_stays_so_when_rows_come(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.mute.add("preview_dataset")
    page.source.model.setText("some/model")
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    told = Complaint(field="dataset.sources[1].format", problem="Hm.", remedy="Choose a format.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(page.use.isVisible)
    answer(host, FACTS)
    qtbot.waitUntil(page.first.card.isVisible)
    assert page.use.isVisible()
    assert "Hm. Choose a format." in texts(page.state)


def test_a_complaint_about_one_file_is_not_said_of_the_next(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    told = Complaint(field="dataset.path", problem="Line 3 is broken.", remedy="Mend it.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(lambda: "Line 3 is broken." in texts(page.state))
    host.replies["preview_dataset"] = FACTS
    page.source.model.clear()
    dropped(page, "/data/b.jsonl")
    qtbot.waitUntil(page.first.card.isVisible)
    assert page.state.headline.text() == "Choose a model to see every token"
    assert "Line 3" not in texts(page.state)


def test_columns_are_asked_for_by_what_is_known_already(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = written(tmp_path, {"Frage": "Wo?", "Antwort": "Hier."})
    host.replies["preview_dataset"] = preview(path)
    dropped(page, path)
    qtbot.waitUntil(page.state.columns.isVisible)
    qtbot.wait(30)
    assert len(asked(host, PreviewDataset)) == 1
    # A name that is not there is forgotten: which columns there are is asked without it.
    gone = Complaint(field="dataset.columns", problem="No `Fage`.", remedy="Name another.")
    host.replies["preview_dataset"] = Refusal(to=0, sentence="No.", complaints=[gone])
    draft = page.subject.wanted.with_patch(
        {"dataset.columns": {"instruction": "Fage"}, "dataset.roles": {"user": "ich"}}
    )
    page._look_at(draft)
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 3)
    last = asked(host, PreviewDataset)[-1]
    assert (last.columns, last.roles) == ({}, {"user": "ich"})
