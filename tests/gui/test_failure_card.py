"""The card of a failed run: why it failed, and the three ways out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

from app.failure_words import settings_of
from app.link import HostLink
from app.pages.run import RunPage
from app.pages.run_report import ReportQuestion
from app.preferences import Preferences
from app.theme import Theme
from app.widgets.confirm import Confirm
from app.widgets.flow import Flow
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import Finding, MakeReport, Record, Refusal, Resume
from tests.gui.host_double import HostDouble
from tests.gui.pages import has_runs, host, link, opened, tell, theme
from tests.gui.recorded import Recorder, summary

__all__ = ["host", "link", "theme"]

FAILED = summary(state=State.FAILED, step=30, phase=Phase.ENDED, eta_seconds=None)
PATCH = {"training.per_device_train_batch_size": 1, "training.gradient_accumulation_steps": 8}


def told(**fields: Any) -> list[Record]:
    """A run that failed at step 30."""
    recorder = Recorder(FAILED.run, at=1e9, gpu=False)
    recorder.train(1, 30)
    values: dict[str, Any] = {
        "severity": "error", "code": "out_of_memory", "title": "The card ran out of memory.",
        "cause": "It is full.", "remedy": "Set the batch to 1.", "why": "The last error says so.",
        "detail": "Traceback", "problem": "oom_cuda_alloc", "patch": PATCH,
    }  # fmt: skip
    recorder.event(Finding, **{**values, **fields})
    return recorder.records


@pytest.fixture
def page(host: HostDouble, link: HostLink, theme: Theme, qtbot: QtBot) -> Iterator[RunPage]:
    made = RunPage(link, theme, Preferences())
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    has_runs(host, FAILED)
    opened(link, qtbot)
    made.show_run(FAILED.run)
    qtbot.waitUntil(lambda: made.header.chip.text() == "Failed")
    return made


def press(button: QPushButton) -> None:
    assert button.isVisible()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_it_says_what_why_and_what_to_do(page: RunPage, link: HostLink) -> None:
    tell(link, FAILED, told())
    card = page.body.failure
    assert card.title.text() == "The card ran out of memory"
    assert card.aside.text().startswith("step 30 · ")
    assert (card.cause.text(), card.why.text()) == ("It is full.", "The last error says so.")
    assert card.remedy.text().startswith("Set the batch to 1.")
    assert card.fix_button.toolTip() == (
        "Sets per_device_train_batch_size 1, gradient_accumulation_steps 8. "
        "The result stays the same."
    )
    assert not card.detail.isVisible()
    press(card.details_button)
    assert card.detail.isVisible()
    press(card.copy_button)
    assert "Known problem: oom_cuda_alloc" in QApplication.clipboard().text()
    assert "Traceback" in QApplication.clipboard().text()


def test_the_graphs_stay_in_view_below_it(page: RunPage, link: HostLink, qtbot: QtBot) -> None:
    tell(link, FAILED, told())
    bar = page.findChildren(QScrollArea)[0].verticalScrollBar()
    qtbot.waitUntil(lambda: page.body.board.graphs[2].isVisible())
    qtbot.wait(100)
    assert bar.maximum() == 0
    assert [graph.isVisible() for graph in page.body.board.graphs] == [True] * 4 + [False] * 2


def test_the_fix_is_the_one_thing_to_do(page: RunPage, link: HostLink) -> None:
    tell(link, FAILED, told())
    assert page.body.failure.fix_button.property("kind") == "primary"
    assert page.header.resume.property("kind") == ""
    tell(link, summary(run="other", state=State.TRAINING), [])
    link.run_changed.emit(summary(attempt=2))
    assert page.header.resume.property("kind") == "primary"


def test_a_fix_that_keeps_the_result_is_done_at_once(
    page: RunPage, link: HostLink, host: HostDouble, qtbot: QtBot
) -> None:
    tell(link, FAILED, told())
    press(page.body.failure.fix_button)
    qtbot.waitUntil(lambda: bool(host.asked(Resume)))
    (asked,) = host.asked(Resume)
    assert (asked.run, asked.patch) == (FAILED.run, PATCH)
    assert not page.findChildren(Confirm)


def test_a_fix_that_changes_the_result_is_asked_for(
    page: RunPage, link: HostLink, host: HostDouble, qtbot: QtBot
) -> None:
    tell(link, FAILED, told(patch={"quantization.bits": 4}, changes_result=True))
    press(page.body.failure.fix_button)
    (question,) = page.findChildren(Confirm)
    press(question.keep)
    qtbot.wait(50)
    assert not host.asked(Resume)
    press(page.body.failure.fix_button)
    press(page.findChildren(Confirm)[-1].do)
    qtbot.waitUntil(lambda: bool(host.asked(Resume)))
    assert host.asked(Resume)[0].patch == {"quantization.bits": 4}


def test_an_unknown_failure_has_no_fix_and_claims_nothing(page: RunPage, link: HostLink) -> None:
    tell(link, FAILED, told(code="unknown", why="", patch={}, problem=""))
    card = page.body.failure
    assert not card.fix_button.isVisible()
    assert not card.why_heading.isVisible()
    assert page.header.resume.property("kind") == "primary"
    assert card.report_button.isVisible()


@pytest.mark.parametrize("with_data", [False, True])
def test_a_report_is_saved_where_it_is_wanted(
    page: RunPage, link: HostLink, host: HostDouble, qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch, with_data: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("/tmp/x.zip", ""))
    host.replies["make_report"] = {"path": "/tmp/x.zip", "bytes": 2048}
    tell(link, FAILED, told())
    press(page.body.failure.report_button)
    (question,) = page.findChildren(ReportQuestion)
    question.with_data.setChecked(with_data)
    press(question.save)
    qtbot.waitUntil(lambda: bool(host.asked(MakeReport)))
    (asked,) = host.asked(MakeReport)
    assert (asked.run, asked.path, asked.with_data) == (FAILED.run, "/tmp/x.zip", with_data)
    qtbot.waitUntil(page.notice.isVisible)
    assert page.notice.text.text().startswith("Saved: /tmp/x.zip (2")


def test_a_report_that_cannot_be_written_is_said(
    page: RunPage, link: HostLink, host: HostDouble, qtbot: QtBot
) -> None:
    host.replies["make_report"] = Refusal(to=0, sentence="The disk is full.", code="not_found")
    page.reporter.save(FAILED, "", with_data=False)
    qtbot.waitUntil(page.notice.isVisible)
    assert page.notice.text.text() == "The disk is full."


def test_settings_are_said_as_they_are_written() -> None:
    patch = {
        "lora": None, "training.packing": False, "lora.modules_to_save": [],
        "lora.target_modules": ["q_proj", "v_proj"], "quantization.bits": 4,
    }  # fmt: skip
    assert settings_of(patch) == (
        "no lora, packing false, lora.modules_to_save empty, lora.target_modules q_proj, v_proj, "
        "quantization.bits 4"
    )
    assert settings_of({}) == ""


def test_buttons_break_into_lines_where_it_is_narrow(qtbot: QtBot) -> None:
    buttons = [QPushButton(text) for text in ("first", "second", "third", "hidden")]
    flow = Flow(*buttons)
    window = QWidget()
    qtbot.addWidget(window)
    window.setLayout(flow)
    buttons[-1].hide()
    window.show()
    one = flow.sizeHint()
    assert flow.heightForWidth(one.width()) == one.height()
    assert flow.heightForWidth(one.width() - 1) > one.height()
    assert flow.minimumSize().width() < one.width()
    assert [flow.itemAt(n) is None for n in (0, 3, 4)] == [False, False, True]
    window.resize(flow.minimumSize().width(), 400)
    qtbot.waitUntil(lambda: buttons[2].y() > buttons[1].y() > buttons[0].y())
    assert flow.takeAt(0) is not None
    assert (flow.count(), flow.takeAt(7)) == (3, None)
