"""Repainting for hours must cost nothing: references to None stay, memory stays."""

from __future__ import annotations

import gc
import sys

import psutil
import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.link import HostLink
from app.pages.run import RunPage
from app.pages.runs import RunsPage
from app.preferences import Preferences
from app.theme import Theme
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, tell, theme
from tests.gui.recorded import Recorder, summary

__all__ = ["host", "link", "theme"]

REPAINTS = 200
MOST_NONE_DRIFT = 60
"""PySide6 6.12 on Python 3.11 loses about 185 references a repaint, and then aborts."""
MOST_GROWTH_BYTES = 12 << 20

RUN = summary()


@pytest.fixture
def run_page(link: HostLink, theme: Theme, qtbot: QtBot, host: HostDouble) -> RunPage:
    page = RunPage(link, theme, Preferences())
    qtbot.addWidget(page)
    page.resize(1164, 860)
    page.show_run(RUN.run, RUN)
    page.show()
    recorder = Recorder(RUN.run, at=1e9, gpu=True, step_seconds=2)
    recorder.train(1, 400)
    tell(link, RUN, recorder.records)
    return page


def test_the_run_page_can_be_repainted_for_ever(run_page: RunPage, qtbot: QtBot) -> None:
    # The graphs for a machine without a GPU make way for others first, and are let go.
    qtbot.waitUntil(lambda: run_page.body.board.graphs[1].spec.title == "Memory of the card")
    for _ in range(30):
        run_page.body.board.repaint_all()
        run_page.grab()
        QApplication.processEvents()
    gc.collect()
    none, rss = sys.getrefcount(None), psutil.Process().memory_info().rss
    for number in range(REPAINTS):
        run_page.body.board.repaint_all()
        if number % 5 == 0:
            run_page.repaint()
            QApplication.processEvents()
    gc.collect()
    assert abs(sys.getrefcount(None) - none) < MOST_NONE_DRIFT
    assert psutil.Process().memory_info().rss - rss < MOST_GROWTH_BYTES


def test_the_list_can_be_repainted_for_ever(
    link: HostLink, theme: Theme, qtbot: QtBot, host: HostDouble
) -> None:
    page = RunsPage(link, theme)
    qtbot.addWidget(page)
    page.resize(1164, 860)
    page.show()
    page.feed.take({"runs": []})
    for n in range(20):
        link.run_changed.emit(summary(f"20261122-1000{n:02d}-run"))
    page.grab()
    gc.collect()
    none = sys.getrefcount(None)
    for _ in range(REPAINTS):
        page.now_view.viewport().repaint()
    gc.collect()
    assert abs(sys.getrefcount(None) - none) < MOST_NONE_DRIFT
