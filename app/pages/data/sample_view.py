"""A sample as the model sees it: every token, and which are trained on."""

from __future__ import annotations

import bisect

from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QColor, QFont, QHelpEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit, QToolTip

from app import sample_words
from app.theme import Tokens
from engine.store.encoded_view import Sample

_FILL = 0.20
"""How much of the green lies below a token that is trained on; every other one has less, so that
borders show."""
_OTHER = 0.13
_READ = 0.06


def code_font() -> QFont:
    """For what a model sees: what is written as <| must not be drawn as one sign."""
    font = QFont("JetBrains Mono")
    font.setPixelSize(12)
    for feature in ("calt", "liga"):
        font.setFeature(QFont.Tag(feature), 0)
    return font


class SampleView(QTextEdit):
    """Shows one sample. The mouse over a token tells its id."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setProperty("role", "tokens")
        self.setAccessibleName("What the model will see")
        self._font = code_font()
        self._tokens = tokens
        self._sample: Sample | None = None
        self._max_length: int | None = None
        self._starts: list[int] = []
        """Character of the document at which each token that has text begins."""
        self._numbers: list[int] = []
        """Those tokens, by number."""

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        if self._sample is not None:
            self.show_sample(self._sample, self._max_length)

    def show_sample(self, sample: Sample, max_length: int | None) -> None:
        """Show it; from ``max_length`` on it is cut off, None where nothing is."""
        self._sample, self._max_length = sample, max_length
        self._starts, self._numbers = [], []
        self.clear()
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        if not sample.is_shown:
            cursor.insertText("No text of this row is kept.")
        at = 0
        for number, token in enumerate(sample.tokens):
            text = sample.text[max(at, token.begin) : token.end] if token.end > at else ""
            if not text and token.end == token.begin:
                text = sample.names.get(token.id, "")
            at = max(at, token.end)
            if text:
                self._starts.append(cursor.position())
                self._numbers.append(number)
                cursor.insertText(text, self._look(sample, number))
        cursor.endEditBlock()
        self.moveCursor(QTextCursor.MoveOperation.Start)

    def _look(self, sample: Sample, number: int) -> QTextCharFormat:
        is_even = len(self._starts) % 2 == 0
        look = QTextCharFormat()
        look.setFont(self._font)
        cut = self._max_length is not None and sample.first_token + number >= self._max_length
        if cut:
            look.setForeground(self._tokens.color("faint"))
            look.setFontStrikeOut(True)
        elif sample.tokens[number].learnt:
            look.setForeground(self._tokens.color("good"))
            look.setBackground(self._mixed("good", _FILL if is_even else _OTHER))
        else:
            look.setForeground(self._tokens.color("muted"))
            if is_even:
                look.setBackground(self._mixed("muted", _READ))
        return look

    def _mixed(self, name: str, share: float) -> QColor:
        """A colour laid thinly over the card."""
        over, under = self._tokens.color(name), self._tokens.color("card")

        def mixed(above: int, below: int) -> int:
            return round(share * above + (1 - share) * below)

        return QColor(
            mixed(over.red(), under.red()),
            mixed(over.green(), under.green()),
            mixed(over.blue(), under.blue()),
        )

    def token_at(self, place: QPoint) -> int | None:
        """Number of the token below a point of the view."""
        cursor = self.cursorForPosition(place)
        position = cursor.position()
        # It is put at the nearer side of a letter: that may be the right one.
        if self.cursorRect(cursor).left() > place.x():
            position -= 1
        found = bisect.bisect_right(self._starts, position) - 1
        return self._numbers[found] if found >= 0 else None

    def viewportEvent(self, event: QEvent) -> bool:
        """Qt override: tells of the token below the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            number = self.token_at(event.pos())
            if self._sample is not None and number is not None:
                tip = sample_words.token_tip(self._sample, number, self._max_length)
                QToolTip.showText(event.globalPos(), tip, self)
                return True
        return super().viewportEvent(event)
