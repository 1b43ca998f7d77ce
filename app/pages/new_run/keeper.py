"""Remembers what is filled in, for the next time the page is made."""

from __future__ import annotations

import msgspec
from PySide6.QtCore import QObject, QTimer

from app.form import Draft, Form
from app.preferences import Preferences

_KEY = "new_run/draft"
_AFTER_MS = 400


class DraftKeeper(QObject):
    """Stores the form a moment after it was changed last."""

    def __init__(self, form: Form, preferences: Preferences, parent: QObject) -> None:
        super().__init__(parent)
        self._form = form
        self._preferences = preferences
        self._later = QTimer(self, singleShot=True, interval=_AFTER_MS)
        self._later.timeout.connect(self.remember)
        form.changed.connect(self._later.start)

    def remember(self) -> None:
        """Store what is filled in."""
        self._later.stop()
        self._preferences.set_data(_KEY, msgspec.to_builtins(self._form.draft))

    def flush(self) -> None:
        """Store what was not stored yet: later may be too late."""
        if self._later.isActive():
            self.remember()

    def remembered(self) -> Draft:
        """What was filled in the last time; empty if nothing was, or it cannot be read."""
        try:
            return msgspec.convert(self._preferences.data(_KEY) or {}, Draft)
        except msgspec.ValidationError:
            return Draft()
