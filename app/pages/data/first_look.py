"""What can be told of data at once, before any token is made, and without a model."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.form import Draft
from app.link import HostLink
from app.mixture import Key, entries, is_mixture, key_of
from app.pages.data.part import Part, names_of
from app.pages.data.rows_card import RowsCard
from app.pages.new_run.previews import Previews
from app.theme import Tokens
from engine.contract.messages import Refusal

MOST = 20
"""Datasets of which rows are shown."""
_TOGETHER_MS = 150
"""So long answers about several datasets are gathered: each time all of them are written anew."""


class FirstLook(QObject):
    """Asks for the first rows and the format of a draft's data, and shows them on its card.

    Signals:
        told: more is known, or why there is nothing to know.
    """

    told = Signal()

    def __init__(self, link: HostLink, tokens: Tokens, parent: QObject) -> None:
        super().__init__(parent)
        self.card = RowsCard(tokens)
        self._draft = Draft()
        self._keys: list[Key] = []
        self._previews = Previews(link, self, after_ms=0)
        self._previews.told.connect(self._on_told)
        self._gather = QTimer(self, singleShot=True, interval=_TOGETHER_MS)
        self._gather.timeout.connect(self._show)

    @property
    def facts(self) -> dict[str, Any]:
        """The answer to PreviewDataset, of several datasets for the first; empty if there is
        none."""
        return self._previews.of(self._keys[0]) if self._keys else {}

    @property
    def parts(self) -> list[Part]:
        """What is known of each, of many for the first."""
        several = is_mixture(self._draft)
        return [
            Part(name if several else "", self._previews.of(key), self._previews.refusal(key))
            for name, key in zip(names_of(self._draft), self._keys, strict=False)
        ]

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing can be told; None if it can, or is not known yet."""
        return self._previews.refusal(self._keys[0]) if self._keys else None

    def look(self, draft: Draft) -> None:
        """Look at this data, and at a file that was looked at before anew: it may be another."""
        before = [key.path for key in self._keys]
        self._draft = draft
        self._gather.stop()
        self._keys = [key_of(entry) for entry in entries(draft)[:MOST]]
        if [key.path for key in self._keys] != before:
            self.card.show_parts([])
        self._previews.want([])
        self._previews.want(self._keys)

    def _on_told(self, key: Key) -> None:
        if key not in self._keys or self._previews.is_asked(key):
            return
        if len(self._keys) == 1:
            self._show()
        elif not self._gather.isActive():
            self._gather.start()

    def _show(self) -> None:
        parts = self.parts
        self.card.show_parts(parts, more=len(entries(self._draft)) - len(parts))
        self.told.emit()
