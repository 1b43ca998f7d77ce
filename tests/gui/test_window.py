"""The window as it is really put together: navigation, keys, memory of itself, light start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app.main import App, parse
from app.widgets.rail import machine_words
from app.window import FIRST_SIZE
from engine.contract.lifecycle import State
from engine.contract.messages import Refusal
from tests.gui.host_double import HostDouble
from tests.gui.pages import changed, has_runs, host
from tests.gui.recorded import summary

__all__ = ["host"]

RUN = summary()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def app(qapp: QApplication, host: HostDouble, qtbot: QtBot) -> Iterator[App]:
    has_runs(host, RUN)
    host.replies["facts"] = {"facts": {"gpus": [], "ram_total_bytes": 24 << 30}}
    made = App(qapp)
    qtbot.addWidget(made.window)
    yield made
    made.link.close()
    end(made)
    qapp.setStyleSheet("")


def end(app: App) -> None:
    """Delete what lives as long as the process does, elsewhere."""
    for part in (app.notifier, app.link, app.theme, app.preferences, app.collector):
        shiboken6.delete(part)


def started(app: App, qtbot: QtBot, run: str | None = None) -> App:
    with qtbot.waitSignal(app.link.connected):
        app.start(run)
    return app


# ---------------------------------------------------------------- anywhere


def test_a_wheel_changes_no_setting(app: App, qtbot: QtBot) -> None:
    """Over a list or a number it turns the page, whether or not that has the keyboard."""
    started(app, qtbot)
    for name in ("runs", "run", "new_run", "data", "doctor", "settings"):
        app.window.show_page(name)
    kinds = (QComboBox, QAbstractSpinBox)
    controls = [each for kind in kinds for each in app.window.findChildren(kind)]
    assert len(controls) > 10
    for control in controls:
        name = control.accessibleName() or control.objectName()
        assert (
            not control.focusPolicy() & Qt.FocusPolicy.WheelFocus & ~Qt.FocusPolicy.StrongFocus
        ), name
        control.setFocus()
        wheel = QWheelEvent(
            QPointF(4, 4), control.mapToGlobal(QPointF(4, 4)), QPoint(), QPoint(0, -120),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
            False,
        )  # fmt: skip
        control.wheelEvent(wheel)
        assert not wheel.isAccepted(), name


# ---------------------------------------------------------------- starting


def test_the_start_loads_neither_torch_nor_graphs() -> None:
    code = (
        "import app.main, sys; heavy = {'torch', 'numpy', 'pyqtgraph', 'engine.worker'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_starts_with_the_list_and_connects(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    assert app.window.shown == "runs"
    qtbot.waitUntil(lambda: app.window.rail.machine.machine.text() != "")
    assert app.window.rail.machine.machine.text() == "No GPU · RAM 24.0\N{NO-BREAK SPACE}GiB"
    assert app.window.rail.machine.state.text() == "This machine"


def test_it_can_start_with_a_run(app: App, qtbot: QtBot) -> None:
    started(app, qtbot, "last")
    assert app.window.shown == "run"
    page = app.window.page("run")
    qtbot.waitUntil(lambda: page.header.chip.text() == "Training")  # type: ignore[attr-defined]


def test_pages_are_made_when_they_are_wanted(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    assert set(app.window._pages) == {"runs"}
    app.window.show_page("settings")
    assert set(app.window._pages) == {"runs", "settings"}


def test_arguments() -> None:
    assert (parse([]).run, parse([]).home) == (None, None)
    assert parse(["--run", "last", "--home", "/x"]).home == "/x"
    with pytest.raises(SystemExit) as ended:
        parse(["--no-such-thing"])
    assert ended.value.code == 2


# ---------------------------------------------------------------- going about


@pytest.mark.parametrize(
    ("key", "page"),
    [
        (Qt.Key.Key_1, "new_run"),
        (Qt.Key.Key_N, "new_run"),
        (Qt.Key.Key_2, "runs"),
        (Qt.Key.Key_3, "data"),
        (Qt.Key.Key_4, "doctor"),
        (Qt.Key.Key_5, "settings"),
    ],
)
def test_keys_go_to_pages(app: App, qtbot: QtBot, key: Qt.Key, page: str) -> None:
    started(app, qtbot)
    QTest.keyClick(app.window, key, Qt.KeyboardModifier.ControlModifier)
    assert app.window.shown == page


def test_find_goes_to_the_search_field_from_anywhere(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.activateWindow()
    app.window.show_page("settings")
    QTest.keyClick(app.window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    assert app.window.shown == "runs"
    assert app.window.page("runs").search.hasFocus()  # type: ignore[attr-defined]


def test_escape_leads_back_from_a_run(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.open_run(RUN.run, RUN)
    assert app.window.shown == "run"
    assert entry(app, "Runs").isChecked()
    QTest.keyClick(app.window, Qt.Key.Key_Escape)
    assert app.window.shown == "runs"


def entry(app: App, text: str) -> QAbstractButton:
    buttons = app.window.rail.findChildren(QAbstractButton)
    return next(button for button in buttons if button.accessibleName() == text)


def test_the_rail_leads_everywhere(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    for text, page in (
        ("New run", "new_run"),
        ("Doctor", "doctor"),
        ("Settings", "settings"),
        ("Runs", "runs"),
    ):
        QTest.mouseClick(entry(app, text), Qt.MouseButton.LeftButton)
        assert app.window.shown == page
        assert entry(app, text).isChecked()


def test_a_run_is_opened_from_the_list_and_left_when_it_is_gone(
    app: App, host: HostDouble, qtbot: QtBot
) -> None:
    started(app, qtbot)
    runs = app.window.page("runs")
    qtbot.waitUntil(lambda: runs.model.rowCount() == 1)  # type: ignore[attr-defined]
    runs.now_view.choose(0)  # type: ignore[attr-defined]
    QTest.keyClick(runs.now_view, Qt.Key.Key_Return)  # type: ignore[attr-defined]
    assert app.window.shown == "run"
    app.link.run_removed.emit(RUN.run)
    assert app.window.shown == "runs"
    assert app.window.notice.text.text() == "This run was removed."


def test_tab_reaches_everything_that_can_be_pressed(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.activateWindow()
    runs = app.window.page("runs")
    qtbot.waitUntil(lambda: runs.now_view.isVisible())  # type: ignore[attr-defined]
    reached: set[QWidget] = set()
    for _ in range(40):
        QTest.keyClick(app.window, Qt.Key.Key_Tab)
        focus = QApplication.focusWidget()
        assert focus is not None
        reached.add(focus)
    wanted = [entry(app, name) for name in ("New run", "Runs", "Doctor", "Settings")]
    wanted += [runs.search, runs.order, runs.new_run, runs.now_view]  # type: ignore[attr-defined]
    assert not [widget.accessibleName() for widget in wanted if widget not in reached]


def test_what_can_be_pressed_has_a_name(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    for name in ("runs", "run", "new_run", "doctor", "settings"):
        page = app.window.page(name)
        kinds = (QAbstractButton, QLineEdit, QComboBox)
        nameless = [
            widget
            for kind in kinds
            for widget in page.findChildren(kind)
            if not (widget.accessibleName() or getattr(widget, "text", str)())
            and not widget.objectName().startswith("qt_")
            and not isinstance(widget.parent(), QLineEdit | QComboBox)
        ]
        assert not nameless, name


def test_focus_can_be_seen(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.activateWindow()
    target = app.window.page("runs").new_run  # type: ignore[attr-defined]
    app.window.setFocus()
    before = target.grab().toImage()
    target.setFocus(Qt.FocusReason.TabFocusReason)
    assert target.grab().toImage() != before


# ---------------------------------------------------------------- what it remembers and tells


def test_it_opens_where_it_was_closed(app: App, qapp: QApplication, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.resize(800, 640)
    app.window.close()
    app.link.close()
    again = App(qapp)
    qtbot.addWidget(again.window)
    assert (again.window.width(), again.window.height()) == (800, 640)
    end(again)


def test_it_fits_the_screen_fresh_and_brought_back(
    app: App, qapp: QApplication, qtbot: QtBot
) -> None:
    room = app.window.screen().availableGeometry()
    assert room.width() < FIRST_SIZE[0], "this screen is too large to tell"
    assert room.contains(app.window.geometry())
    started(app, qtbot)
    app.window.setGeometry(room.right() - 50, room.bottom() - 50, 2000, 1500)
    app.window.close()
    app.link.close()
    again = App(qapp)
    qtbot.addWidget(again.window)
    assert room.contains(again.window.geometry())
    end(again)


def test_the_chosen_theme_is_kept(app: App, qapp: QApplication, qtbot: QtBot) -> None:
    app.preferences.set_theme("light")
    assert app.theme.name == "light"
    again = App(qapp)
    qtbot.addWidget(again.window)
    assert again.theme.name == "light"
    end(again)


def test_an_outage_is_said_in_the_rail_and_goes_away(
    app: App, host: HostDouble, qtbot: QtBot
) -> None:
    started(app, qtbot)
    state = app.window.rail.machine.state
    qtbot.waitUntil(lambda: state.text() == "This machine")
    app.link.disconnected.emit("The engine ended. It is being started again.")
    assert state.text() == "Not connected"
    assert state.toolTip().startswith("The engine ended.")
    host.drop()
    qtbot.waitUntil(lambda: state.text() == "This machine")


def test_another_place_closes_the_run(app: App, qtbot: QtBot) -> None:
    started(app, qtbot)
    app.window.open_run(RUN.run, RUN)
    app.preferences.place_changed.emit(app.preferences.place)
    assert app.window.shown == "runs"
    assert app.window.page("run").feed.run == ""  # type: ignore[attr-defined]


def test_the_end_of_a_run_is_told_where_the_desktop_cannot(
    app: App, host: HostDouble, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.notify.notify_send", lambda: "")
    started(app, qtbot)
    changed(host, RUN)
    changed(host, summary(state=State.FINISHED))
    qtbot.waitUntil(app.window.notice.isVisible)
    assert app.window.notice.text.text().startswith("Finished: support-bot.")


def test_a_list_that_is_refused_is_told(host: HostDouble, app: App, qtbot: QtBot) -> None:
    host.replies["list_runs"] = Refusal(to=0, sentence="The store cannot be read.")
    started(app, qtbot)
    notice = app.window.page("runs").notice  # type: ignore[attr-defined]
    qtbot.waitUntil(lambda: notice.text.text() == "The store cannot be read.")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"gpus": [{"name": "NVIDIA GeForce RTX 2080 Ti", "vram_total_bytes": 11 << 30}]},
            "RTX 2080 Ti · 11.0\N{NO-BREAK SPACE}GiB",
        ),
        ({"gpus": [{"name": "NVIDIA H100"}, {}]}, "H100 +1 · –"),
        ({}, "No GPU · RAM –"),
    ],
)
def test_the_machine_in_a_few_words(facts: dict[str, object], text: str) -> None:
    assert machine_words(facts) == text


def test_no_gl_context_is_made(app: App, qtbot: QtBot) -> None:
    """The window shares the card with the training: raster surfaces only."""
    started(app, qtbot)
    for name in ("run", "runs", "new_run", "doctor", "settings"):
        app.window.show_page(name)
    from PySide6.QtOpenGLWidgets import QOpenGLWidget

    assert not app.window.findChildren(QOpenGLWidget)
    for window in QGuiApplication.topLevelWindows():
        assert window.surfaceType() != window.SurfaceType.OpenGLSurface
