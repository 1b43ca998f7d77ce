"""Where the time goes, on a run's page: folded at first, asked of the host while it is open."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.link import HostLink
from app.pages import run_pace
from app.pages.run import RunPage
from app.preferences import Preferences
from app.theme import Theme
from engine.contract.messages import Show
from engine.diagnosis.pace.shares import Facts, pace_of
from tests.gui.host_double import HostDouble
from tests.gui.pages import has_runs, host, link, opened, tell, theme
from tests.gui.recorded import Recorder, summary

__all__ = ["host", "link", "theme"]

RUN = summary()
PACE = pace_of(
    Facts(
        steps=200, step_seconds=2.0, wait_seconds=0.1, busy_share=0.8, padding_share=0.3,
        recompute_share=1 / 3, saving_share=0.02, planned_seconds=1.1,
        planned_parts={"compute": 0.9, "offload copies": 0.15, "optimizer": 0.05},
    )
)  # fmt: skip


@pytest.fixture
def page(link: HostLink, theme: Theme, host: HostDouble, qtbot: QtBot) -> RunPage:
    has_runs(host, RUN)
    opened(link, qtbot)
    made = RunPage(link, theme, Preferences())
    qtbot.addWidget(made)
    made.resize(1280, 860)
    made.show()
    return made


def knows(host: HostDouble, pace: object) -> None:
    answer = host.replies["show"]
    assert isinstance(answer, dict)
    answer["pace"] = msgspec.to_builtins(pace)


def look(page: RunPage) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=True)
    recorder.train(1, 20)
    page.show_run(RUN.run, RUN)
    tell(page._link, RUN, recorder.records)


def test_the_card_is_folded_until_somebody_asks(
    page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    knows(host, PACE)
    look(page)
    card = page.body.pace
    qtbot.waitUntil(card.isVisible)
    assert not card.sentence.isVisible()
    assert card.height() < 60
    QTest.mouseClick(card.folder.head, Qt.MouseButton.LeftButton)
    assert card.sentence.isVisible()
    assert "1.8 times the estimate" in card.sentence.text()
    told = {row.line.text(): row.line.figure for row in card.lines._rows}
    assert told["Computing padding"] == "19 %"
    assert sum(int(figure.split()[0]) for figure in told.values()) in range(98, 103)


def test_a_part_says_what_would_save_it(page: RunPage, host: HostDouble, qtbot: QtBot) -> None:
    knows(host, PACE)
    look(page)
    card = page.body.pace
    qtbot.waitUntil(card.isVisible)
    QTest.mouseClick(card.folder.head, Qt.MouseButton.LeftButton)
    padding = next(row for row in card.lines._rows if row.line.text() == "Computing padding")
    QTest.mouseClick(padding.line, Qt.MouseButton.LeftButton)
    assert padding.how.isVisible()
    assert "packing = true" in padding.how.text()


def test_before_the_first_steps_there_is_no_card(
    page: RunPage,
    host: HostDouble,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_pace, "ASK_MS", 50)
    page.pace._timer.setInterval(50)
    look(page)
    qtbot.waitUntil(lambda: len(host.asked(Show)) > 3)
    assert not page.body.pace.isVisible()
    knows(host, PACE)
    qtbot.waitUntil(page.body.pace.isVisible)
    asked = len(host.asked(Show))
    QTest.qWait(200)
    assert len(host.asked(Show)) <= asked + 1, "folded, it asks for nothing"


def test_what_a_newer_host_says_otherwise_is_left_out(
    page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    knows(host, {"other": 1})
    look(page)
    qtbot.waitUntil(lambda: len(host.asked(Show)) >= 1)
    QTest.qWait(50)
    assert not page.body.pace.isVisible()


def test_the_theme_reaches_the_open_card(
    page: RunPage, host: HostDouble, theme: Theme, qtbot: QtBot
) -> None:
    knows(host, PACE)
    look(page)
    qtbot.waitUntil(page.body.pace.isVisible)
    QTest.mouseClick(page.body.pace.folder.head, Qt.MouseButton.LeftButton)
    dark = page.body.pace.grab().toImage().pixelColor(30, 60)
    theme.choose("light")
    assert page.body.pace.grab().toImage().pixelColor(30, 60) != dark
