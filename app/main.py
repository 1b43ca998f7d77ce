"""``python -m app.main``: builds the window and wires its parts. No logic lives here.

numpy and pyqtgraph are imported with the first page that draws graphs, so that the window is there
at once; torch never is.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QWidget

from app import quick_pyside  # noqa: F401 - before all that is imported after it
from app.collector import Collector
from app.link import HostLink
from app.notify import Notifier
from app.pages.runs import RunsPage
from app.preferences import Preferences
from app.theme import Theme
from app.theme_icons import window_icon
from app.window import Window

if TYPE_CHECKING:
    # Pages are imported when they are first looked at.
    from app.form import Draft
    from app.pages.data import DataPage
    from app.pages.new_run import NewRunPage

SIGNAL_LOOK_MS = 250


class App:
    """Everything that lives as long as the window."""

    def __init__(self, qt: QApplication) -> None:
        self.collector = Collector(qt)
        self.preferences = Preferences(parent=qt)
        self.theme = Theme(qt, self.preferences.theme)
        self.link = HostLink(qt, place=self.preferences.place)
        self.window = Window(self.link, self.theme, self.preferences)
        self.notifier = Notifier(self.link, window_icon(), qt)
        window = self.window
        window.add_page("runs", self._make_runs)
        window.add_page("run", self._make_run)
        window.add_page("new_run", self._make_new_run)
        window.add_page("data", self._make_data)
        window.add_page("doctor", self._make_doctor)
        window.add_page("settings", self._make_settings)
        self.preferences.theme_changed.connect(self.theme.choose)
        self.preferences.place_changed.connect(self._on_place_changed)
        self.notifier.fell_back.connect(self._on_notification_fell_back)

    def start(self, run: str | None) -> None:
        """Show the window, then connect."""
        if run:
            self.window.open_run(run)
        else:
            self.window.show_page("runs")
        self.window.show()
        QTimer.singleShot(0, self.link.open)

    def _make_runs(self) -> QWidget:
        page = RunsPage(self.link, self.theme)
        page.run_opened.connect(self.window.open_run)
        page.new_run_wanted.connect(self.window.open_new_run)
        return page

    def _make_run(self) -> QWidget:
        from app.pages.run import RunPage

        page = RunPage(self.link, self.theme, self.preferences)
        page.run_lost.connect(self.window.leave_run)
        return page

    def _make_new_run(self) -> QWidget:
        from app.pages.new_run.page import NewRunPage

        page = NewRunPage(self.link, self.preferences, self.theme)
        page.run_started.connect(self.window.open_run)
        page.said.connect(self.window.say)
        page.data_wanted.connect(self._on_data_wanted)
        return page

    def _make_data(self) -> QWidget:
        from app.pages.data import DataPage

        page = DataPage(self.link, self.preferences, self.theme)
        page.use_wanted.connect(self._on_use_wanted)
        return page

    def _make_doctor(self) -> QWidget:
        from app.pages.doctor import DoctorPage

        page = DoctorPage(self.link, self.theme)
        page.said.connect(self.window.say)
        return page

    def _make_settings(self) -> QWidget:
        from app.pages.settings import SettingsPage

        page = SettingsPage(self.link, self.preferences, self.theme)
        page.said.connect(self.window.say)
        return page

    def _on_data_wanted(self, draft: Draft) -> None:
        cast("DataPage", self.window.page("data")).show_draft(draft)
        self.window.show_page("data")

    def _on_use_wanted(self, draft: Draft) -> None:
        cast("NewRunPage", self.window.page("new_run")).use_data(draft)
        self.window.show_page("new_run")

    def _on_place_changed(self, _place: object) -> None:
        self.window.leave_run()

    def _on_notification_fell_back(self, title: str, text: str, tone: str) -> None:
        self.window.say(f"{title}. {text}", tone)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for. Exits with 2 and a sentence if it makes no sense."""
    parser = argparse.ArgumentParser(prog="fettle app", description="The window of Fettle.")
    parser.add_argument("--run", help="show this run: a unique prefix of its name, or last")
    parser.add_argument("--home", help="folder of all of Fettle's state, instead of FETTLE_HOME")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the window until it is closed; the exit code of the process."""
    wanted = parse(sys.argv[1:] if argv is None else argv)
    if wanted.home:
        os.environ["FETTLE_HOME"] = wanted.home
    qt = QApplication(["fettle"])
    qt.setApplicationName("Fettle")
    qt.setDesktopFileName("fettle")
    quit_on_signals(qt)
    app = App(qt)
    app.start(wanted.run)
    code = qt.exec()
    app.link.close()
    return code


def quit_on_signals(qt: QApplication) -> None:
    """Ctrl+C and SIGTERM close the window. Python only sees them while it runs, so it looks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_on_signal, qt))
    look = QTimer(qt, interval=SIGNAL_LOOK_MS)
    look.timeout.connect(_on_look)
    look.start()


def _on_signal(qt: QApplication, _number: int, _frame: object) -> None:
    qt.closeAllWindows()
    qt.quit()


def _on_look() -> None:
    """Nothing: that Python ran is all that was wanted."""


if __name__ == "__main__":
    sys.exit(main())
