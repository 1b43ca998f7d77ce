"""The list of runs: groups, search, order, keys, and that two thousand runs are no burden."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog
from pytestqt.qtbot import QtBot

from app import words
from app.endpoint import Place
from app.link import HostLink
from app.pages.runs import RunsPage
from app.pages.runs_headings import HEIGHT as HEADINGS_HEIGHT
from app.pages.runs_model import ORDERS, SUMMARY, RunsGroup, RunsModel
from app.pages.runs_row import ROW_HEIGHT, places_in, progress_of, verbs_of, when_of, why_of
from app.pages.runs_view import SETTLE_SECONDS, RunsView
from app.theme import Theme
from app.widgets.confirm import Confirm
from engine.contract.lifecycle import State
from engine.contract.messages import Remove, Resume, RunRemoved, RunSummary, Stop
from tests.gui.host_double import HostDouble
from tests.gui.pages import changed, has_runs, host, link, opened, theme
from tests.gui.recorded import summary

__all__ = ["host", "link", "theme"]

NOW = time.time()
LIVE = summary("20261122-100000-live")
QUEUED = summary("20261122-110000-queued", state=State.QUEUED, queue_place=1, step=0, loss=None)
LOST = summary(
    "20261121-100000-lost", state=State.INTERRUPTED, created_at=NOW - 9e4, ended_at=NOW - 8e4,
    model="Llama-3.1-8B", loss=1.302, bytes=2 << 30,
)  # fmt: skip
DONE = summary(
    "20261120-100000-done", state=State.FINISHED, created_at=NOW - 2e5, ended_at=NOW - 1.9e5,
    loss=0.4, step=180, max_steps=180, bytes=1 << 30,
)  # fmt: skip


@pytest.fixture
def page(link: HostLink, theme: Theme, qtbot: QtBot) -> Iterator[RunsPage]:
    made = RunsPage(link, theme)
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    return made


@pytest.fixture
def full_page(page: RunsPage, host: HostDouble, link: HostLink, qtbot: QtBot) -> RunsPage:
    has_runs(host, LIVE, QUEUED, LOST, DONE)
    opened(link, qtbot)
    qtbot.waitUntil(lambda: page.model.rowCount() == 4)
    return page


def names(view: RunsView) -> list[str]:
    model = view.model()
    return [model.index(row, 0).data(SUMMARY).name for row in range(model.rowCount())]


def press(view: RunsView, row: int, verb: str) -> None:
    """Click a button of a row."""
    index = view.model().index(row, 0)
    buttons = view._delegate.buttons(view.visualRect(index), index.data(SUMMARY))
    place = next(rect.center() for each, rect in buttons if each.name == verb)
    QTest.mouseMove(view.viewport(), place)
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)


# ---------------------------------------------------------------- what is shown


def test_what_is_under_way_stands_above_what_was(full_page: RunsPage) -> None:
    assert names(full_page.now_view) == ["live", "queued"]
    assert names(full_page.earlier_view) == ["lost", "done"]
    assert full_page.earlier_card.aside.text() == f"2 runs · 3.0{words.SPACE}GiB of saves"


def test_a_run_that_ends_changes_its_group(
    full_page: RunsPage, host: HostDouble, qtbot: QtBot
) -> None:
    changed(host, summary(LIVE.run, state=State.FINISHED, created_at=NOW))
    qtbot.waitUntil(lambda: names(full_page.now_view) == ["queued"])
    assert names(full_page.earlier_view) == ["live", "lost", "done"]
    assert full_page.now_view.height() == ROW_HEIGHT + HEADINGS_HEIGHT


def test_new_and_removed_runs_come_and_go(
    full_page: RunsPage, host: HostDouble, qtbot: QtBot
) -> None:
    changed(host, summary("20261122-120000-new", created_at=NOW))
    qtbot.waitUntil(lambda: "new" in names(full_page.now_view))
    host.send(RunRemoved(run=DONE.run))
    qtbot.waitUntil(lambda: names(full_page.earlier_view) == ["lost"])
    host.send(RunRemoved(run=LOST.run))
    qtbot.waitUntil(full_page.nothing.isVisible)


def test_without_runs_there_is_one_thing_to_do(
    page: RunsPage, host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    assert not page.empty.new_run.isVisible()
    host.replies["list_runs"] = {"runs": []}
    opened(link, qtbot)
    qtbot.waitUntil(page.empty.new_run.isVisible)
    assert page.empty.title.text() == "No runs yet"
    with qtbot.waitSignal(page.new_run_wanted):
        QTest.mouseClick(page.empty.new_run, Qt.MouseButton.LeftButton)


def test_an_engine_that_cannot_be_reached_is_told_on_the_empty_page(
    page: RunsPage, link: HostLink
) -> None:
    link.disconnected.emit("Python 3.11 is missing there. Install it.")
    assert page.empty.title.text() == "No connection to the engine"
    assert page.empty.text.text() == "Python 3.11 is missing there. Install it."


def test_another_place_has_other_runs(
    full_page: RunsPage, link: HostLink, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    link.move_to(Place(kind="ssh", name="rig"))
    assert full_page.model.rowCount() == 0
    assert full_page.empty.title.text() == "Reading runs…"
    qtbot.waitUntil(lambda: full_page.empty.title.text() == "No connection to the engine")
    assert "no ssh program" in full_page.empty.text.text()


def test_a_page_made_after_the_connection_has_its_runs(
    host: HostDouble, link: HostLink, theme: Theme, qtbot: QtBot
) -> None:
    has_runs(host, LIVE)
    opened(link, qtbot)
    late = RunsPage(link, theme)
    qtbot.addWidget(late)
    qtbot.waitUntil(lambda: late.model.rowCount() == 1)


# ---------------------------------------------------------------- search and order


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("llama", ["lost"]),
        ("LOST 8b", ["lost"]),
        ("finished", ["done"]),
        ("zzz", []),
        ("", ["lost", "done"]),
    ],
)
def test_search_looks_at_name_model_data_and_state(
    full_page: RunsPage, text: str, found: list[str]
) -> None:
    full_page.search.setText(text)
    assert names(full_page.earlier_view) == found
    assert full_page.nothing.isVisible() is (not found)


@pytest.mark.parametrize("order", list(ORDERS))
def test_every_order_orders(order: str) -> None:
    model = RunsModel()
    model.reset([LOST, DONE, summary("20261101-100000-bare", state=State.FAILED, loss=None,
                                     max_steps=0, created_at=NOW - 9e5)])  # fmt: skip
    group = RunsGroup(model, now=False)
    group.order_by(order)
    key, descends = ORDERS[order]
    keys = [key(each) for each in group.summaries()]
    assert keys == sorted(keys, reverse=descends)


def test_models_can_be_thrown_away_together() -> None:
    """As children of each other they crashed the garbage collector."""
    for _ in range(10):
        model = RunsModel()
        group = RunsGroup(model, now=False)
        model.reset([LOST, DONE])
        assert len(group.summaries()) == 2
        del model, group
        gc.collect()


def test_the_order_is_chosen_in_the_box(full_page: RunsPage) -> None:
    full_page.order.setCurrentText("Lowest loss")
    assert names(full_page.earlier_view) == ["done", "lost"]


# ---------------------------------------------------------------- what can be done


def test_buttons_in_rows_open_resume_and_stop(
    full_page: RunsPage, host: HostDouble, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(full_page.run_opened) as heard:
        press(full_page.earlier_view, 1, "open")
    assert heard.args == [DONE.run, DONE]
    press(full_page.earlier_view, 0, "resume")
    qtbot.waitUntil(lambda: [r.run for r in host.asked(Resume)] == [LOST.run])
    press(full_page.now_view, 0, "stop")
    qtbot.waitUntil(lambda: [r.run for r in host.asked(Stop)] == [LIVE.run])


def test_removing_is_asked_first(full_page: RunsPage, host: HostDouble, qtbot: QtBot) -> None:
    press(full_page.earlier_view, 1, "remove")
    dialog = next(w for w in full_page.findChildren(QDialog) if isinstance(w, Confirm))
    text = " ".join(each.text() for each in dialog.findChildren(type(full_page.nothing)))
    assert "done" in text
    assert f"1.0{words.SPACE}GiB" in text
    assert not host.asked(Remove)
    QTest.mouseClick(dialog.do, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: [r.run for r in host.asked(Remove)] == [DONE.run])


def test_keys_go_through_both_lists(full_page: RunsPage, host: HostDouble, qtbot: QtBot) -> None:
    full_page.now_view.choose(0)
    view = full_page.now_view
    QTest.keyClick(view, Qt.Key.Key_Down)
    QTest.keyClick(view, Qt.Key.Key_Down)
    assert full_page.earlier_view.currentIndex().row() == 0
    view = full_page.earlier_view
    with qtbot.waitSignal(full_page.run_opened) as heard:
        QTest.keyClick(view, Qt.Key.Key_Return)
    assert heard.args[0] == LOST.run
    QTest.keyClick(view, Qt.Key.Key_R)
    qtbot.waitUntil(lambda: bool(host.asked(Resume)))
    QTest.keyClick(view, Qt.Key.Key_Delete)
    dialog = next(w for w in full_page.findChildren(QDialog) if isinstance(w, Confirm))
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    QTest.keyClick(view, Qt.Key.Key_Up)
    assert full_page.now_view.currentIndex().row() == 1


def test_a_live_run_cannot_be_removed_by_key(full_page: RunsPage, host: HostDouble) -> None:
    full_page.now_view.choose(0)
    QTest.keyClick(full_page.now_view, Qt.Key.Key_Delete)
    assert not [w for w in full_page.findChildren(QDialog) if isinstance(w, Confirm)]


def test_a_double_click_opens(full_page: RunsPage, qtbot: QtBot) -> None:
    view = full_page.earlier_view
    place = view.visualRect(view.model().index(0, 0)).topLeft() + QPoint(30, 20)
    with qtbot.waitSignal(full_page.run_opened):
        QTest.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_only_what_makes_sense_is_offered() -> None:
    offered = {state: [v.name for v in verbs_of(summary(state=state))] for state in State}
    assert offered[State.TRAINING] == ["open", "stop"]
    assert offered[State.STOPPING] == ["open"]
    assert offered[State.PAUSED] == ["open", "resume", "stop"]
    assert offered[State.RECOVERING] == ["open", "resume", "stop"]
    assert offered[State.INTERRUPTED] == ["open", "resume", "remove"]
    assert offered[State.FINISHED] == ["open", "remove"]
    assert [v.name for v in verbs_of(summary(state=State.INTERRUPTED)) if v.is_primary] == [
        "resume"
    ]


def test_rows_can_be_heard(full_page: RunsPage) -> None:
    text = full_page.earlier.index(0, 0).data(int(Qt.ItemDataRole.AccessibleTextRole))
    assert text == "lost, Interrupted, step 412 of 1200, loss 1.302, Llama-3.1-8B"
    assert QAccessible.queryAccessibleInterface(full_page.earlier_view) is not None
    assert full_page.search.accessibleName()


def test_a_click_after_rows_have_moved_hits_no_other_run(
    full_page: RunsPage, host: HostDouble, qtbot: QtBot
) -> None:
    """The mouse lies still on Open of the first row while another run becomes the first."""
    view = full_page.earlier_view
    qtbot.wait(round(1000 * SETTLE_SECONDS) + 200)
    opened_runs: list[str] = []
    full_page.run_opened.connect(lambda run, _: opened_runs.append(run))
    buttons = view._delegate.buttons(view.visualRect(view.model().index(0, 0)), LOST)
    place = next(rect.center() for verb, rect in buttons if verb.name == "open")
    QTest.mouseMove(view.viewport(), place)
    changed(host, summary(LIVE.run, state=State.INTERRUPTED, created_at=NOW, ended_at=NOW))
    qtbot.waitUntil(lambda: names(view)[0] == "live")
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert opened_runs == []
    qtbot.wait(round(1000 * SETTLE_SECONDS) + 200)
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert opened_runs == [LIVE.run]


def test_columns_have_headings_above_them(full_page: RunsPage) -> None:
    now, earlier = full_page.now_view.headings, full_page.earlier_view.headings
    assert now.shown()["when"][1] == "Time left"
    assert [word for _, word in earlier.shown().values()] == [
        "Run", "State", "Step", "Loss", "Loss so far", "Ended"
    ]  # fmt: skip
    row = full_page.earlier_view.visualRect(full_page.earlier.index(0, 0))
    assert earlier.shown()["loss"][0].left() == places_in(row).loss.left()


@pytest.mark.parametrize("width", [714, 860, 1116, 1700])
def test_a_row_keeps_time_and_curve_in_a_window_of_960_pixels(width: int) -> None:
    places = places_in(QRect(0, 0, width, ROW_HEIGHT))
    assert places.when.width() >= 102
    assert places.curve.width() >= 50
    assert (
        places.curve.left() > places.loss.right() or places.curve.top() > places.loss.center().y()
    )
    assert places.name.width() >= 136
    assert places.name.right() < places.chip.left()


# ---------------------------------------------------------------- words


def test_times_and_steps_in_words() -> None:
    assert when_of(LIVE, NOW)[0].endswith("left")
    assert when_of(QUEUED, NOW)[0] == "waits its turn"
    assert when_of(summary(eta_seconds=None), NOW)[0] == "training"
    assert when_of(summary(state=State.FINISHED, ended_at=NOW, train_seconds=95), NOW) == (
        f"today {words.clock(NOW)}", f"took 1{words.SPACE}m{words.SPACE}35{words.SPACE}s"
    )  # fmt: skip
    assert why_of(summary(state=State.FAILED, sentence="Row 3 has\nno text.")) == (
        "Row 3 has no text."
    )
    assert why_of(summary(state=State.STOPPED, sentence="As asked.")) == ""
    assert progress_of(QUEUED) == words.NONE
    assert progress_of(DONE) == "180"
    assert progress_of(LIVE) == f"412 / 1{words.GROUP}200"


# ---------------------------------------------------------------- many


def many(count: int) -> list[RunSummary]:
    states = [State.FINISHED, State.FAILED, State.INTERRUPTED, State.STOPPED]
    return [
        summary(f"20260101-{n:06d}-run-{n}", state=states[n % 4], created_at=NOW - n, loss=n / 100)
        for n in range(count)
    ]


def test_two_thousand_runs_are_no_burden(page: RunsPage, qtbot: QtBot) -> None:
    """CPU time, bounds about five times what is usual."""
    runs = many(2000)
    spent: dict[str, float] = {}

    def timed(name: str, action: object) -> None:
        begun = time.process_time()
        action()  # type: ignore[operator]
        page.repaint()
        spent[name] = time.process_time() - begun

    timed("fill", lambda: (page.model.reset(runs), page._show_what_there_is()))
    timed("search", lambda: page.search.setText("run-19"))
    timed("unsearch", lambda: page.search.setText(""))
    timed("order", lambda: page.order.setCurrentText("Lowest loss"))
    timed("change", lambda: page.feed._on_run_changed(summary(runs[0].run, state=State.STOPPED)))
    timed("scroll", page.earlier_view.scrollToBottom)
    assert names(page.earlier_view)[0] in ("run-0", "run-1")
    assert max(spent.values()) < 1.0, spent
    assert spent["change"] < 0.15, spent
    assert spent["scroll"] < 0.1, spent
