"""The Data page: what is asked, what is shown, and what can be done about it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app import data_words, sample_words, words
from app.form import Draft
from app.link import HostLink
from app.pages.data import DataPage, state_card
from app.pages.data.standing import Standing
from app.preferences import Preferences
from app.theme import Theme
from engine.contract.dataset_report import (
    COMPARED,
    QUEUED,
    ROWS,
    DatasetReport,
    Packing,
    RowFinding,
)
from engine.contract.messages import (
    Complaint,
    Inspect,
    Inspected,
    PreviewDataset,
    Progress,
    Refusal,
    ShowSamples,
    StopInspection,
)
from engine.contract.row_places import FileRows
from engine.contract.spec import DatasetSpec
from engine.formats import DatasetError, preview
from engine.formats.reading import open_dataset
from engine.store.encoded_view import Sample, Token
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, opened, theme

__all__ = ["host", "link", "theme"]

NAME = "inspection-1"
REPORT = DatasetReport(
    data="abc123", method="sft", format="sharegpt", rows=300, samples=298, train=283, held_back=15,
    max_length=6, tokens=196_326, trained_tokens=98_163, longest=6359, shortest=250, median=666,
    cut=97, cut_answers=97, duplicates=35, edges=[0, 100, 200], counts=[100, 198],
    padded=Packing(steps=36, computed=1000, waste=0.183),
    packed=Packing(steps=25, computed=500, waste=0.026),
    picks={"longest": [7, 8, 9], "shortest": [1], "most_cut": [7], "untaught": []},
    findings=[
        RowFinding(
            code="cut", severity="warning", title="97 rows lose their end (32.3%).",
            cause="They are longer than 6 tokens.", remedy="With max_length = 64 it would be 2.",
            row_count=97, rows=[4, 6], patch={"training.max_length": 64},
            instead={"dataset.fixes": ["drop_overlong"]}, instead_action="Leave out, not cut",
        ),
        RowFinding(code="duplicates", severity="info", title="35 rows are the same.", rows=[9]),
    ],
)  # fmt: skip
SAMPLE = Sample(
    row=51, place=50, length=7, targets=2, text="Say hi. Well then",
    tokens=[
        Token(0, 0, 1, False), Token(0, 3, 10, False), Token(3, 7, 11, False),
        Token(7, 12, 12, True), Token(12, 15, 13, True), Token(12, 15, 14, True),
        Token(15, 17, 15, True),
    ],
    names={1: "<s>"}, raw='{"instruction": "Say hi."}',
)  # fmt: skip


@pytest.fixture
def page(host: HostDouble, link: HostLink, theme: Theme, qtbot: QtBot) -> DataPage:
    host.replies["inspect"] = {"inspection": NAME}
    host.replies["show_samples"] = {"samples": [msgspec.to_builtins(SAMPLE)]}
    made = DataPage(link, Preferences(), theme)
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    opened(link, qtbot)
    return made


def asked(host: HostDouble, kind: type[Any]) -> list[Any]:
    return [request for request in host.requests if isinstance(request, kind)]


def filled(path: str, model: str = "some/model") -> Draft:
    return Draft(values={"dataset.path": path, "model.path": model})


def look(page: DataPage, host: HostDouble, qtbot: QtBot, path: str = "/data/chats.jsonl") -> None:
    page.source.fill(filled(path))
    page.source.look.click()
    qtbot.waitUntil(lambda: bool(page.inspector._name))


def reported(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.samples.sample is not None)


def refused_for_its_columns(page: DataPage, host: HostDouble, qtbot: QtBot, folder: Path) -> Path:
    """A file is looked at whose columns nobody knows; the lists for them are there."""
    path = folder / "frage.jsonl"
    path.write_text('{"Frage": "Wo?", "Antwort": "Hier."}\n' * 2)
    host.replies["preview_dataset"] = preview(path)
    with pytest.raises(DatasetError) as refused:
        open_dataset(DatasetSpec(path=str(path)), "sft")
    look(page, host, qtbot, str(path))
    host.send(Inspected(run=NAME, complaint=refused.value.complaint))
    qtbot.waitUntil(page.state.columns.isVisible)
    return path


def texts(widget: QWidget) -> str:
    return " ".join(found.text() for found in widget.findChildren(QLabel) if found.isVisible())


# ---------------------------------------------------------------- asking


def test_an_empty_page_says_what_it_is_for(page: DataPage, host: HostDouble) -> None:
    assert "every token" in texts(page)
    assert not page.use.isVisible()
    page.source.look.click()
    assert page.source.path.hasFocus()
    page.source.path.setText("/data/x.json")
    page.source.look.click()
    assert page.source.model.hasFocus()
    assert asked(host, Inspect) == []


def test_the_spec_of_a_run_in_the_making_is_asked_for_as_it_is(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    draft = Draft(
        values={
            "model.path": "some/model", "dataset.path": "/data/chats.jsonl",
            "training.max_length": 77, "training.packing": True,
        }
    )  # fmt: skip
    page.show_draft(draft)
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    spec = asked(host, Inspect)[0].spec
    assert spec["dataset"] == {"path": "/data/chats.jsonl"}
    assert spec["training"] == {"max_length": 77, "packing": True}
    assert page.source.model.text() == "some/model"


def test_a_file_that_is_refused_has_its_own_name_and_a_way_on(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    reported(page, host, qtbot)
    assert page.title.text() == "chats.jsonl"
    path = refused_for_its_columns(page, host, qtbot, tmp_path)
    columns = page.state.columns
    assert page.state.text.text().endswith("`Frage`, `Antwort`."), "the lists say the rest"
    assert page.title.text() == "frage.jsonl"
    # One list alone is no way to read the rows yet.
    question, answer = columns.lists["Frage"], columns.lists["Antwort"]
    before = len(asked(host, Inspect))
    question.setCurrentIndex(question.findData("instruction"))
    qtbot.waitUntil(lambda: asked(host, PreviewDataset)[-1].columns == {"instruction": "Frage"})
    assert len(asked(host, Inspect)) == before
    wanted = {"instruction": "Frage", "output": "Antwort"}
    host.replies["preview_dataset"] = preview(path, columns=wanted)
    answer.setCurrentIndex(answer.findData("output"))
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) > before)
    assert asked(host, Inspect)[-1].spec["dataset"] == {"path": str(path), "columns": wanted}
    assert not columns.isVisible(), "it is looked at"


def test_columns_of_one_file_are_not_those_of_the_next(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    path = refused_for_its_columns(page, host, qtbot, tmp_path)
    columns = {"instruction": "Frage", "output": "Antwort"}
    host.replies["preview_dataset"] = preview(path, columns=columns)
    page.state.columns.take.click()
    # Before the answer is there, another file is looked at.
    look(page, host, qtbot, "/data/other.jsonl")
    qtbot.waitUntil(lambda: any(r.columns == columns for r in asked(host, PreviewDataset)))
    qtbot.wait(50)
    assert [request.spec["dataset"] for request in asked(host, Inspect)] == [
        {"path": str(path)}, {"path": "/data/other.jsonl"},
    ]  # fmt: skip


def test_progress_is_shown_with_what_is_left(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    assert page.state.bar.isVisible()
    for done in (300, 500):
        host.send(Progress(run=NAME, phase="tokenising", done=done, total=2000, unit="rows"))
    qtbot.waitUntil(lambda: "500 of about 2" in page.state.text.text())
    assert "left" in page.state.text.text()
    assert (page.state.bar.value(), page.state.bar.maximum()) == (500, 2000)
    host.send(Progress(run=NAME, phase="tokenising", done=300, total=2000, unit=COMPARED))
    qtbot.waitUntil(lambda: page.state.text.text().startswith("Comparing rows: 300 of 2"))
    assert page.state.bar.value() == 300
    host.send(Progress(run=NAME, phase="tokenising", done=500, total=2000, unit=COMPARED))
    qtbot.waitUntil(lambda: "left" in page.state.text.text())
    host.send(Progress(run="another", phase="tokenising", done=1, total=2))
    qtbot.wait(30)
    assert page.state.bar.value() == 500
    page.stop.click()
    qtbot.waitUntil(lambda: bool(asked(host, StopInspection)))
    assert not page.state.bar.isVisible()
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.wait(30)
    assert page.report is None


def test_a_rate_is_told_once_some_time_has_passed(
    page: DataPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(state_card, "time", SimpleNamespace(monotonic=lambda: now))

    def told(done: int, total: int, unit: str) -> str:
        page.state.advance(done, total, unit)
        return " ".join(page.state.text.text().split())

    page.state.show_standing(Standing("Looking at rows.jsonl"), busy=True)
    assert told(0, 0, QUEUED) == "Waits until another dataset has been looked over."
    assert page.state.bar.maximum() == 0
    now = 103.0
    assert told(512, 5000, ROWS) == "Making tokens: 512 of about 5 000 rows"
    now = 105.0
    assert told(1512, 5000, ROWS) == (
        "Making tokens: 1 512 of about 5 000 rows · 500 rows/s · 7 s left"
    )
    # Another unit has a rate of its own, and some of it is done when it is first told.
    assert told(4096, 500_000, COMPARED) == "Comparing rows: 4 096 of 500 000 rows"
    now = 106.0
    assert told(24_096, 500_000, COMPARED) == (
        "Comparing rows: 24 096 of 500 000 rows · 20 000 rows/s · 24 s left"
    )
    page.state.show_standing(Standing("Looking at rows.jsonl"), busy=True)
    assert told(2300, 2300, COMPARED) == "Comparing rows: 2 300 of 2 300 rows"


def test_a_dropped_file_is_looked_at(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    page.source.model.setText("some/model")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile("/data/rows.csv")])
    page.dropEvent(
        QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    assert asked(host, Inspect)[0].spec["dataset"]["path"] == "/data/rows.csv"


def test_a_model_folder_dropped_is_the_model(page: DataPage, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    page.dropEvent(
        QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    assert page.source.model.text() == str(tmp_path)


# ---------------------------------------------------------------- trouble


def test_what_is_wrong_with_the_data_is_told(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    complaint = Complaint(field="dataset.path", problem="Line 3 is broken.", remedy="Mend it.")
    host.replies["inspect"] = Refusal(to=0, sentence="No.", complaints=[complaint])
    page.source.fill(filled("/data/x.jsonl"))
    page.source.look.click()
    qtbot.waitUntil(lambda: "Line 3 is broken. Mend it." in texts(page))
    assert not page.state.bar.isVisible()


def test_a_worker_that_cannot_is_told(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    complaint = Complaint(field="dataset.path", problem="RAM ran out.", remedy="Try again.")
    host.send(Inspected(run=NAME, complaint=complaint))
    qtbot.waitUntil(lambda: "RAM ran out. Try again." in texts(page))


def test_a_lost_connection_ends_it(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    host.drop()
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    assert not page.state.bar.isVisible()


def test_tokens_that_are_gone_are_made_again(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    host.replies["show_samples"] = Refusal(to=0, sentence="Gone.", code="not_found")
    page.samples.after.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)


# ---------------------------------------------------------------- what is shown


def test_the_numbers_and_findings_are_shown(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    shown = texts(page)
    for part in ("chats.jsonl", "298", "15 held back", "50 % trained on", "97 rows lose their end"):
        assert part in shown.replace("\N{NO-BREAK SPACE}", " "), part
    assert page.title.text() == "chats.jsonl"
    assert page.chip.text() == "ShareGPT"
    assert "35 rows are the same." in texts(page.findings)


def test_copies_that_are_held_back_are_told_beside_those_that_are_near() -> None:
    near = msgspec.structs.replace(REPORT, duplicates=0, near_duplicates=80, duplicates_across=6)
    assert data_words.tiles_of(near)[5].small == "80 near, 6 held back"
    exact = msgspec.structs.replace(REPORT, duplicates_across=6)
    assert data_words.tiles_of(exact)[5].small == "6 held back"


def test_without_padding_the_steps_are_told() -> None:
    padded = data_words.tiles_of(REPORT)[4]
    assert (padded.label, padded.number) == ("Waste, padded (as set)", f"18.3{words.SPACE}%")
    none = Packing(steps=36, computed=500, waste=0.0)
    in_line = msgspec.structs.replace(REPORT, padded=none, in_line=True)
    told = data_words.tiles_of(in_line)[4]
    assert (told.label, told.number, told.small) == (
        "Steps, unpacked (as set)",
        "36",
        "if packed 25",
    )


def test_of_padding_and_packing_that_which_the_run_uses_is_marked(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=msgspec.structs.replace(REPORT, is_packed=True)))
    qtbot.waitUntil(lambda: page.report is not None)
    shown = texts(page.tiles)
    assert "Waste, packed (as set)" in shown
    assert f"if padded 18.3{words.SPACE}%" in shown
    tip = page.tiles.tiles[4].toolTip()
    assert "As the run is set, packed: 2.6" in tip
    assert "If padded: 18.3" in tip


def test_no_findings_are_good_news(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=msgspec.structs.replace(REPORT, findings=[])))
    qtbot.waitUntil(lambda: "Nothing odd was found." in texts(page.findings))


def test_every_token_is_shown_in_its_colour(
    page: DataPage, host: HostDouble, qtbot: QtBot, theme: Theme
) -> None:
    reported(page, host, qtbot)
    view = page.samples.view
    assert view.toPlainText() == "<s>Say hi. Well then"
    cursor = view.textCursor()
    looks = []
    for at in (5, 11, 18):
        cursor.setPosition(at)
        look = cursor.charFormat()
        looks.append((look.foreground().color().name(), look.fontStrikeOut()))
    tokens = theme.tokens
    assert looks == [(tokens.muted, False), (tokens.good, False), (tokens.good, False)]
    cursor.setPosition(20)
    assert cursor.charFormat().fontStrikeOut()
    assert cursor.charFormat().foreground().color().name() == tokens.faint
    theme.choose("light")
    cursor = view.textCursor()
    cursor.setPosition(11)
    assert cursor.charFormat().foreground().color().name() == theme.tokens.good != tokens.good


def test_a_token_below_the_mouse_tells_its_id(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    view = page.samples.view
    cursor = view.textCursor()
    for at, number in ((1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (11, 3)):
        cursor.setPosition(at)
        left = view.cursorRect(cursor).center()
        for across in (1, 3, 6):  # A letter is 7 wide.
            assert view.token_at(left + QPoint(across, 0)) == number, (at, across)
    assert sample_words.token_tip(SAMPLE, 0, 6) == "Token 1: id 1 <s>, read, not trained on"
    assert sample_words.token_tip(SAMPLE, 3, 6) == "Token 4: id 12, trained on"
    assert sample_words.token_tip(SAMPLE, 6, 6) == "Token 7: id 15, cut off"
    assert sample_words.token_tip(SAMPLE, 6, None) == "Token 7: id 15, trained on"


def test_samples_are_gone_through(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    host.requests.clear()
    page.samples.picks["longest"].click()
    for _ in range(3):
        page.samples.after.click()
    page.samples.before.click()
    qtbot.waitUntil(lambda: len(asked(host, ShowSamples)) == 5)
    assert [request.places for request in asked(host, ShowSamples)] == [[7], [8], [9], [7], [9]]
    assert not page.samples.picks["untaught"].isEnabled()
    qtbot.waitUntil(lambda: page.samples.where.text().startswith("3 of 3 · row 52 of 300"))


def test_a_row_that_is_no_sample_says_why(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    host.replies["show_samples"] = {"samples": [], "reason": "Row 5 is left out: it is empty."}
    button_of(page, "Show rows").click()
    qtbot.waitUntil(lambda: page.samples.view.toPlainText() == "Row 5 is left out: it is empty.")
    host.replies["show_samples"] = Refusal(to=0, sentence="Too large.")
    page.samples.after.click()
    qtbot.waitUntil(lambda: page.samples.view.toPlainText() == "Too large.")
    assert page.tiles.isVisible()


def test_held_back_and_left_out_are_told(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    report = msgspec.structs.replace(REPORT, held_border=("aa", 50))
    for hash, place, told in (("aa", 50, True), ("a0", 99, True), ("aa", 51, False)):
        sample = msgspec.structs.replace(SAMPLE, hash=hash, place=place)
        assert ("held back" in sample_words.place_of(sample, report)) == told
    idle = msgspec.structs.replace(SAMPLE, targets=0)
    assert sample_words.place_of(idle, REPORT).endswith("left out")


def test_words_and_rows_are_searched_for(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    host.requests.clear()
    search = page.samples.search
    qtbot.keyClicks(search, "#12")
    qtbot.keyClick(search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(asked(host, ShowSamples)))
    assert asked(host, ShowSamples)[0].row == 11
    host.replies["show_samples"] = {"places": []}
    search.setText("no such words")
    qtbot.keyClick(search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: page.samples.where.text() == "Nothing has these words")
    assert asked(host, ShowSamples)[1].search == "no such words"
    skipped = [FileRows(name="chats.jsonl", first=0, number=101)]
    page.show_report(msgspec.structs.replace(REPORT, files=skipped))
    host.requests.clear()
    search.setText("#5")
    qtbot.keyClick(search, Qt.Key.Key_Return)
    told = "There is no row 5: of chats.jsonl the rows 101 to 400 are read."
    assert page.samples.view.toPlainText() == told
    qtbot.wait(30)
    assert [request.row for request in asked(host, ShowSamples)] == [None], "but the random one"


def test_the_raw_row_stands_beside_it(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    assert not page.samples.raw.isVisible()
    page.samples.raw_button.click()
    assert page.samples.raw.isVisible()
    assert page.samples.raw.toPlainText() == SAMPLE.raw


def test_a_long_sample_is_shown_in_parts(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    assert not page.samples.more.isVisible()
    page.samples.show_sample(msgspec.structs.replace(SAMPLE, length=9000))
    host.requests.clear()
    page.samples.more.click()
    qtbot.waitUntil(lambda: bool(asked(host, ShowSamples)))
    assert (asked(host, ShowSamples)[0].places, asked(host, ShowSamples)[0].first_token) == (
        [50], 4000,
    )  # fmt: skip


# ---------------------------------------------------------------- what can be done


def button_of(page: DataPage, text: str) -> QPushButton:
    (found,) = [
        each for each in page.findings.findChildren(QPushButton)
        if each.text() == text and each.isVisible()
    ][:1]  # fmt: skip
    return found


def test_the_rows_of_a_finding_are_shown(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    host.requests.clear()
    button_of(page, "Show rows").click()
    page.samples.after.click()
    qtbot.waitUntil(lambda: len(asked(host, ShowSamples)) == 2)
    assert [request.row for request in asked(host, ShowSamples)] == [4, 6]


def test_one_button_stands_out(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    assert page.source.look.property("kind") == "primary"
    reported(page, host, qtbot)
    assert page.use.isVisible()
    assert page.source.look.property("kind") != "primary"
    page.source.path.setText("/data/other.jsonl")
    page.source.look.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert page.source.look.property("kind") == "primary"


def test_a_finding_is_mended_and_looked_at_again(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    button_of(page, "max_length = 64").click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["training"] == {"max_length": 64}
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    with qtbot.waitSignal(page.use_wanted) as used:
        page.use.click()
    draft = used.args[0]
    assert draft.values["training.max_length"] == 64
    assert draft.values["dataset.path"] == "/data/chats.jsonl"


def test_what_is_refused_is_not_tried_again(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    reported(page, host, qtbot)
    host.replies["inspect"] = Refusal(to=0, sentence="Longer than its context.")
    button_of(page, "max_length = 64").click()
    qtbot.waitUntil(lambda: "Longer than its context." in texts(page))
    page.source.look.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    assert "training" not in asked(host, Inspect)[2].spec


def test_another_file_is_not_read_in_the_format_of_the_last(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    values = {"model.path": "m", "dataset.path": "/a.json", "dataset.format": "alpaca"}
    page.show_draft(Draft(values=values))
    qtbot.waitUntil(lambda: bool(asked(host, Inspect)))
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    page.source.take("/b.json")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert [request.spec["dataset"] for request in asked(host, Inspect)] == [
        {"path": "/a.json", "format": "alpaca"}, {"path": "/b.json"},
    ]  # fmt: skip


# ---------------------------------------------------------------- fixes


FIXABLE = RowFinding(
    code="near_duplicates", severity="info", title="3 rows are nearly the same.", row_count=3,
    rows=[5, 6, 9], groups=[[1, 5, 6], [2, 9]], action="Leave them out",
    patch={"dataset.fixes": ["drop_near_duplicates"]},
)  # fmt: skip
DONE = RowFinding(
    code="fixed_drop_near_duplicates", severity="info", is_done=True, row_count=3, rows=[5, 6, 9],
    title="3 rows are nearly the same as an earlier one and are left out.",
    patch={"dataset.fixes": []}, action="Undo",
)  # fmt: skip


def test_a_fix_is_one_click_and_so_is_its_undoing(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    look(page, host, qtbot)
    host.send(Inspected(run=NAME, report=msgspec.structs.replace(REPORT, findings=[FIXABLE])))
    qtbot.waitUntil(lambda: page.samples.sample is not None)
    buttons = {each.text(): each for each in page.findings.items[0].findChildren(QPushButton)}
    assert list(buttons) == ["Show rows", "Leave them out"]
    assert "not changed" in buttons["Leave them out"].toolTip()
    buttons["Show rows"].click()  # Each beside the one it is like.
    assert page.samples._places == [-2, -6, -7, -3, -10]
    buttons["Leave them out"].click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[-1].spec["dataset"]["fixes"] == ["drop_near_duplicates"]
    fixed = msgspec.structs.replace(
        REPORT, findings=[DONE], left_out=3, left_out_rows=[5, 6, 51], near_duplicates=0
    )
    host.send(Inspected(run=NAME, report=fixed))
    qtbot.waitUntil(lambda: "left out by a fix" in page.samples.where.toolTip() + texts(page))
    assert "3 left out" in texts(page)
    (undo,) = [b for b in page.findings.items[0].findChildren(QPushButton) if b.text() == "Undo"]
    undo.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    assert not asked(host, Inspect)[-1].spec["dataset"].get("fixes")


def test_fixes_of_one_file_are_not_those_of_the_next(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    page.findings.patch_wanted.emit({"dataset.fixes": ["drop_duplicates"]})
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2 and bool(page.inspector._name))
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.subject.good.get("dataset.fixes") == ["drop_duplicates"])
    page.source.path.setText("/data/other.jsonl")
    page.source.look.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    assert not asked(host, Inspect)[-1].spec["dataset"].get("fixes")
