"""The page of a run: real records in, what a person sees and can press out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import shiboken6
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog
from pytestqt.qtbot import QtBot

from app import run_words, tile_words, words
from app.link import HostLink
from app.pages.run import RunPage
from app.pages.run_command import file_name, train_command
from app.preferences import Preferences
from app.series import RunSeries
from app.theme import Theme
from app.widgets.axes import PlaceAxis, ValueAxis, plain_word
from app.widgets.confirm import Confirm
from app.widgets.graph_marks import MOST_MARKS, marks_of
from engine.contract import toml
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Evaluated,
    Follow,
    Pause,
    Progress,
    Record,
    Refusal,
    Remove,
    Request,
    Resume,
    SaveCheckpoint,
    Show,
    StateChanged,
    Step,
    Stop,
    Telemetry,
    Unfollow,
)
from engine.store.soundness import SaveChecked
from tests.gui.host_double import HostDouble
from tests.gui.pages import changed, has_runs, host, link, opened, tell, theme
from tests.gui.recorded import Recorder, night, summary

__all__ = ["host", "link", "theme"]

RUN = summary()


@pytest.fixture
def page(link: HostLink, theme: Theme, qtbot: QtBot) -> Iterator[RunPage]:
    made = RunPage(link, theme, Preferences())
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    return made


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return night(RUN.run, end=time.time() - 3)


def shown(page: RunPage, records: list[Record], run: object = RUN) -> None:
    page.show_run(run.run, run)  # type: ignore[attr-defined]
    tell(page._link, run, records)  # type: ignore[arg-type]


def settle(page: RunPage) -> None:
    """Wait until everything that is known has been drawn."""
    board = page.body.board
    limit = time.monotonic() + 5
    QTest.qWait(1)
    while board.frames.is_waiting or board._due:
        assert time.monotonic() < limit
        QTest.qWait(5)


def tile_texts(page: RunPage) -> dict[str, tuple[str, str]]:
    return {t.name.text(): (t.number.text(), t.small.text()) for t in page.body.tiles.tiles}


# ---------------------------------------------------------------- numbers and graphs


def test_the_tiles_say_where_the_run_stands(page: RunPage, records: list[Record]) -> None:
    shown(page, records, summary(attempt=2))
    tiles = tile_texts(page)
    assert tiles["Step"] == (f"412 / 1{words.GROUP}200", "34 % · epoch 0.69")
    assert tiles["Time left"][0] == words.span(9660)
    assert tiles["Time left"][1].startswith("ends ")
    assert tiles["Throughput"][0] == f"1{words.GROUP}912 tok/s"
    assert tiles["VRAM peak"][0] == f"9.3 / 11.0{words.SPACE}GiB"
    assert tiles["Last save"][0] == "step 400"
    assert "verified" in tiles["Last save"][1]
    assert tiles["Loss"][0] == "1.148"
    assert tiles["Loss"][1].startswith("smoothed 1.")
    assert "over 50 steps" in page.body.tiles.tiles[2].toolTip()


def test_every_graph_draws_its_curves_on_the_same_stretch(
    page: RunPage, records: list[Record], qtbot: QtBot
) -> None:
    shown(page, records, summary(attempt=2))
    board = page.body.board
    qtbot.waitUntil(lambda: board.graphs[-1].curves["grad_norm"].xData is not None)
    settle(page)
    stretches = {tuple(g._box.viewRange()[0]) for g in board.graphs}
    assert len(stretches) == 1
    for graph in board.graphs:
        for name, item in graph.curves.items():
            assert item.xData is not None, name
            assert len(item.xData) > 100, name
    assert [graph.spec.title for graph in board.graphs] == [
        "Loss", "Memory of the card", "Step time", "GPU busy", "Learning rate", "Gradient norm",
    ]  # fmt: skip
    assert board.graphs[1]._limit_value == 11.0


def test_the_loss_has_one_point_a_step(page: RunPage, records: list[Record]) -> None:
    shown(page, records, summary(attempt=2))
    assert page.feed.series.steps["step"].tolist() == list(range(1, 413))


def test_without_a_gpu_the_graphs_say_so(page: RunPage, qtbot: QtBot) -> None:
    shown(page, night(RUN.run, gpu=False, end=time.time()))
    board = page.body.board
    settle(page)
    assert board.graphs[1].spec.title == "RAM of the process"
    assert board.graphs[1].aside.text() == "GiB"
    assert board.graphs[3].aside.text() == "% of one core"
    assert tile_texts(page)["RAM peak"][1] == "of the process, no GPU"


def test_moving_one_graph_moves_all_and_a_double_click_shows_everything(
    page: RunPage, records: list[Record], qtbot: QtBot
) -> None:
    shown(page, records)
    board = page.body.board
    settle(page)
    board.graphs[2].range_moved.emit(600.0, 1200.0)
    settle(page)
    assert {tuple(g._box.viewRange()[0]) for g in board.graphs} == {(600.0, 1200.0)}
    assert not board.bar.live.isChecked()
    plot = board.graphs[0].plot
    QTest.mouseDClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.rect().center())
    settle(page)
    assert board.bar.live.isChecked()
    assert board.graphs[0]._box.viewRange()[0][1] > 5000


def test_live_keeps_the_newest_point_in_view(page: RunPage, qtbot: QtBot) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False, step_seconds=1)
    recorder.train(1, 100)
    shown(page, recorder.records)
    board = page.body.board
    board.graphs[0].range_moved.emit(80.0, 105.0)
    assert board.bar.live.isChecked()
    seen = len(recorder.records)
    recorder.train(101, 150)
    for record in recorder.records[seen:]:
        page._link.record_received.emit(record)
    settle(page)
    low, high = board.graphs[0]._box.viewRange()[0]
    assert low < 150 < high + 5
    assert high - low == pytest.approx(25, abs=2)


def test_the_axis_can_be_steps(page: RunPage, records: list[Record], qtbot: QtBot) -> None:
    shown(page, records)
    board = page.body.board
    settle(page)
    QTest.mouseClick(board.bar.step, Qt.MouseButton.LeftButton)
    settle(page)
    assert board.axis == "step"
    assert 412 < board.graphs[3]._box.viewRange()[0][1] < 430
    assert not board.graphs[3].places.is_time


def test_the_readout_has_the_values_under_the_mouse(
    page: RunPage, records: list[Record], qtbot: QtBot
) -> None:
    shown(page, records)
    board = page.body.board
    board.set_axis("step")
    settle(page)
    board.graphs[3].cursor_moved.emit(200.2)
    loss = page.feed.series.steps["loss"][199]
    assert words.loss(float(loss)) in board.graphs[0].aside.text()
    assert "GiB" in board.graphs[1].aside.text()
    assert board.bar.place.text() == "step 200"
    board.graphs[3].cursor_moved.emit(None)
    assert "smoothed" in board.graphs[0].aside.text()


def test_keys_move_and_zoom_a_graph(page: RunPage, records: list[Record], qtbot: QtBot) -> None:
    shown(page, records)
    settle(page)
    board, plot = page.body.board, page.body.board.graphs[0].plot
    before = board.stretch.x1 - board.stretch.x0
    QTest.keyClick(plot, Qt.Key.Key_Plus)
    assert board.stretch.x1 - board.stretch.x0 == pytest.approx(before / 1.25)
    left = board.stretch.x0
    settle(page)
    QTest.keyClick(plot, Qt.Key.Key_Left)
    assert board.stretch.x0 < left
    QTest.keyClick(plot, Qt.Key.Key_Home)
    settle(page)
    assert board.stretch.x1 - board.stretch.x0 == pytest.approx(before)


def test_nothing_is_drawn_while_nobody_can_see_it(page: RunPage, qtbot: QtBot) -> None:
    page.show_run(RUN.run, RUN)
    page.hide()
    recorder = Recorder(RUN.run, at=1e9, gpu=False, step_seconds=1)
    recorder.train(1, 50)
    tell(page._link, RUN, recorder.records)
    QTest.qWait(100)  # three frames
    curve = page.body.board.graphs[0].curves["loss"]
    assert curve.xData is None or not len(curve.xData)
    page.show()
    qtbot.waitUntil(lambda: curve.xData is not None and len(curve.xData) == 50)


def test_many_records_make_few_frames(page: RunPage, qtbot: QtBot, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    recorder = Recorder(RUN.run, at=1e9, gpu=False, step_seconds=1)
    recorder.train(1, 3000)
    page.show_run(RUN.run, RUN)
    drawn = []
    board = page.body.board
    monkeypatch.setattr(board, "_draw", lambda graph: drawn.append(graph))
    tell(page._link, RUN, recorder.records[:300])
    begun = time.perf_counter()
    for record in recorder.records[300:]:
        page._link.record_received.emit(record)
        QApplication.processEvents()
    frames = (time.perf_counter() - begun) / 0.033 + 2
    assert 0 < len(drawn) <= 6 * frames


# ---------------------------------------------------------------- activity and failure


def test_the_activity_list_tells_it_in_plain_words(page: RunPage, records: list[Record]) -> None:
    shown(page, records, summary(attempt=2))
    text = page.body.activity.toPlainText()
    order = [
        text.index(title)
        for title in (
            "Saved step 400", "Resumed, attempt 2", "Failed", "Out of memory at step 377",
            "Saved step 350", "Precision fp16",
        )
    ]  # fmt: skip
    assert order == sorted(order), "newest first"
    assert "Checked and readable. 52" in text
    assert "Batch 2 → 1, accumulation 4 → 8." in text


def test_a_new_event_comes_on_top(page: RunPage, records: list[Record], qtbot: QtBot) -> None:
    shown(page, records)
    save = CheckpointSaved(
        run=RUN.run, seq=99_999, at=time.time(), step=450, folder="c", bytes=1, seconds=1,
        reason="asked",
    )  # fmt: skip
    page._link.record_received.emit(save)
    qtbot.waitUntil(lambda: page.body.activity.toPlainText().startswith("Saved step 450"))
    assert "You asked for it." in page.body.activity.toPlainText()


def test_the_texts_of_others_are_no_markup(page: RunPage, qtbot: QtBot) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False)
    from engine.contract.messages import Decision

    recorder.event(Decision, title="<b>bold</b>", reason="a < b & c", cost="")
    shown(page, recorder.records)
    assert "<b>bold</b>" in page.body.activity.toPlainText()
    assert "a < b & c" in page.body.activity.toPlainText()


def test_a_failure_is_told_with_what_to_do(page: RunPage, records: list[Record]) -> None:
    until = next(n for n, r in enumerate(records) if r.attempt == 2)
    failed = summary(state=State.FAILED, step=377, eta_seconds=None, phase=Phase.ENDED)
    shown(page, records[:until], failed)
    card = page.body.failure
    assert card.isVisible()
    assert card.title.text() == "Out of memory at step 377"
    assert "11.3 GiB" in card.cause.text()
    assert "Kept the save of step 350" in card.did.text()
    assert "27 steps to do again, about" in card.remedy.text()
    assert page.header.resume.isVisible()
    assert not page.header.stop.isVisible()
    QTest.mouseClick(card.copy_button, Qt.MouseButton.LeftButton)
    assert "Out of memory" in QApplication.clipboard().text()


def test_an_interrupted_run_without_a_finding_says_what_is_known(page: RunPage) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False)
    recorder.train(1, 30)
    lost = summary(state=State.INTERRUPTED, step=30, sentence="The worker was ended by signal 9.")
    shown(page, recorder.records, lost)
    card = page.body.failure
    assert card.title.text() == "The run was interrupted at step 30"
    assert card.cause.text() == "The worker was ended by signal 9."
    assert "Resume begins again at step 1." in card.remedy.text()


def test_a_run_that_goes_on_by_itself_says_when_and_can_be_told_otherwise(
    live_page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    page = live_page
    sentence = "The worker was ended by signal 11 (memory fault)."
    at = time.time() + 28.6
    changed(host, summary(state=State.RECOVERING, resumes_at=at, sentence=sentence))
    banner = page.body.comeback
    qtbot.waitUntil(banner.isVisible)
    assert banner.when.text().startswith("Resuming in ")
    assert banner.when.text().endswith("\N{NO-BREAK SPACE}s")
    assert banner.why.text() == sentence
    assert not page.body.failure.isVisible()
    assert not page.header.resume.isVisible()
    QTest.mouseClick(banner.now_button, Qt.MouseButton.LeftButton)
    QTest.mouseClick(banner.leave_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(host.asked(Stop)))
    assert [request.run for request in (*host.asked(Resume), *host.asked(Stop))] == [RUN.run] * 2
    changed(host, summary(attempt=2))
    qtbot.waitUntil(lambda: not banner.isVisible())


def test_a_run_is_paused_and_continued(live_page: RunPage, host: HostDouble, qtbot: QtBot) -> None:
    page, header = live_page, live_page.header
    assert header.pause.isVisible()
    assert not header.go_on.isVisible()
    QTest.mouseClick(header.pause, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: [r.run for r in host.asked(Pause)] == [RUN.run])
    changed(host, summary(state=State.PAUSED))
    qtbot.waitUntil(lambda: not header.pause.isVisible())
    assert not header.resume.isVisible()
    assert header.chip.text() == "Paused"
    assert "the card is free" in page.body.busy_text.text()
    QTest.mouseClick(header.go_on, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: [r.run for r in host.asked(Resume)] == [RUN.run])


def test_a_run_that_was_not_to_be_resumed_tells_why_it_ended(page: RunPage) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False)
    recorder.train(1, 30)
    recorder.event(StateChanged, state=State.RECOVERING, sentence="It crashed.")
    recorder.event(StateChanged, state=State.STOPPED, sentence="You chose so. It crashed.")
    shown(page, recorder.records, summary(state=State.STOPPED, step=30, sentence="It crashed."))
    assert page.body.failure.isVisible()


def test_a_run_that_was_simply_stopped_has_nothing_to_tell(page: RunPage) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False)
    recorder.train(1, 30)
    recorder.event(StateChanged, state=State.STOPPED)
    shown(page, recorder.records, summary(state=State.STOPPED, step=30))
    assert not page.body.failure.isVisible()


def test_a_resume_takes_the_failure_away(page: RunPage, records: list[Record]) -> None:
    failed = summary(state=State.FAILED, step=377)
    shown(page, records, failed)
    assert page.body.failure.isVisible()
    page._link.run_changed.emit(summary(attempt=2))
    assert not page.body.failure.isVisible()


def test_the_window_stays_as_large_as_it_is(page: RunPage, records: list[Record]) -> None:
    shown(page, records, summary(state=State.FAILED, step=377))
    page.body.log_button.setChecked(True)
    settle(page)
    assert page.minimumWidth() <= 700
    assert page.size().height() == 860


def test_thousands_of_marks_cost_little(page: RunPage) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=False, step_seconds=1)
    recorder.train(1, 2000)
    for step in range(1, 5001):
        recorder.event(CheckpointSaved, step=step, folder="c", bytes=1, seconds=1.0, reason="time")
        recorder.event(Evaluated, step=step, eval_loss=1.0, seconds=1.0)
    shown(page, recorder.records)
    settle(page)
    board = page.body.board
    spent = []
    for _ in range(5):
        begun = time.process_time()
        marks = marks_of(board._series, board.axis, board.stretch)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.010
    assert 0 < len(marks.saves) <= MOST_MARKS
    assert 0 < len(marks.evaluations) <= MOST_MARKS


def test_the_keyboard_reaches_each_axis(page: RunPage, records: list[Record]) -> None:
    shown(page, records)
    bar = page.body.board.bar
    bar.time.setFocus()
    QTest.keyClick(bar.time, Qt.Key.Key_Tab)
    assert page.focusWidget() is bar.step
    QTest.keyClick(bar.step, Qt.Key.Key_Space)
    assert page.body.board.axis == "step"
    assert not bar.time.isChecked()
    QTest.keyClick(bar.step, Qt.Key.Key_Space)
    assert bar.step.isChecked(), "a second press changes nothing"


# ---------------------------------------------------------------- phases


def test_loading_shows_its_progress(page: RunPage, qtbot: QtBot) -> None:
    preparing = summary(state=State.PREPARING, phase=Phase.TOKENISING, step=0, max_steps=0)
    shown(page, [], preparing)
    assert page.body.busy.isVisible()
    assert page.body.busy_text.text() == "Preparing the data"
    page._link.progress_received.emit(
        Progress(run=RUN.run, phase=Phase.TOKENISING, done=300, total=1200, unit="rows")
    )
    assert page.body.progress.value() == 250
    assert page.body.busy_count.text() == f"300 of 1{words.GROUP}200 rows"
    page._link.run_changed.emit(summary())
    assert not page.body.busy.isVisible()


def test_a_queued_run_says_what_it_waits_for(page: RunPage) -> None:
    shown(page, [], summary(state=State.QUEUED, queue_place=2, step=0))
    assert "2nd in the queue" in page.body.busy_text.text()
    assert page.body._waiting_text.text() == "The graphs begin with the first step."
    assert page.header.chip.text() == "Queued, 2nd"
    assert page.header.stop.isVisible()


# ---------------------------------------------------------------- what can be pressed


@pytest.fixture
def live_page(page: RunPage, host: HostDouble, link: HostLink, qtbot: QtBot) -> RunPage:
    has_runs(host, RUN)
    opened(link, qtbot)
    page.show_run(RUN.run)
    qtbot.waitUntil(lambda: page.header.chip.text() == "Training")
    return page


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [("stop", Stop, {"now": False}), ("save", SaveCheckpoint, {})],
)
def test_buttons_ask_the_host(
    live_page: RunPage,
    host: HostDouble,
    qtbot: QtBot,
    name: str,
    kind: type[Request],
    fields: dict[str, bool],
) -> None:
    QTest.mouseClick(getattr(live_page.header, name), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(host.asked(kind)))
    asked = host.asked(kind)[0]
    assert asked.run == RUN.run
    assert {field: getattr(asked, field) for field in fields} == fields
    qtbot.waitUntil(live_page.notice.isVisible)


def test_resume_is_asked_for_and_a_refusal_is_said(
    live_page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.replies["resume"] = Refusal(to=0, sentence="The disk is full.", code="wrong_state")
    changed(host, summary(state=State.INTERRUPTED))
    qtbot.waitUntil(live_page.header.resume.isVisible)
    QTest.mouseClick(live_page.header.resume, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(host.asked(Resume)))
    qtbot.waitUntil(lambda: live_page.notice.text.text() == "The disk is full.")


def test_saves_are_checked_and_what_is_wrong_is_said(
    live_page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    saves = [SaveChecked(step=step, folder=f"checkpoints/step-{step:08d}", verdict="sound")
             for step in (300, 400)]  # fmt: skip
    host.replies["verify_saves"] = {"saves": msgspec.to_builtins(saves)}
    live_page.header.verify_action.trigger()
    qtbot.waitUntil(lambda: "2 saves were read" in live_page.notice.text.text())
    assert "from step 400" in live_page.notice.text.text()
    problem = "optimizer.safetensors has changed since it was saved."
    saves[1] = msgspec.structs.replace(saves[1], verdict="damaged", problems=[problem])
    host.replies["verify_saves"] = {"saves": msgspec.to_builtins(saves)}
    live_page.header.verify_action.trigger()
    qtbot.waitUntil(lambda: problem in live_page.notice.text.text())
    assert "from step 300" in live_page.notice.text.text()


def dialog_of(page: RunPage) -> Confirm:
    return next(w for w in page.findChildren(QDialog) if isinstance(w, Confirm) and w.isVisible())


def test_stopping_at_once_is_asked_first(
    live_page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    live_page.header.at_once_action.trigger()
    QTest.keyClick(dialog_of(live_page), Qt.Key.Key_Escape)
    QTest.qWait(30)
    assert not host.asked(Stop)
    live_page.header.at_once_action.trigger()
    QTest.mouseClick(dialog_of(live_page).do, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(host.asked(Stop)))
    assert host.asked(Stop)[0].now


def test_removing_is_asked_first_and_needs_rest(
    live_page: RunPage, host: HostDouble, qtbot: QtBot
) -> None:
    assert not live_page.header.remove_action.isEnabled()
    changed(host, summary(state=State.STOPPED))
    qtbot.waitUntil(live_page.header.remove_action.isEnabled)
    live_page.header.remove_action.trigger()
    dialog = dialog_of(live_page)
    assert dialog.keep.isDefault()
    QTest.mouseClick(dialog.do, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(host.asked(Remove)))


def test_the_command_on_the_clipboard_is_the_run(
    live_page: RunPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    spec = toml.to_raw(toml.EXAMPLE)
    host.replies["show"] = {"summary": msgspec.to_builtins(RUN), "spec": spec}
    QApplication.clipboard().clear()
    live_page.header.copy_action.trigger()
    qtbot.waitUntil(lambda: "fettle train" in QApplication.clipboard().text())
    text = QApplication.clipboard().text()
    assert text.splitlines()[-1] == "fettle train support-bot.toml"
    body = text.split("\n", 1)[1].rsplit("\nFETTLE_SPEC", 1)[0]
    (tmp_path / "x.toml").write_text(body, encoding="utf-8")
    raw, complaints = toml.read_file(tmp_path / "x.toml")
    assert not complaints
    assert raw["lora"] == spec["lora"]


def test_commands_suit_the_shell() -> None:
    assert train_command(toml.EXAMPLE, "win32").startswith("@'\n")
    assert "Set-Content" in train_command(toml.EXAMPLE, "win32")
    assert file_name("Mein Lauf / 3; rm -rf $HOME") == "Mein-Lauf-3-rm--rf-HOME.toml"
    assert file_name("夜") == "run.toml"


# ---------------------------------------------------------------- coming and going


def test_another_run_lets_the_first_go(live_page: RunPage, host: HostDouble, qtbot: QtBot) -> None:
    other = summary("20261122-230000-other")
    has_runs(host, other)
    live_page.show_run(other.run, other)
    qtbot.waitUntil(lambda: [f.run for f in host.asked(Follow)] == [RUN.run, other.run])
    assert [u.run for u in host.asked(Unfollow)] == [RUN.run]
    assert len(live_page.feed.series.steps) == 0


def test_last_is_a_run_too(page: RunPage, host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    has_runs(host, RUN)
    page.show_run("last")
    opened(link, qtbot)
    qtbot.waitUntil(lambda: [f.run for f in host.asked(Follow)] == [RUN.run])
    assert {s.run for s in host.asked(Show)} == {"last"}
    assert page.header.title.text().startswith("support-bot · Mistral")


def test_an_unknown_run_is_told(
    page: RunPage, host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.replies["show"] = Refusal(to=0, sentence="There is no run x.", code="not_found")
    opened(link, qtbot)
    with qtbot.waitSignal(page.run_lost) as lost:
        page.show_run("x")
    assert lost.args == ["There is no run x."]


def test_a_removed_run_is_left(live_page: RunPage, link: HostLink, qtbot: QtBot) -> None:
    with qtbot.waitSignal(live_page.run_lost):
        link.run_removed.emit(RUN.run)


def test_themes_switch_under_the_graphs(
    page: RunPage, records: list[Record], theme: Theme, qtbot: QtBot
) -> None:
    shown(page, records)
    settle(page)
    theme.choose("light")
    settle(page)
    image = page.grab().toImage()
    assert image.pixelColor(QPoint(5, 5)).name() == theme.tokens.window
    plot = page.body.board.graphs[0].plot
    corner = plot.mapTo(page, QPoint(3, 3))
    assert image.pixelColor(corner).name() == theme.tokens.card


# ---------------------------------------------------------------- the log


def test_the_log_shows_its_end_and_what_comes(page: RunPage, tmp_path: Path, qtbot: QtBot) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * 400_000 + b"\nlast line\n")
    shown(page, [], summary(folder=str(tmp_path)))
    page.body.log_button.setChecked(True)
    assert "last line" in page.body.log.text.toPlainText()
    assert len(page.body.log.text.toPlainText()) < 300_000
    with log.open("ab") as file:
        file.write("50 %\r100 % ✓\n".encode())
    qtbot.waitUntil(lambda: "100 % ✓" in page.body.log.text.toPlainText())
    log.write_bytes(b"begun anew\n")
    qtbot.waitUntil(lambda: page.body.log.text.toPlainText() == "begun anew\n")


def test_a_log_that_is_not_there_yet_is_no_trouble(page: RunPage, tmp_path: Path) -> None:
    shown(page, [], summary(folder=str(tmp_path)))
    page.body.log_button.setChecked(True)
    assert page.body.log.text.toPlainText() == ""
    assert page.body.log.text.placeholderText() == "Nothing in the log yet."


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_word(state: State) -> None:
    word, _ = run_words.chip_of(summary(state=state))
    assert word


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_ordinals(number: int, word: str) -> None:
    assert run_words.ordinal(number) == word


def test_tiles_of_a_run_that_has_measured_nothing() -> None:
    tiles = tile_words.tiles_of(
        summary(state=State.QUEUED, step=0, max_steps=0, eta_seconds=None, loss=None),
        RunSeries(),
        1e9,
    )
    assert [tile.number for tile in tiles] == ["–", "–", "–", "–", "–", "none yet"]


def test_a_run_at_rest_tells_its_whole_time_and_its_mean_speed() -> None:
    series = RunSeries()
    for n in range(1, 81):
        speed = 1200.0 if n <= 60 else 70.0
        series.add(Step(run="r", seq=n, at=n, step=n, attempt=1, loss=2.0, learning_rate=1e-4,
                        step_ms=speed, tokens=100))  # fmt: skip
    done = summary(state=State.FINISHED, step=80, max_steps=80, train_seconds=95, loss=2.0)
    tiles = {tile.label: tile for tile in tile_words.tiles_of(done, series, 1e9)}
    assert tiles["Time taken"].number == f"1{words.SPACE}m{words.SPACE}35{words.SPACE}s"
    assert tiles["Throughput"].small == f"0.92{words.SPACE}s / step on average"
    assert tiles["Loss"].number == words.loss(done.loss)


def test_a_graph_without_values_says_so_and_has_no_scale(
    page: RunPage, records: list[Record], qtbot: QtBot
) -> None:
    early = [r for r in records[:40] if isinstance(r, Telemetry | StateChanged)]
    shown(page, early, summary(state=State.FAILED, step=0, loss=None))
    board = page.body.board
    board.repaint_all()
    loss = board.graphs[0]
    assert loss.blank_word.isVisible()
    assert loss.blank_word.toPlainText() == "No steps yet"
    assert loss.values.tickValues(0.0, 1.0, 200.0) == []
    assert board.graphs[1].values.tickValues(0.0, 1.0, 200.0)
    shown(page, records, summary(attempt=2))
    board.repaint_all()
    assert not board.graphs[0].blank_word.isVisible()
    assert board.graphs[0].values.tickValues(0.0, 1.0, 200.0)


def test_small_graphs_have_more_than_one_word_on_each_axis() -> None:
    values, places = ValueAxis(plain_word), PlaceAxis()
    assert len(values.tickValues(1.0, 2.6, 64.0)[0][1]) >= 2
    assert len(places.tickValues(0.0, 5100.0, 148.0)[0][1]) >= 2


def test_in_a_low_window_the_graphs_are_on_the_first_screen(
    page: RunPage, records: list[Record], qtbot: QtBot
) -> None:
    shown(page, records, summary(attempt=2))
    page.resize(764, 540)
    board = page.body.board

    def lowest() -> int:
        return max(g.mapTo(page, QPoint(0, g.height())).y() for g in board.graphs[:4])

    qtbot.waitUntil(lambda: page.body.tiles.tiles[0].is_low and 200 < lowest() <= page.height())
    page.resize(1164, 860)
    assert not page.body.tiles.tiles[0].is_low


def test_series_without_a_number_have_no_readout() -> None:
    series = RunSeries()
    assert series.view("loss", "time", 0, 1)[0].tolist() == []
    assert np.isnan(np.array([], dtype=float)).all()


def test_the_chosen_axis_is_remembered(page: RunPage, link: HostLink, theme: Theme) -> None:
    QTest.mouseClick(page.body.board.bar.step, Qt.MouseButton.LeftButton)
    again = RunPage(link, theme, Preferences())
    assert again.body.board.axis == "step"
    assert again.body.board.bar.step.isChecked()
    shiboken6.delete(again)


def test_a_decision_is_no_warning() -> None:
    made = Decision(run=RUN.run, seq=1, at=1.0, title="Smaller batches", reason="They fit.")
    entry = run_words.entry_of(made)
    assert entry is not None
    assert entry.tone == "info"


def test_a_narrow_page_shows_whole_numbers_and_scrolls(page: RunPage, link: HostLink) -> None:
    page.show_run(RUN.run, RUN)
    tell(link, RUN, night(RUN.run, end=time.time()))
    for width, lines in ((764, 2), (1400, 1)):
        page.resize(width, 540)
        QApplication.processEvents()
        tiles = page.body.tiles.tiles
        assert len({tile.y() for tile in tiles}) == lines
        for text in (text for tile in tiles for text in (tile.name, tile.number)):
            assert text.fontMetrics().horizontalAdvance(text.text()) <= text.width()
        assert page.body.width() <= page.width()
        assert page.body.height() > page.body.parentWidget().height()
        assert all(graph.plot.height() >= 96 for graph in page.body.board.graphs)


def test_text_without_room_ends_in_an_ellipsis_and_is_whole_in_the_tip(
    page: RunPage, link: HostLink, qtbot: QtBot
) -> None:
    page.show_run(RUN.run, RUN)
    tell(link, RUN, night(RUN.run, end=time.time()))
    page.resize(764, 540)
    board = page.body.board
    qtbot.waitUntil(lambda: board.graphs[1].spec.title == "Memory of the card")
    qtbot.waitUntil(lambda: board.graphs[1].aside.text().endswith("…"))
    memory = board.graphs[1]
    assert memory.aside.toolTip() == "in use · reserved · allocated · GiB"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.QUEUED, "not started yet"), (State.PAUSED, "paused"),
        (State.RECOVERING, "goes on soon"), (State.STARTING, "after the first steps"),
    ],
)  # fmt: skip
def test_the_time_left_says_why_it_is_not_known(state: State, word: str) -> None:
    tiles = tile_words.tiles_of(summary(state=state, eta_seconds=None), RunSeries(), 1e9)
    assert [tile.small for tile in tiles if tile.label == "Time left"] == [word]
