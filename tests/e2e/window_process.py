"""The real window in a process of its own, driven through its widgets and told on in a file.

    python window_process.py STATE_FILE start MODEL DATA STEPS
    python window_process.py STATE_FILE watch RUN

Writes to STATE_FILE, over and over, what the person at the window would see: the run, its state as
the page has it, and every step that reached the page, in order of arrival.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QWidget

from app.following import decode_column
from app.main import App
from app.pages.new_run import NewRunPage
from app.pages.run import RunPage
from engine.contract.messages import Columns, Record, Step

TELL_MS = 20


class Driver(QObject):
    """Sits at the window."""

    def __init__(self, app: App, state_file: Path) -> None:
        super().__init__()
        self._app = app
        self._state_file = state_file
        self._arrived: list[int] = []
        self._losses = 0
        self._connections = 0
        app.link.record_received.connect(self._on_record)
        app.link.columns_received.connect(self._on_columns)
        app.link.connected.connect(self._on_connected)
        app.link.disconnected.connect(self._on_disconnected)
        self._tell = QTimer(self, interval=TELL_MS)
        self._tell.timeout.connect(self._on_tell)
        self._tell.start()

    def start_run(self, model: str, data: str, steps: str) -> None:
        """Fill in the New run page as a person would, and press Start."""
        self._app.window.show_page("new_run")
        page = self.new_run
        write(page.model.line, model)
        write(page.data.path.control, data)
        QTest.mouseClick(page.model.chip("lora16"), Qt.MouseButton.LeftButton)
        page.settings.show_all()
        write(page.settings.editors["training.max_steps"].control, steps)
        self._when_seen = QTimer(self, interval=10)
        self._when_seen.timeout.connect(self._on_maybe_seen)
        self._when_seen.start()

    @property
    def new_run(self) -> NewRunPage:
        page = self._app.window.page("new_run")
        assert isinstance(page, NewRunPage)
        return page

    def _on_maybe_seen(self) -> None:
        if self.new_run.data.facts:
            self._when_seen.stop()
            QTest.mouseClick(self.new_run.header.start, Qt.MouseButton.LeftButton)

    def _on_record(self, record: Record) -> None:
        if isinstance(record, Step):
            self._arrived.append(record.step)

    def _on_columns(self, piece: Columns) -> None:
        if piece.kind == "step":
            self._arrived += [int(step) for step in decode_column(piece.data["step"])]

    def _on_connected(self, _hello: object) -> None:
        self._connections += 1

    def _on_disconnected(self, _sentence: str) -> None:
        self._losses += 1

    def _on_tell(self) -> None:
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(self._state()))
        temporary.replace(self._state_file)

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "shown": self._app.window.shown,
            "arrived": self._arrived,
            "connections": self._connections,
            "losses": self._losses,
            "outage": self._app.link.outage,
            "notice": self._app.window.notice.text() if self._app.window.notice.isVisible() else "",
        }
        if self._app.window.shown == "run":
            state |= self._of_run_page()
        elif self._app.window.shown == "new_run":
            state["complaints"] = [str(c) for c in self.new_run.form.complaints]
        return state

    def _of_run_page(self) -> dict[str, Any]:
        page = self._app.window.page("run")
        assert isinstance(page, RunPage)
        summary = page.feed.summary
        return {
            "run": page.feed.run,
            "state": summary.state.value if summary else "",
            "step": summary.step if summary else 0,
            "graph_steps": [int(step) for step in page.feed.series.steps["step"]],
            "graph_losses": [float(loss) for loss in page.feed.series.steps["loss"]],
        }


def write(line: QWidget, text: str) -> None:
    """Type a text into a field, over what was there."""
    assert isinstance(line, QLineEdit)
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, text)


def main() -> int:
    state_file, verb, *rest = sys.argv[1:]
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qt = QApplication(["fettle"])
    app = App(qt)
    driver = Driver(app, Path(state_file))
    app.start(rest[0] if verb == "watch" else None)
    if verb == "start":
        driver.start_run(*rest)
    code = qt.exec()
    app.link.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
