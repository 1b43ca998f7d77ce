"""What stands on the Data page while there is no report: what is going on, or why there is none."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar

from app import data_words
from app.form import Draft
from app.link import HostLink
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.starter import as_the_engine_reads
from app.widgets.parts import Card, label
from engine.contract.dataset_report import COMPARED, ROWS
from engine.contract.messages import PreviewDataset


class StateCard(Card):
    """A headline and a text; while tokens are made a progress bar, and lists of columns where only
    the person can say which is which.

    Signals:
        columns_wanted: what columns are, once rows can be read by it (dict as dataset.columns).
    """

    columns_wanted = Signal(object)

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self._link = link
        self._unit = ""
        self._first: tuple[float, int] | None = None
        """When it was first told how far it is, by this unit, and how far that was."""
        self._draft = Draft()
        """Of the data whose columns are asked for."""
        self._named: dict[str, str] = {}
        self._problem = ""
        self._asked = 0
        """Number of the question whose answer is still wanted."""
        self.headline = label("", "headline", wrap=True)
        self.text = label("", "muted", wrap=True)
        self.bar = QProgressBar(textVisible=False)
        self.bar.setAccessibleName("Making tokens")
        self.columns = ColumnMap()
        self.columns.mapped.connect(self._on_mapped)
        for part in (self.headline, self.text, self.bar, self.columns):
            self.column.addWidget(part)

    def show_words(self, headline: str, text: str, *, busy: bool = False) -> None:
        """Say this; ``busy`` until it is known how far it is."""
        self.headline.setText(headline)
        self.text.setText(text)
        self.bar.setRange(0, 0)
        self.bar.setVisible(busy)
        self._first, self._unit = None, ROWS
        self._asked += 1
        self.columns.hide()

    def advance(self, done: int, total: int, unit: str) -> None:
        """So many rows are tokens, of about ``total`` (0 if unknown); then, by the unit, compared
        with each other."""
        if unit != self._unit:
            self._first, self._unit = None, unit
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        rate = (done - before) / (now - began) if now > began else 0.0
        is_compared = unit == COMPARED
        self.text.setText(data_words.progress(done, total, rate, is_compared=is_compared))

    def ask_for_columns(self, draft: Draft, problem: str) -> None:
        """Let the person say what the columns of a draft's file are. Beside the lists for it,
        ``problem`` is all that need be said."""
        self._problem = problem
        named = draft.get("dataset.columns")
        self._draft, self._named = draft, dict(named) if isinstance(named, dict) else {}
        if draft.get("dataset.path"):  # A mixture has columns for each of its parts.
            self._ask(self._named)

    def _ask(self, named: dict[str, str]) -> None:
        spec = as_the_engine_reads(
            {"dataset": {"path": self._draft.get("dataset.path")}}, self._link.place
        )
        pending = self._link.ask(PreviewDataset, path=spec["dataset"]["path"], columns=named)
        self._asked += 1
        pending.setProperty("asked", self._asked)
        pending.setProperty("named", named)
        pending.replied.connect(self._on_preview)

    def _on_mapped(self, named: dict[str, str]) -> None:
        self._ask(named)

    def _on_preview(self, facts: dict[str, Any]) -> None:
        if self.sender().property("asked") != self._asked:
            return  # Something else is going on, or asked, by now.
        named = dict(self.sender().property("named"))
        if named != self._named and facts.get("format") != "unknown":
            self.columns_wanted.emit(named)
            return
        self.columns.show_columns(facts, named)
        if not self.columns.isHidden():
            self.text.setText(self._problem)
