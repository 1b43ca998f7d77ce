"""What the window remembers between two starts, in ``app.ini`` below the home.

Only choices of the person are kept here; anything about runs is in the run folders. A value that
cannot be read (the file was edited, or is from a newer Fettle) counts as not there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QObject, QSettings, Signal

from app.endpoint import Place
from engine.paths import home

THEMES = ("system", "dark", "light")


class Preferences(QObject):
    """The person's choices. Setting one writes it through; ``*_changed`` tells the others.

    Signals:
        theme_changed: new theme, one of :data:`THEMES`.
        place_changed: new :class:`Place` of the engine.
        model_folders_changed: the list of folders was changed.
    """

    theme_changed = Signal(str)
    place_changed = Signal(object)
    model_folders_changed = Signal()

    def __init__(self, path: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = path or home() / "app.ini"
        self._settings = QSettings(str(self.path), QSettings.Format.IniFormat)

    def text(self, key: str, default: str = "") -> str:
        """A stored text, ``default`` if there is none."""
        value = self._settings.value(key, default)
        return value if isinstance(value, str) else default

    def set_text(self, key: str, value: str) -> None:
        """Store a text."""
        self._settings.setValue(key, value)
        self._settings.sync()

    def data(self, key: str) -> Any:
        """A stored JSON value; None if there is none or it cannot be read."""
        try:
            return json.loads(self.text(key) or "null")
        except ValueError:
            return None

    def set_data(self, key: str, value: Any) -> None:
        """Store anything that JSON can hold."""
        self.set_text(key, json.dumps(value, ensure_ascii=False))

    def blob(self, key: str) -> QByteArray:
        """Stored bytes, such as a window's geometry; empty if there are none."""
        return QByteArray.fromBase64(self.text(key).encode("ascii", "ignore"))

    def set_blob(self, key: str, value: QByteArray) -> None:
        """Store bytes."""
        self.set_text(key, value.toBase64().toStdString())

    @property
    def theme(self) -> str:
        """``system``, ``dark`` or ``light``."""
        chosen = self.text("window/theme", THEMES[0])
        return chosen if chosen in THEMES else THEMES[0]

    def set_theme(self, theme: str) -> None:
        """Choose a theme. Raises ValueError for an unknown one."""
        if theme not in THEMES:
            raise ValueError(f"There is no theme {theme!r}.")
        if theme != self.theme:
            self.set_text("window/theme", theme)
            self.theme_changed.emit(theme)

    @property
    def place(self) -> Place:
        """Where the engine lives."""
        return Place.from_data(self.data("engine/place"))

    def set_place(self, place: Place) -> None:
        """Choose where the engine lives."""
        if place != self.place:
            self.set_data("engine/place", place.to_data())
            self.place_changed.emit(place)

    @property
    def model_folders(self) -> list[str]:
        """Folders, on the engine's machine, in which models are looked for."""
        found = self.data("models/folders")
        if not isinstance(found, list):
            return []
        return [folder for folder in found if isinstance(folder, str) and folder]

    def set_model_folders(self, folders: list[str]) -> None:
        """Choose the folders in which models are looked for."""
        if folders != self.model_folders:
            self.set_data("models/folders", folders)
            self.model_folders_changed.emit()
