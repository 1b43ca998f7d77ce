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
from app.pages.data.column_asker import ColumnAsker
from app.pages.data.standing import Standing
from app.widgets.flow import Flow
from app.widgets.parts import Card, button, label
from engine.contract.dataset_report import COMPARED, IDLE_WORDS, ROWS


class StateCard(Card):
    """A headline and a text; while tokens are made a progress bar, and where the data is not
    learnt from as it is buttons for what helps, and lists of columns.

    Signals:
        patch_wanted: how the data is to be read (dict); columns once rows can be read by them.
    """

    patch_wanted = Signal(object)

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self._unit = ""
        self._first: tuple[float, int] | None = None
        """When it was first told how far it is, by this unit, and how far that was."""
        self._problem = ""
        self.headline = label("", "headline", wrap=True)
        self.text = label("", "muted", wrap=True)
        self.bar = QProgressBar(textVisible=False)
        self.bar.setAccessibleName("Making tokens")
        self._asker = ColumnAsker(link, self)
        self._asker.patch_wanted.connect(self.patch_wanted)
        self._asker.shown.connect(self._on_shown)
        self.columns = self._asker.map
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
        self._asker.forget()
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
        self._asker.start(draft, facts)

    def _on_shown(self) -> None:
        self.text.setText(self._problem)
