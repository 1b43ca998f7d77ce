"""Which column is which, said anew: where it was said before, or is taken from their names."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal

from app.form import Draft
from app.link import HostLink
from app.mixture import is_mixture
from app.pages.data.column_asker import ColumnAsker
from app.widgets.parts import Card, button, label

_NOW = "This is how the columns are read now. Whatever you change is looked at anew."


class NamingCard(Card):
    """Lists of columns that a button opens, whatever else is shown.

    Signals:
        patch_wanted: columns (dict), once rows can be read by them.
    """

    patch_wanted = Signal(object)

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self._draft = Draft()
        self._facts: dict[str, Any] = {}
        self.button = button("Columns…", tip="Say which column is the question, which the answer")
        self.button.setCheckable(True)
        self.button.toggled.connect(self._on_toggled)
        self.text = label("", "muted", wrap=True)
        self._asker = ColumnAsker(link, self)
        self._asker.patch_wanted.connect(self.patch_wanted)
        self._asker.shown.connect(self._on_shown)
        self.columns = self._asker.map
        self.column.addWidget(self.text)
        self.column.addWidget(self.columns)
        self.hide()
        self.button.hide()

    def know(self, draft: Draft, facts: dict[str, Any], *, is_asked: bool) -> None:
        """Of this data columns can be named; not where they are asked for (``is_asked``) as it
        is."""
        if draft != self._draft or is_asked:
            self.button.setChecked(False)
        self._draft, self._facts = draft, facts
        is_open = bool(facts.get("columns")) and not is_mixture(draft)
        self.button.setVisible(is_open and not is_asked)

    def _on_toggled(self, is_open: bool) -> None:
        self._asker.forget()
        self.setVisible(is_open)
        if is_open:
            self._asker.start(self._draft, self._facts)

    def _on_shown(self, facts: dict[str, Any]) -> None:
        is_unknown = facts.get("format") == "unknown"
        self.text.setText(str(facts.get("reason", "")) if is_unknown else _NOW)
