"""The first rows as they stand in the file: what is to be seen before there are tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtGui import QFont, QTextBlockFormat, QTextCharFormat, QTextCursor, QTextOption
from PySide6.QtWidgets import QTextEdit

from app import raw_words, words
from app.form_words import choice
from app.pages.data.part import Part
from app.pages.data.sample_view import code_font
from app.theme import SANS, Tokens
from app.widgets.parts import Card, label

_OF_SEVERAL = 2
"""Rows shown of each, where there are several datasets."""
_STEP_PX, _NAME_PX = 18, 104
_GAP_PX = 14


class RowsCard(Card):
    """Shows raw rows, each value below the name of its column."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__("First rows, as they stand in the file", " ")
        self._tokens = tokens
        self._parts: list[Part] = []
        self._more = 0
        self.reason = label("", "muted", wrap=True)
        self.view = QTextEdit()
        self.view.setReadOnly(True)
        self.view.setProperty("role", "tokens")
        self.view.setAccessibleName("First rows of the data")
        self.view.document().setDocumentMargin(0)
        self.column.addWidget(self.reason)
        self.column.addWidget(self.view, 1)

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to show."""
        return any(part.facts for part in self._parts)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self._write()

    def show_parts(self, parts: Sequence[Part], more: int = 0) -> None:
        """Show these datasets, and that there are ``more``; the same again stay where they were
        scrolled to."""
        if (list(parts), more) == (self._parts, self._more):
            return
        self._parts, self._more = list(parts), more
        known = [part.facts for part in parts if part.facts]
        self.aside.setText(raw_words.extent(known[0]) if len(parts) == 1 and known else "")
        is_one = len(parts) == 1 and bool(known) and known[0].get("format") != "unknown"
        reason = str(known[0].get("reason", "")) if is_one else ""
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))
        self._write()

    # ------------------------------------------------------------ writing

    def _write(self) -> None:
        self.view.clear()
        cursor = QTextCursor(self.view.document())
        cursor.beginEditBlock()
        for title, facts, _refusal in self._parts:
            if not facts:
                continue
            if title:
                head = f"{title} · {_in_short(facts)}"
                self._put(cursor, head, self._look("text", bold=True), above=2 * _GAP_PX)
            rows = facts.get("rows") or []
            wrong = raw_words.wrong_rows(facts)
            for place, row in enumerate(rows[:_OF_SEVERAL] if title else rows):
                self._put_row(cursor, place, row, wrong.get(place, ""))
        if self._more:
            told = f"and {words.counted(self._more, 'more dataset')}"
            self._put(cursor, told, self._look("muted"), above=2 * _GAP_PX)
        cursor.endEditBlock()
        self.view.moveCursor(QTextCursor.MoveOperation.Start)

    def _put_row(self, cursor: QTextCursor, place: int, row: object, wrong: str) -> None:
        self._put(cursor, f"Row {place + 1}", self._look("faint"), above=_GAP_PX)
        if wrong:
            self._put(cursor, wrong, self._look("danger"))
        for depth, name, text in raw_words.lines_of(row):
            self._put(cursor, name, self._look("muted"), depth=depth, more=text)

    def _put(
        self, cursor: QTextCursor, text: str, look: QTextCharFormat, *, depth: int = 0,
        above: int = 2, more: str = "",
    ) -> None:  # fmt: skip
        """A paragraph, set in by ``depth``, with the value behind its name."""
        block = QTextBlockFormat()
        block.setLeftMargin(depth * _STEP_PX)
        if more:  # Names stand in a column of their own, and long values beside them.
            block.setLeftMargin(depth * _STEP_PX + _NAME_PX)
            block.setTextIndent(-_NAME_PX)
            block.setTabPositions([QTextOption.Tab(_NAME_PX, QTextOption.TabType.LeftTab)])
        block.setTopMargin(0 if cursor.atStart() else above)
        if cursor.atStart():
            cursor.setBlockFormat(block)
        else:
            cursor.insertBlock(block)
        cursor.insertText(text, look)
        if more:
            value = QTextCharFormat()
            value.setFont(code_font())
            is_empty = more == raw_words.EMPTY
            value.setForeground(self._tokens.color("faint" if is_empty else "text"))
            # Line breaks of a text stay within its paragraph.
            cursor.insertText("\t" + more.replace("\n", "\u2028"), value)

    def _look(self, color: str, *, bold: bool = False) -> QTextCharFormat:
        look = QTextCharFormat()
        font = QFont(SANS, weight=QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
        font.setPixelSize(13 if bold else 12)
        look.setFont(font)
        look.setForeground(self._tokens.color(color))
        return look


def _in_short(facts: dict[str, Any]) -> str:
    named = choice("dataset.format", facts.get("format"))
    shape = "no known format" if facts.get("format") == "unknown" else named
    return f"{shape}, {raw_words.extent(facts)}"
