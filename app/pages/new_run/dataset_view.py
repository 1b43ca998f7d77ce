"""A dataset as a person and the model see it: first rows, which column is what, what is learnt."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from app.form import Draft
from app.form_editors import ChoiceEditor
from app.form_fields import fields
from app.form_words import choice
from app.mixture import Entry
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.preview import Learnt, example_html, noun, table
from app.theme import Tokens
from app.widgets.parts import button, column, label, row
from app.words import counted, size

SHOWN_ROWS = 3
_ROW_PX = 28


class DatasetView(QWidget):
    """What the answer to PreviewDataset says, which is called facts.

    Signals:
        mapped: which column is what; Fettle's names to the file's.
        confirmed: the format is meant as it was found.
        look_wanted: the person wants to see all of it as the model will.
    """

    mapped = Signal(object)
    confirmed = Signal()
    look_wanted = Signal()

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self.loss = ChoiceEditor(fields()["dataset.loss_on"])
        self.loss.hide_title()
        self._loss_title = label("Loss counts", "label")
        self.table = _make_table()
        self.columns = ColumnMap()
        self.columns.mapped.connect(self.mapped)
        self.use = label("", "muted", wrap=True)
        self.confirm = button("Learn those", "small", tip="Take the format by name, so it is meant")
        self.confirm.clicked.connect(self.confirmed)
        self._caption = label("The first row: green is learnt", "label")
        self.look = button(
            "Every token…",
            "small",
            tip="With the template, and what is cut or odd: the Data page",
        )
        self.look.clicked.connect(self.look_wanted)
        self.example = label("", wrap=True)
        self.example.setMinimumHeight(34)
        ask = row(self.use, self.confirm)
        ask.setStretch(0, 1)
        foot = row(self._caption, None, self._loss_title, self.loss, self.look)
        self.setLayout(column(self.table, self.columns, ask, foot, self.example, spacing=6))
        self.forget()

    def set_tokens(self, tokens: Tokens) -> None:
        """Follow the theme; :meth:`show_example` draws anew."""
        self._tokens = tokens

    def forget(self) -> None:
        """Nothing is known of it yet."""
        for part in (self.table, self.columns, self._caption, self._loss_title, self.loss,
                     self.look, self.example, self.use, self.confirm):  # fmt: skip
            part.hide()

    def show_facts(self, facts: dict[str, Any], entry: Entry, *, is_sft: bool) -> None:
        """Show the first rows, and ask what only the person can say."""
        self._show_table(facts)
        named = entry.get("columns")
        self.columns.show_columns(facts, named if isinstance(named, dict) else {})
        use = str(facts.get("use") or "")
        is_asked = bool(use) and is_sft
        self.use.setText(use)
        self.use.setVisible(is_asked)
        self.confirm.setVisible(is_asked and entry.get("format", "auto") == "auto")

    def show_example(self, facts: dict[str, Any], draft: Draft) -> None:
        """Show what is learnt of the first row, without the template's words."""
        example = first_example(facts)
        is_chat = draft.get("method") != "pretrain"
        self._loss_title.setVisible(example is not None and is_chat)
        self.loss.setVisible(example is not None and is_chat)
        for part in (self._caption, self.look, self.example):
            part.setVisible(example is not None)
        if example is not None:
            learnt = Learnt(str(draft.get("method")), str(draft.get("dataset.loss_on")))
            self.example.setTextFormat(Qt.TextFormat.RichText)
            self.example.setText(
                example_html(example, learnt, self._tokens.muted, self._tokens.good)
            )

    def _show_table(self, facts: dict[str, Any]) -> None:
        names, cells = table(facts.get("rows", [])[:SHOWN_ROWS])
        self.table.setColumnCount(len(names))
        self.table.setHorizontalHeaderLabels(names)
        self.table.setRowCount(len(cells))
        for y, line in enumerate(cells):
            for x, text in enumerate(line):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(y, x, item)
        self.table.setFixedHeight(_ROW_PX * (len(cells) + 1) + 4)
        self.table.setVisible(bool(names))


def first_example(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The first row as it is learnt; None if there is none."""
    examples = facts.get("examples") or []
    return examples[0] if examples and isinstance(examples[0], dict) else None


def in_short(facts: dict[str, Any]) -> list[str]:
    """How many rows of what shape: ``12 300 000 chats``, with ``about`` before an estimate. Nothing
    where nobody knows."""
    if not facts:
        return []
    name = noun(first_example(facts))
    rows, about = facts.get("row_count"), facts.get("row_estimate")
    if rows is not None:
        parts = [counted(rows, name)]
    else:
        parts = [f"about {counted(about, name)}"] if about is not None else []
    is_known = facts.get("format") != "unknown"
    named = choice("dataset.format", facts.get("format")) if is_known else "no known format"
    return [*parts, named]


def in_full(facts: dict[str, Any], entry: Entry) -> list[str]:
    """The same with the bytes, and how sure it is where it was guessed."""
    *rows, named = in_short(facts)
    parts = [*rows, size(facts.get("bytes")), named]
    if facts.get("format") != "unknown" and entry.get("format", "auto") == "auto":
        confidence = f"{facts.get('confidence') or 0.0:.0%} sure"
        parts.append(confidence.replace("%", "\N{NARROW NO-BREAK SPACE}%"))
    return parts


def _make_table() -> QTableWidget:
    made = QTableWidget()
    made.setAccessibleName("First rows of the data")
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    made.setShowGrid(False)
    made.setWordWrap(False)
    made.verticalHeader().hide()
    made.verticalHeader().setDefaultSectionSize(_ROW_PX)
    header = made.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    header.setHighlightSections(False)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    made.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    made.setStyleSheet("QTableWidget::item { padding-left: 5px; }")
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return made
