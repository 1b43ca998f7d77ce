"""Saves a report of a run: asks what goes in and where to, and has the host write it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QApplication, QCheckBox, QDialog, QFileDialog, QWidget

from app import words
from app.link import HostLink
from app.widgets.parts import button, column, label, row
from engine.contract.messages import MakeReport, Refusal, RunSummary

_FILTER = "Report (*.zip)"


class ReportQuestion(QDialog):
    """What is in a report, and whether rows of the data go with it.

    Signals:
        confirmed: it is to be saved; whether with rows.
    """

    confirmed = Signal(bool)

    def __init__(self, parent: QWidget, name: str) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Fettle")
        self.setModal(True)
        self.setMinimumWidth(440)
        self.with_data = QCheckBox("With the first 20 rows of the data")
        self.cancel = button("Cancel")
        self.save = button("Save…", "primary")
        self.save.setDefault(True)
        self.save.setFocus()
        text = (
            "An archive for whoever helps: the recipe, what happened, the end of the log, and what "
            "this machine is. Tokens, your name, your folders and rows of your data are taken out. "
            "Look it through before you give it away."
        )
        self.setLayout(
            column(
                label(f"Save a report of {name}", "heading", wrap=True),
                label(text, "muted", wrap=True),
                self.with_data,
                row(None, self.cancel, self.save),
                margins=(20, 18, 20, 16),
                spacing=12,
            )
        )
        self.cancel.clicked.connect(self.reject)
        self.save.clicked.connect(self.accept)
        self.accepted.connect(self._on_accepted)

    def _on_accepted(self) -> None:
        self.confirmed.emit(self.with_data.isChecked())


class Reporter(QObject):
    """Saves reports of runs.

    Signals:
        said: a sentence about what was done or why not, and its tone.
    """

    said = Signal(str, str)

    def __init__(self, link: HostLink, window: QWidget) -> None:
        super().__init__(window)
        self._link = link
        self._window = window

    def ask(self, summary: RunSummary) -> None:
        """Ask what goes in, and then for a place where the engine is on this machine."""
        question = ReportQuestion(self._window, summary.name)
        question.confirmed.connect(partial(self._on_confirmed, summary))
        question.open()

    def _on_confirmed(self, summary: RunSummary, with_data: bool) -> None:
        path = ""
        if self._link.place.kind == "this":
            start = str(Path.home() / f"{summary.run}-report.zip")
            path, _ = QFileDialog.getSaveFileName(self._window, "Save a report", start, _FILTER)
            if not path:
                return
        self.save(summary, path, with_data=with_data)

    def save(self, summary: RunSummary, path: str, *, with_data: bool) -> None:
        """Have it written; without a path, into the reports folder of the engine's machine."""
        pending = self._link.ask(MakeReport, run=summary.run, path=path, with_data=with_data)
        pending.replied.connect(self._on_written)
        pending.refused.connect(self._on_refused)

    def _on_written(self, data: dict[str, Any]) -> None:
        path, size = str(data.get("path", "")), words.size(data.get("bytes"))
        if self._link.place.kind == "this":
            self.said.emit(f"Saved: {path} ({size}).", "good")
            return
        QApplication.clipboard().setText(path)
        where = self._link.place.label()
        self.said.emit(f"The report is on {where}. Its path was copied: {path} ({size})", "good")

    def _on_refused(self, refusal: Refusal) -> None:
        self.said.emit(refusal.sentence, "danger")
