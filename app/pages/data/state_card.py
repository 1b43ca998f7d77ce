"""What stands on the Data page while there is no report: what is going on, or why there is none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QPushButton

from app import data_words
from app.data_ways import Way
from app.form import Draft
from app.link import HostLink
from app.pages.data.standing import Standing
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.starter import as_the_engine_reads
from app.widgets.flow import Flow
from app.widgets.parts import Card, button, label
from engine.contract.dataset_report import COMPARED, IDLE_WORDS, ROWS
from engine.contract.messages import PreviewDataset

_COLUMNS = "dataset.columns"


class StateCard(Card):
    """A headline and a text; while tokens are made a progress bar, and where the data is not
    learnt from as it is buttons for what helps, and lists of columns.

    Signals:
        patch_wanted: how the data is to be read (dict); columns once rows can be read by them.
    """

    patch_wanted = Signal(object)

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
        self.ways: list[QPushButton] = []
        self._ways = Flow()
        for part in (self.headline, self.text, self.bar):
            self.column.addWidget(part)
        self.column.addLayout(self._ways)
        self.column.addWidget(self.columns)

    def show_standing(self, said: Standing, *, busy: bool = False) -> None:
        """Say this; ``busy`` until it is known how far it is."""
        self.headline.setText(said.headline)
        self.text.setText(said.text)
        self.text.setVisible(bool(said.text))
        self.bar.setRange(0, 0)
        self.bar.setVisible(busy)
        self._first, self._unit = None, ROWS
        self._asked += 1
        self.columns.hide()
        self._show_ways(said.ways)

    def _show_ways(self, ways: Sequence[Way]) -> None:
        while self._ways.takeAt(0) is not None:
            pass
        for old in self.ways:
            old.hide()
            old.deleteLater()
        self.ways = [button(way.text, "small", tip=way.tip) for way in ways]
        for made, way in zip(self.ways, ways, strict=True):
            made.clicked.connect(partial(self.patch_wanted.emit, way.patch))
            self._ways.addWidget(made)

    def advance(self, done: int, total: int, unit: str) -> None:
        """So many rows are tokens, of about ``total`` (0 if unknown); then, by the unit, compared
        with each other."""
        if idle := IDLE_WORDS.get(unit):
            self.text.setText(f"{idle}.")
            return
        if unit != self._unit:
            self._first, self._unit = None, unit
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        rate = (done - before) / (now - began) if now > began else 0.0
        is_compared = unit == COMPARED
        self.text.setText(data_words.progress(done, total, rate, is_compared=is_compared))

    def ask_for_columns(self, draft: Draft, problem: str, facts: dict[str, Any]) -> None:
        """Let the person say what the columns of a draft's file are, which ``facts`` are known of;
        none where it has no columns of the names that were said. Beside the lists for it,
        ``problem`` is all that need be said."""
        self._problem = problem
        named = draft.get(_COLUMNS)
        self._draft, self._named = draft, dict(named) if isinstance(named, dict) else {}
        if not draft.get("dataset.path"):  # A mixture has columns for each of its parts.
            return
        if facts:
            self._show_columns(facts, self._named)
        else:
            self._ask_without_names()

    def _ask(self, named: dict[str, str]) -> None:
        spec = as_the_engine_reads(
            {"dataset": {"path": self._draft.get("dataset.path")}}, self._link.place
        )
        pending = self._link.ask(
            PreviewDataset, path=spec["dataset"]["path"], columns=named,
            roles=self._draft.get("dataset.roles") or {},
        )  # fmt: skip
        self._asked += 1
        pending.setProperty("asked", self._asked)
        pending.setProperty("named", named)
        pending.replied.connect(self._on_preview)
        pending.refused.connect(self._on_unknown)

    def _on_mapped(self, named: dict[str, str]) -> None:
        self._ask(named)

    def _on_preview(self, facts: dict[str, Any]) -> None:
        if self.sender().property("asked") != self._asked:
            return  # Something else is going on, or asked, by now.
        named = dict(self.sender().property("named"))
        if named != self._named and facts.get("format") != "unknown":
            self.patch_wanted.emit({_COLUMNS: named or None})
            return
        self._show_columns(facts, named)

    def _show_columns(self, facts: dict[str, Any], named: dict[str, str]) -> None:
        self.columns.show_columns(facts, named, is_asked=True)
        if not self.columns.isHidden():
            self.text.setText(self._problem)

    def _on_unknown(self) -> None:
        if self.sender().property("asked") == self._asked and self.sender().property("named"):
            self._ask_without_names()

    def _ask_without_names(self) -> None:
        """A column that was named is not there: which are, is to be seen without any."""
        self._named = {}
        self._ask({})
