"""Which of a file's columns is what, where nobody can tell from their names."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from app.form_editors import FormCombo
from app.widgets.parts import button, column, label, row

MOST_COLUMNS = 8
_A_ROW = 2
_TO_SUGGEST = ("unknown", "prompt_only")
"""What rows are where it is not told which column is the answer."""
_READ_AS_SUGGESTED = ("alpaca", "sharegpt", "messages")
"""Formats that are read by other names too, as they are suggested."""
NOT_USED = "not used"
MEANINGS: tuple[tuple[str, str], ...] = (
    ("", NOT_USED),
    ("instruction", "the question"),
    ("input", "more for the question"),
    ("output", "the answer"),
    ("system", "the system text"),
    ("messages", "the conversation"),
    ("prompt", "the beginning"),
    ("completion", "the continuation"),
    ("text", "a text to read"),
    ("chosen", "the better answer"),
    ("rejected", "the worse answer"),
    ("label", "whether the answer is good"),
)


class ColumnMap(QWidget):
    """A small table: each column of the file, and a list of what it can be.

    Signals:
        mapped: the person said so; what Fettle calls a column to the file's name of it.
    """

    mapped = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._named: dict[str, str] = {}
        self._suggested: dict[str, str] = {}
        self._meant: dict[str, str] = {}
        """What each column is, as far as its list can say; empty for what is not used."""
        self._begun: tuple[str, dict[str, str]] = ("", {})
        """The column whose list was changed last, and what each was before that."""
        self._mapped_last: dict[str, str] = {}
        self.lists: dict[str, FormCombo] = {}
        self.heading = label("Say which column is which", "label")
        self.take = button("", "small", tip="Fill in what the names look like")
        self.take.setAccessibleName("Take what is suggested")
        self.take.clicked.connect(self._on_take)
        self.clear = button("By their usual names", "small", tip="Map no column")
        self.clear.clicked.connect(self._on_clear)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(5)
        # What stands here is as wide as its words: a name, its list, and again.
        self._grid.setColumnStretch(2 * _A_ROW, 1)
        self.setLayout(
            column(row(self.heading, None, self.take, self.clear), self._grid, spacing=5)
        )
        self.hide()

    def show_columns(
        self, facts: dict[str, Any], named: dict[str, str], *, is_asked: bool = False
    ) -> None:
        """Show the columns of a preview; nothing where the rows need no mapping and have none,
        unless it ``is_asked`` for."""
        columns = [str(name) for name in facts.get("columns") or []][:MOST_COLUMNS]
        self._named, self._suggested = dict(named), dict(facts.get("suggested") or {})
        if list(self.lists) != columns:
            self._fill(columns)
        if named != self._mapped_last:  # It comes from elsewhere.
            self._begun = "", {}
        self._meant = _meanings(columns, named, facts)
        for theirs in self.lists:
            self._choose(theirs, self._meant.get(theirs, ""))
        self.take.setText(_as_words(self._suggested))
        is_open = facts.get("format") in _TO_SUGGEST and bool(self._suggested)
        self.take.setVisible(is_open and not named)
        self.clear.setVisible(bool(named))
        is_needed = is_asked or bool(named) or facts.get("format") == "unknown"
        self.setVisible(bool(columns) and is_needed)

    def _fill(self, columns: list[str]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.lists = {theirs: self._list(theirs) for theirs in columns}
        for place, (theirs, choices) in enumerate(self.lists.items()):
            at = 2 * (place % _A_ROW)
            name = label(theirs if len(theirs) <= 24 else theirs[:23] + "…", "muted")
            name.setToolTip(theirs)
            self._grid.addWidget(name, place // _A_ROW, at)
            self._grid.addWidget(choices, place // _A_ROW, at + 1)

    def _list(self, theirs: str) -> FormCombo:
        choices = FormCombo()
        choices.setAccessibleName(f"What the column {theirs} is")
        for name, words in MEANINGS:
            choices.addItem(words, name)
        choices.currentIndexChanged.connect(partial(self._on_chosen, theirs))
        return choices

    def _choose(self, theirs: str, name: str) -> None:
        choices = self.lists[theirs]
        choices.blockSignals(True)
        choices.setCurrentIndex(max(0, choices.findData(name)))
        choices.blockSignals(False)

    def _on_chosen(self, changed: str, _index: int) -> None:
        # Who goes through a list by keys passes what other columns are, and must not take it away.
        if self._begun[0] != changed:
            self._begun = changed, self._meant
        before = {theirs: self._begun[1].get(theirs, "") for theirs in self.lists}
        name = self.lists[changed].currentData()
        # Two columns are not the same thing: that which was it takes what this one was.
        swapped = {t: before[changed] for t, was in before.items() if name and was == name}
        self._meant = {**before, **swapped, changed: name}
        for theirs, meaning in self._meant.items():
            self._choose(theirs, meaning)
        self._mapped_last = self._said()
        self.mapped.emit(self._mapped_last)

    def _said(self) -> dict[str, str]:
        known = {name for name, _ in MEANINGS}
        # What stands in no list here is for the person's own file to say.
        kept = {
            name: theirs
            for name, theirs in self._named.items()
            if name not in known or theirs not in self.lists
        }
        chosen = {name: theirs for theirs, name in self._meant.items() if name not in ("", theirs)}
        return kept | chosen

    def _on_take(self) -> None:
        self.mapped.emit(self._suggested)

    def _on_clear(self) -> None:
        self.mapped.emit({})


def _meanings(
    columns: list[str], named: dict[str, str], facts: dict[str, Any]
) -> dict[str, str]:  # fmt: skip
    """What each column is read as now: what was said, what is told from the rows, and what has its
    usual name."""
    meant = {theirs: name for name, theirs in named.items()}
    if not named and facts.get("format") in _READ_AS_SUGGESTED:
        meant = {theirs: name for name, theirs in (facts.get("suggested") or {}).items()}
    usual = {name for name, _ in MEANINGS} - set(meant.values())
    return {name: name for name in columns if name in usual and name not in meant} | meant


def _as_words(suggested: dict[str, str]) -> str:
    words = dict(MEANINGS)
    parts = [f"{theirs} is {words[name]}" for name, theirs in suggested.items() if name in words]
    return f"Take: {', '.join(parts)}"[:70]
