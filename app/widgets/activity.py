"""The activity list: what happened, newest first, in plain words with a colour for each kind."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QTextBrowser

from app import words
from app.run_words import Entry
from app.theme import Tokens

MOST_SHOWN = 400


class ActivityList(QTextBrowser):
    """Entries as text, so that they can be selected and copied."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._entries: list[Entry] = []
        self.setAccessibleName("Activity")
        self.setPlaceholderText("Nothing has happened yet.")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setStyleSheet("background: transparent; border: none; padding: 0px;")
        self.document().setDocumentMargin(0)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self._write_all()

    def show_entries(self, entries: list[Entry]) -> None:
        """Show these, given oldest first, instead of what is there."""
        self._entries = list(entries)
        self._write_all()

    def add(self, entries: list[Entry]) -> None:
        """Put new ones on top, without moving what is being read."""
        self._entries += entries
        bar = self.verticalScrollBar()
        from_end = bar.maximum() - bar.value() if bar.value() else None
        self._write_all()
        if from_end is not None:
            bar.setValue(bar.maximum() - from_end)

    def _write_all(self) -> None:
        del self._entries[:-MOST_SHOWN]
        self.setHtml("".join(map(self._html, reversed(self._entries))))

    def _html(self, entry: Entry) -> str:
        color = getattr(self._tokens, entry.tone) if entry.tone else self._tokens.text
        faint = self._tokens.faint
        title = f'<span style="color:{color}; font-weight:600">{escape(entry.title)}</span>'
        time = f'<span style="color:{faint}; font-size:12px"> &nbsp;{words.clock(entry.at)}</span>'
        text = f'<br><span style="color:{self._tokens.muted}">{escape(entry.text)}</span>'
        body = title + time + (text if entry.text else "")
        return f'<p style="margin:0 0 12px 0; line-height:122%">{body}</p>'
