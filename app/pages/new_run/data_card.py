"""The data: a file, what shape it has, its first rows, and how the model will see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
)

from app.form import Form, complaints_of
from app.form_editors import ChoiceEditor, FormLine, TextEditor
from app.form_fields import OF_ONE_FILE, fields
from app.form_words import choice
from app.link import HostLink
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.preview import Learnt, example_html, noun, table
from app.pages.new_run.starter import as_the_engine_reads
from app.theme import Tokens
from app.widgets.parts import Card, button, label, row
from app.words import counted, size
from engine.contract.messages import PreviewDataset, Refusal

FILTER = (
    "Data (*.json *.jsonl *.ndjson *.csv *.tsv *.parquet *.arrow *.txt *.md *.gz *.zst);;"
    "All files (*)"
)
SHOWN_ROWS = 3
_ROW_PX = 28
_ASK_AFTER_MS = 250


class DataCard(Card):
    """Chooses a dataset. What the host says of it is in :attr:`facts`.

    Signals:
        look_wanted: the person wants to see all of it as the model will; the :class:`Draft`.
    """

    look_wanted = Signal(object)

    def __init__(self, form: Form, link: HostLink, tokens: Tokens) -> None:
        super().__init__("Data", " ")
        self._form = form
        self._link = link
        self._tokens = tokens
        self.facts: dict[str, Any] = {}
        """The last answer to PreviewDataset for the file that is chosen now; else empty."""
        self._shown: tuple[str, ...] = ("", "", "", "")
        """Path, format, and the names of columns and roles as JSON, of what was asked for last."""
        self._delay = QTimer(self, singleShot=True, interval=_ASK_AFTER_MS)
        self._delay.timeout.connect(self._on_delay)
        self._build()
        form.changed.connect(self._on_form_changed)
        link.connected.connect(self._on_connected)

    def choose(self, path: str) -> None:
        """Take a file, as if it had been typed."""
        self._form.seal()
        self._form.set_value("dataset.path", path)
        for path_of_setting in OF_ONE_FILE:
            self._form.set_value(path_of_setting, None)
        self._form.seal()

    def recolor(self, tokens: Tokens) -> None:
        """Follow the theme."""
        self._tokens = tokens
        self._show_example()

    def _build(self) -> None:
        self.path = TextEditor(fields()["dataset.path"])
        self.path.hide_title()
        line = self.path.control
        assert isinstance(line, FormLine)
        line.setPlaceholderText("Drop a JSON, JSONL, CSV, Parquet or text file or a folder here")
        self.format = ChoiceEditor(fields()["dataset.format"])
        self.format.hide_title()
        self.format.setFixedWidth(186)
        self.loss = ChoiceEditor(fields()["dataset.loss_on"])
        self.loss.hide_title()
        self._loss_title = label("Loss counts", "label")
        self._browse = button("Browse…", tip="Choose a file")
        self._browse.clicked.connect(self._on_browse)
        self._table = _make_table()
        self.columns = ColumnMap()
        self.columns.mapped.connect(self._on_mapped)
        self.use = label("", "muted", wrap=True)
        self.confirm = button("Learn those", "small", tip="Take the format by name, so it is meant")
        self.confirm.clicked.connect(self._on_confirmed)
        self._caption = label("How the model will see it (green is trained on)", "label")
        self.look = button("Every token…", "small", tip="What is learnt, cut, odd: the Data page")
        self.look.clicked.connect(self._on_look)
        self.example = label("", wrap=True)
        self.example.setMinimumHeight(34)
        top = row(self.path, self.format, self._browse)
        top.setAlignment(self.format, Qt.AlignmentFlag.AlignTop)
        top.setAlignment(self._browse, Qt.AlignmentFlag.AlignTop)
        top.setStretch(0, 1)
        self.column.addLayout(top)
        self.column.addWidget(self._table)
        self.column.addWidget(self.columns)
        ask = row(self.use, self.confirm)
        ask.setStretch(0, 1)
        self.column.addLayout(ask)
        foot = row(self._caption, None, self._loss_title, self.loss, self.look)
        self._about_rows = (self._table, self._caption, self._loss_title, self.loss, self.look,
                            self.example, self.use, self.confirm)  # fmt: skip
        self.column.addLayout(foot)
        self.column.addWidget(self.example)
        self._forget()
        for editor in (self.path, self.format, self.loss):
            editor.edited.connect(self._form.set_value)
            editor.left.connect(self._form.seal)

    def _on_browse(self) -> None:
        folder = str(Path(str(self._form.draft.get("dataset.path") or Path.home())).parent)
        path, _ = QFileDialog.getOpenFileName(self, "Choose data", folder, FILTER)
        if path:
            self.choose(self._link.place.path_there(path))

    def _on_mapped(self, columns: dict[str, str]) -> None:
        self._form.seal()
        self._form.set_value("dataset.columns", columns or None)
        self._form.seal()

    def _on_confirmed(self) -> None:
        self._form.seal()
        self._form.set_value("dataset.format", self.facts.get("format"))
        self._form.seal()

    def _on_look(self) -> None:
        self.look_wanted.emit(self._form.draft)

    # ------------------------------------------------------------ asking

    def _wanted(self) -> tuple[str, ...]:
        draft = self._form.draft
        path, format = draft.get("dataset.path"), draft.get("dataset.format")
        known = format in fields()["dataset.format"].choices
        names = [_as_json(draft.get(f"dataset.{kind}")) for kind in ("columns", "roles")]
        return (path if isinstance(path, str) else "", format if known else "auto", *names)

    def _on_form_changed(self) -> None:
        for editor in (self.path, self.format, self.loss):
            editor.show_value(self._form.draft.get(editor.field.path))
        if self._wanted() != self._shown:
            self._shown = self._wanted()
            self._form.accept("dataset.path")
            self._forget()
            self._delay.start()
        self._show_example()

    def _on_connected(self, _data: object) -> None:
        self._browse.setEnabled(self._link.place.shares_files)
        if not self.facts:
            self._delay.start()

    def _on_delay(self) -> None:
        path, format, columns, roles = self._shown
        if path.strip() and self._link.is_connected:
            self.aside.setText("looking at it …")
            spec = as_the_engine_reads({"dataset": {"path": path}}, self._link.place)
            pending = self._link.ask(
                PreviewDataset, path=spec["dataset"]["path"], format=format,
                columns=json.loads(columns), roles=json.loads(roles),
            )  # fmt: skip
            pending.setProperty("about", self._shown)
            pending.replied.connect(self._on_preview)
            pending.refused.connect(self._on_refused)

    def _is_stale(self) -> bool:
        asked = self.sender().property("about")
        return tuple(asked) != self._shown

    def _on_preview(self, data: dict[str, Any]) -> None:
        if self._is_stale():
            return
        self.facts = data
        self._form.accept("dataset.path")
        self._show_facts()
        self._show_table()
        self._show_unsure()
        self._show_example()
        self._form.changed.emit()

    def _on_refused(self, refusal: Refusal) -> None:
        if self._is_stale() or refusal.code == "no_connection":
            return
        self.aside.setText("")
        self._form.refuse(complaints_of(refusal, "dataset.path"))

    # ------------------------------------------------------------ showing

    def _forget(self) -> None:
        self.facts = {}
        self.aside.setText("")
        for part in self._about_rows:
            part.hide()

    def _show_facts(self) -> None:
        parts = _how_many(self.facts, noun(_first_example(self.facts)))
        parts.append(size(self.facts.get("bytes")))
        is_known = self.facts.get("format") != "unknown"
        named = choice("dataset.format", self.facts.get("format"))
        parts.append(named if is_known else "no known format")
        confidence = self.facts.get("confidence") or 0.0
        if is_known and self._shown[1] == "auto":
            parts.append(f"{confidence:.0%} sure".replace("%", "\N{NARROW NO-BREAK SPACE}%"))
        self.aside.setText(" · ".join(parts))
        self.aside.setToolTip(str(self.facts.get("reason", "")))

    def _show_unsure(self) -> None:
        """What only the person can say: which column is which, and whether it is meant so."""
        named = self._form.draft.get("dataset.columns")
        self.columns.show_columns(self.facts, named if isinstance(named, dict) else {})
        use = str(self.facts.get("use") or "")
        is_asked = bool(use) and self._form.draft.get("method") == "sft"
        self.use.setText(use)
        self.use.setVisible(is_asked)
        self.confirm.setVisible(is_asked and self._shown[1] == "auto")

    def _show_table(self) -> None:
        names, cells = table(self.facts.get("rows", [])[:SHOWN_ROWS])
        self._table.setColumnCount(len(names))
        self._table.setHorizontalHeaderLabels(names)
        self._table.setRowCount(len(cells))
        for y, line in enumerate(cells):
            for x, text in enumerate(line):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self._table.setItem(y, x, item)
        self._table.setFixedHeight(_ROW_PX * (len(cells) + 1) + 4)
        self._table.setVisible(bool(names))

    def _show_example(self) -> None:
        example = _first_example(self.facts)
        is_chat = self._form.draft.get("method") != "pretrain"
        for part in (self._loss_title, self.loss):
            part.setVisible(example is not None and is_chat)
        self._caption.setVisible(example is not None)
        self.look.setVisible(example is not None)
        self.example.setVisible(example is not None)
        if example is not None:
            draft = self._form.draft
            learnt = Learnt(str(draft.get("method")), str(draft.get("dataset.loss_on")))
            self.example.setTextFormat(Qt.TextFormat.RichText)
            self.example.setText(
                example_html(example, learnt, self._tokens.muted, self._tokens.good)
            )


def _first_example(facts: dict[str, Any]) -> dict[str, Any] | None:
    examples = facts.get("examples") or []
    return examples[0] if examples and isinstance(examples[0], dict) else None


def _as_json(names: object) -> str:
    return json.dumps(names if isinstance(names, dict) else {}, ensure_ascii=False)


def _how_many(facts: dict[str, Any], name: str) -> list[str]:
    """``12 300 000 chats``, with ``about`` before an estimate; nothing where nobody knows."""
    rows, about = facts.get("row_count"), facts.get("row_estimate")
    if rows is not None:
        return [counted(rows, name)]
    return [f"about {counted(about, name)}"] if about is not None else []


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
