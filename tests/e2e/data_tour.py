"""A person's way with data through the real window, with a picture at each stop.

    python data_tour.py FOLDER MODEL DATA [dark|light]

DATA has columns of its own names. It is dropped on *Data*, where its rows show without a model, and
on *New run*. On both its columns are said to be what they are and its format is switched to and
fro. Then its tokens are looked at, the chat template is edited, and the run is started and watched
to its end. Writes FOLDER/tour.json with the seconds that each stop
took and what was seen there, and FOLDER/*.png. On the screen that is there (Xvfb), else offscreen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QComboBox, QPushButton, QWidget

from app.main import App
from app.pages.data import DataPage
from app.pages.new_run import NewRunPage
from app.pages.run import RunPage
from app.preferences import Preferences
from tests.e2e.window_process import write

PATIENCE_SECONDS = 60.0
STEPS = "4"


class Tour:
    """Goes through the window and notes what it saw."""

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._folder = folder
        self.stops: dict[str, dict[str, Any]] = {}

    def stop(self, name: str, act: Callable[[], None], holds: Callable[[], Any]) -> None:
        """Do something, wait until it shows, and keep the picture."""
        began = time.perf_counter()
        act()
        while not (seen := holds()):
            if time.perf_counter() - began > PATIENCE_SECONDS:
                self.picture(f"{name}-missed")
                raise TimeoutError(name)
            QTest.qWait(5)
        self.stops[name] = {"seconds": round(time.perf_counter() - began, 3), "seen": seen}
        self.picture(name)

    def picture(self, name: str) -> None:
        """Keep what the window shows."""
        QTest.qWait(150)
        self._app.window.grab().save(str(self._folder / f"{name}.png"))

    @property
    def new_run(self) -> NewRunPage:
        """The page."""
        page = self._app.window.page("new_run")
        assert isinstance(page, NewRunPage)
        return page

    @property
    def data(self) -> DataPage:
        """The page."""
        page = self._app.window.page("data")
        assert isinstance(page, DataPage)
        return page

    @property
    def run(self) -> RunPage:
        """The page."""
        page = self._app.window.page("run")
        assert isinstance(page, RunPage)
        return page


def go(tour: Tour, app: App, model: str, data: Path) -> None:
    """The whole way."""
    tour.stop("connected", lambda: app.window.show_page("data"), lambda: app.link.is_connected)
    see_rows(tour, data)
    page = tour.new_run
    tour.stop("new-run", lambda: app.window.show_page("new_run"), page.isVisible)
    write(page.model.line, model)
    click(page.model.chip("lora16"))
    page.settings.show_all()
    write(page.settings.editors["training.max_steps"].control, STEPS)
    tour.stop("dropped", lambda: drop(page, data), lambda: first_row(tour))
    tour.stop("unsure", lambda: None, lambda: list(page.data.view.columns.lists))
    tour.stop("mapped", lambda: map_columns(tour), lambda: example(tour, "alpaca"))
    choose_format = page.data.format.control
    assert isinstance(choose_format, QComboBox)
    tour.stop(
        "another-format", lambda: choose(choose_format, "prompt_completion"),
        lambda: page.data.facts.get("format") == "prompt_completion"
        or [str(complaint) for complaint in page.form.complaints if "dataset" in complaint.field],
    )  # fmt: skip
    tour.stop("format-back", lambda: choose(choose_format, "auto"), lambda: example(tour, "alpaca"))
    tour.stop("tokens", lambda: click(page.data.view.look), lambda: sample_text(tour))
    templates = tour.data.templates
    text = templates.card.text
    tour.stop("editing", lambda: click(templates.bar.edit), text.toPlainText)
    own = text.toPlainText()
    tour.stop(
        "broken-template", lambda: text.setPlainText(own + "{% if %}"),
        lambda: templates.card.problem.text().startswith("Line"),
    )  # fmt: skip
    tour.stop(
        "edited-template", lambda: text.setPlainText("Tour: " + own),
        lambda: templates.card.use.isEnabled()
        and tour.data.samples.view.toPlainText().startswith("Tour:"),
    )  # fmt: skip
    tour.stop(
        "used-template", lambda: click(templates.card.use),
        lambda: not tour.data.inspector.is_busy and "jinja" in templates.bar.template.currentText(),
    )  # fmt: skip
    tour.stop(
        "back-to-run", lambda: click(tour.data.use),
        lambda: app.window.shown == "new_run" and page.data.facts,
    )  # fmt: skip
    tour.stop(
        "started", lambda: click(page.header.start),
        lambda: app.window.shown == "run" and tour.run.feed.run,
    )  # fmt: skip
    tour.stop("finished", lambda: None, lambda: state(tour) == "finished")
    QTest.qWait(1500)  # The graphs follow a moment later.
    tour.picture("finished")


def see_rows(tour: Tour, data: Path) -> None:
    """What the Data page tells before a model is chosen."""
    page = tour.data
    tour.stop("rows-at-once", lambda: drop(page, data), lambda: rows_and_format(tour))
    tour.stop("rows-unsure", lambda: None, lambda: list(page.state.columns.lists))
    tour.stop("rows-mapped", lambda: map_rows(tour), lambda: page.use.isVisible())
    choose_format = page.source.format
    tour.stop(
        "rows-other-format", lambda: choose_at_once(choose_format, "messages"),
        lambda: page.state.text.text() if page.state.ways else "",
    )  # fmt: skip
    tour.stop("rows-format-back", lambda: click(page.state.ways[0]), lambda: page.use.isVisible())


# ---------------------------------------------------------------- what a person does


def drop(page: QWidget, path: Path) -> None:
    """Drag a file over the page and let it go."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    copy, none, left = (
        Qt.DropAction.CopyAction,
        Qt.KeyboardModifier.NoModifier,
        Qt.MouseButton.LeftButton,
    )
    entering = QDragEnterEvent(page.rect().center(), copy, mime, left, none)
    QApplication.sendEvent(page, entering)
    assert entering.isAccepted()
    dropped = QDropEvent(QPointF(page.rect().center()), copy, mime, left, none)
    QApplication.sendEvent(page, dropped)
    assert dropped.isAccepted()


def click(button: QPushButton) -> None:
    """With the mouse."""
    assert button.isVisible()
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(box: QComboBox, value: str) -> None:
    """With the keyboard, as far as the entry."""
    box.setFocus()
    QTest.keyClick(box, Qt.Key.Key_Home)
    while box.currentData() != value:
        before = box.currentIndex()
        QTest.keyClick(box, Qt.Key.Key_Down)
        assert box.currentIndex() != before, f"{value} is not in the list"


def choose_at_once(box: QComboBox, value: str) -> None:
    """With the list opened: nothing is asked for on the way to the entry."""
    box.setFocus()
    box.showPopup()
    box.view().setCurrentIndex(box.model().index(box.findData(value), 0))
    QTest.keyClick(box.view(), Qt.Key.Key_Return)
    assert box.currentData() == value


def map_rows(tour: Tour) -> None:
    """Say what each column is, on the Data page."""
    columns = tour.data.state.columns
    choose(columns.lists["ask"], "instruction")
    choose(columns.lists["reply"], "output")


def map_columns(tour: Tour) -> None:
    """Say what each column is."""
    lists = tour.new_run.data.view.columns.lists
    choose(lists["ask"], "instruction")
    choose(tour.new_run.data.view.columns.lists["reply"], "output")


# ---------------------------------------------------------------- what a person sees


def rows_and_format(tour: Tour) -> list[str]:
    """The first rows on the Data page, and what shape they are said to have."""
    view = tour.data.first.card.view
    is_there = view.isVisible() and tour.data.chip.isVisible() and view.toPlainText()
    return [view.toPlainText(), tour.data.chip.text()] if is_there else []


def first_row(tour: Tour) -> str:
    """The first cell of the table of rows; empty while there is none."""
    item = tour.new_run.data.view.table.item(0, 0)
    return item.text() if item is not None and tour.new_run.data.view.table.isVisible() else ""


def example(tour: Tour, format: str) -> str:
    """What is learnt of the first row, once the file is taken as of that format."""
    card = tour.new_run.data
    is_there = card.facts.get("format") == format and card.view.example.isVisible()
    return card.view.example.text() if is_there else ""


def sample_text(tour: Tour) -> str:
    """The sample that the Data page shows."""
    sample = tour.data.samples.sample
    return sample.text if sample is not None and not tour.data.inspector.is_busy else ""


def state(tour: Tour) -> str:
    """Of the run on its page."""
    summary = tour.run.feed.summary
    return summary.state.value if summary else ""


def main() -> int:
    folder, model, data = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qt = QApplication(["fettle"])
    if sys.argv[4:]:
        Preferences().set_theme(sys.argv[4])
    app = App(qt)
    app.start(None)
    app.window.resize(1360, 860)
    tour = Tour(app, folder)
    try:
        go(tour, app, model, data)
    finally:
        told = {"platform": QApplication.platformName(), "stops": tour.stops}
        (folder / "tour.json").write_text(json.dumps(told, indent=1))
        app.link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
