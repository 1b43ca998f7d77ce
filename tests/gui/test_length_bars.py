"""The histogram of lengths on the Data page."""

from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import QPoint
from pytestqt.qtbot import QtBot

from app import length_words
from app.theme import Theme
from app.widgets.length_bars import LengthBars
from engine.contract.dataset_report import DatasetReport
from tests.gui.pages import theme

__all__ = ["theme"]

REPORT = DatasetReport(
    data="abc", method="sft", format="alpaca", rows=41, samples=41, train=41, held_back=0,
    max_length=200, tokens=4_000, trained_tokens=2_000, longest=1_950, shortest=4, median=90,
    cut=11, cut_answers=3, duplicates=0, edges=[0, 100, 200, 300, 400], counts=[20, 10, 0, 11],
)  # fmt: skip
REPORT_FIRST = "0 to 99 tokens: 20 samples"


def _bars(theme: Theme, qtbot: QtBot, report: DatasetReport) -> LengthBars:
    bars = LengthBars(theme.tokens)
    qtbot.addWidget(bars)
    bars.resize(400, bars.height())
    bars.show_report(report)
    bars.show()
    return bars


def test_bars_are_told_in_words() -> None:
    assert length_words.of_bar(REPORT, 0) == REPORT_FIRST
    last = length_words.of_bar(REPORT, 3).replace("\u2009", " ").replace("\u202f", " ")
    assert last == "300 to 1 950 tokens: 11 samples, cut to 200", "all that is longer is there too"
    assert length_words.end_of(REPORT) == "400 and more"
    assert length_words.end_of(replace(REPORT, longest=400)) == "400 and more"
    assert length_words.end_of(replace(REPORT, longest=399)) == "400"
    assert "11 are longer than 200 and cut" in length_words.in_one_sentence(REPORT)
    pretrain = replace(REPORT, method="pretrain")
    assert "cut" not in length_words.of_bar(pretrain, 3) + length_words.in_one_sentence(pretrain)


def test_what_is_cut_has_another_colour(theme: Theme, qtbot: QtBot) -> None:
    bars = _bars(theme, qtbot, REPORT)
    picture, floor = bars.grab().toImage(), bars.height() - bars.fontMetrics().height() - 3
    color = {name: theme.tokens.color(name).rgb() for name in ("info", "warning")}
    assert picture.pixel(50, floor) == color["info"]
    assert picture.pixel(150, floor) == color["info"]
    assert picture.pixel(250, floor) not in color.values(), "there is no sample of that length"
    assert picture.pixel(350, floor) == color["warning"]
    assert picture.pixel(200, floor - 1) == color["warning"], "the line"
    top = bars.fontMetrics().height() + 4
    assert picture.pixel(50, top) == color["info"], "the highest bar is as high as there is room"
    assert picture.pixel(150, top) != color["info"]
    whole = _bars(theme, qtbot, replace(REPORT, method="pretrain")).grab().toImage()
    assert whole.pixel(350, floor) == color["info"]


def test_a_bar_below_the_mouse_tells_its_numbers(theme: Theme, qtbot: QtBot) -> None:
    bars = _bars(theme, qtbot, REPORT)
    assert [bars.bar_at(x) for x in (-1, 0, 99, 100, 399, 400)] == [None, 0, 0, 1, 3, None]
    for x, told in ((250, "200 to 299 tokens: 0 samples, cut to 200"), (20, REPORT_FIRST)):
        qtbot.mouseMove(bars, QPoint(x, 40))
        qtbot.waitUntil(lambda told=told: bars.toolTip() == told)


def test_without_samples_there_is_nothing_to_draw(theme: Theme, qtbot: QtBot) -> None:
    bars = _bars(theme, qtbot, replace(REPORT, edges=[], counts=[]))
    assert bars.bar_at(10) is None
    assert not bars.grab().isNull()
