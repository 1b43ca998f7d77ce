"""A chat template being written: its text, and below it what is wrong."""

from __future__ import annotations

import re

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
)
from PySide6.QtWidgets import QPlainTextEdit, QTextEdit

from app.pages.data.sample_view import code_font
from app.theme import Tokens
from app.widgets.parts import Card, button, label, row, set_tone
from engine.contract.messages import TemplateTried

_TRY_AFTER_MS = 220
_TAB = 2


class TemplateCard(Card):
    """Edits a template.

    Signals:
        edited: its text, a moment after the last key.
        use_wanted: it is to be used.
        start_over_wanted: what was changed is to be forgotten.
        close_wanted: enough of it.
    """

    edited = Signal(str)
    use_wanted = Signal()
    start_over_wanted = Signal()
    close_wanted = Signal()

    def __init__(self, tokens: Tokens) -> None:
        super().__init__("Chat template", " ")
        self._tokens = tokens
        self.text = QPlainTextEdit()
        self.text.setProperty("role", "log")
        self.text.setAccessibleName("Text of the chat template")
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setTabChangesFocus(True)
        font = code_font()
        self._colors = _Colors(self.text.document(), tokens)
        self.text.setTabStopDistance(_TAB * QFontMetricsF(font).horizontalAdvance(" "))
        self.problem = label("", "small", wrap=True)
        self.problem.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = button("Use in the run", "primary", tip="Keep it, and look at the data with it")
        self.start_over = button("Start over", tip="Forget what was changed")
        self.close_button = button("Close", tip="What was written is kept (Escape)")
        self.close_button.setShortcut("Escape")
        self.column.addWidget(self.text, 1)
        self.column.addWidget(self.problem)
        self.column.addLayout(row(None, self.start_over, self.close_button, self.use))
        self._delay = QTimer(self, singleShot=True, interval=_TRY_AFTER_MS)
        self._delay.timeout.connect(self._on_delay)
        self._connect()

    def _connect(self) -> None:
        self.text.textChanged.connect(self._on_text_changed)
        self.use.clicked.connect(self.use_wanted)
        self.start_over.clicked.connect(self.start_over_wanted)
        self.close_button.clicked.connect(self.close_wanted)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self._colors.set_tokens(tokens)

    def show_text(self, text: str) -> None:
        """Show this one; it counts as not edited."""
        self.text.blockSignals(True)
        self.text.setPlainText(text)
        self.text.blockSignals(False)
        self.text.setExtraSelections([])

    def show_tried(self, tried: TemplateTried) -> None:
        """Say what is wrong or odd, and mark its line."""
        self.use.setEnabled(not tried.problem)
        told = tried.problem or "\n".join(
            f"{found.title} {found.remedy}".strip() for found in tried.findings
        )
        self._say(told, "danger" if tried.problem else "warning")
        self._mark(tried.line)

    def show_refused(self, sentence: str) -> None:
        """It could not be tried."""
        self._say(sentence, "danger")

    def _say(self, text: str, tone: str) -> None:
        self.problem.setText(text or "It can be used.")
        set_tone(self.problem, tone if text else "good")

    def _mark(self, line: int | None) -> None:
        block = self.text.document().findBlockByNumber((line or 0) - 1)
        if line is None or not block.isValid():
            self.text.setExtraSelections([])
            return
        mark = QTextEdit.ExtraSelection()
        mark.cursor = QTextCursor(block)
        color = self._tokens.color("danger")
        color.setAlpha(60)
        mark.format.setBackground(color)
        mark.format.setProperty(QTextFormat.Property.FullWidthSelection, True)
        self.text.setExtraSelections([mark])

    def _on_text_changed(self) -> None:
        self.use.setEnabled(False)
        self._delay.start()

    def _on_delay(self) -> None:
        self.edited.emit(self.text.toPlainText())


_PARTS = re.compile(r"(\{%.*?(?:%\}|$))|(\{#.*?(?:#\}|$))")


class _Colors(QSyntaxHighlighter):
    """What decides stands out, comments stand back."""

    def __init__(self, document: QTextDocument, tokens: Tokens) -> None:
        super().__init__(document)
        self._tokens = tokens

    def set_tokens(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.rehighlight()

    def highlightBlock(self, text: str) -> None:
        """Qt override."""
        self.setFormat(0, len(text), self._look("text"))
        for found in _PARTS.finditer(text):
            look = self._look("info" if found[1] else "muted")
            self.setFormat(found.start(), found.end() - found.start(), look)

    def _look(self, color: str) -> QTextCharFormat:
        look = QTextCharFormat()
        look.setFont(code_font())
        look.setForeground(self._tokens.color(color))
        return look
