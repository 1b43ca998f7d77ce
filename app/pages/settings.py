"""The Settings page: where the engine lives, the look, model folders, versions."""

from __future__ import annotations

from typing import Any

import PySide6
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QListWidget,
    QPushButton,
    QWidget,
)

from app.link import HostLink
from app.pages.settings_comeback import ComebackCard
from app.pages.settings_place import PlaceCard
from app.preferences import THEMES, Preferences
from app.probe import python_version
from app.theme import Theme
from app.widgets.choice import Choice
from app.widgets.parts import Card, button, column, label, row, scrolled
from engine import __version__
from engine.paths import home, host_folder

THEME_WORDS = {"system": "Like the system", "dark": "Dark", "light": "Light"}
_WIDEST_PX = 760
_ROW_PX = 20
_MOST_ROWS = 6


class SettingsPage(QWidget):
    """What a person may choose once for all."""

    said = Signal(str)
    """A sentence for the person."""

    def __init__(
        self,
        link: HostLink,
        preferences: Preferences,
        theme: Theme,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.place = PlaceCard(link, preferences)
        self.comeback = ComebackCard(link)
        self.look = LookCard(preferences, theme)
        self.folders = FoldersCard(preferences)
        self.about = AboutCard(link)
        parts = (self.place, self.comeback, self.look, self.folders, self.about)
        cards = column(*parts, spacing=13)
        cards.addStretch(1)
        body = QWidget()
        body.setObjectName("body")
        body.setLayout(cards)
        body.setMaximumWidth(_WIDEST_PX)
        area = scrolled(body)
        self.setLayout(
            column(label("Settings", "title"), area, margins=(24, 24, 24, 20), spacing=18)
        )


class LookCard(Card):
    """Dark, light, or as the desktop has it."""

    def __init__(self, preferences: Preferences, theme: Theme) -> None:
        super().__init__("Look")
        self._preferences = preferences
        self._theme = theme
        self.chips: dict[str, QPushButton] = {}
        for name in THEMES:
            chip = button(THEME_WORDS[name], "choice")
            self.chips[name] = chip
        self._choice = Choice(self, *self.chips.values())
        self.chips[preferences.theme].setChecked(True)
        self._choice.chosen.connect(self._on_clicked)
        self.column.addLayout(row(*self.chips.values(), None))

    def _on_clicked(self, clicked: QPushButton) -> None:
        for name, chip in self.chips.items():
            if chip is clicked:
                self._preferences.set_theme(name)
                self._theme.choose(name)


class FoldersCard(Card):
    """Folders in which models are looked for."""

    def __init__(self, preferences: Preferences) -> None:
        super().__init__("Model folders", "on the machine the engine runs on")
        self._preferences = preferences
        self.list = QListWidget()
        self.list.setAccessibleName("Model folders")
        self.list.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.list.itemSelectionChanged.connect(self._on_selection_changed)
        self._empty = label(
            "None yet. Models in the Hugging Face cache are found without one.", "muted"
        )
        self.add = button("Add folder…")
        self.add.clicked.connect(self._on_add)
        self.remove = button("Remove")
        self.remove.clicked.connect(self._on_remove)
        for part in (self._empty, self.list):
            self.column.addWidget(part)
        self.column.addLayout(row(self.add, self.remove, None))
        preferences.model_folders_changed.connect(self._show)
        self._show()

    def add_folder(self, folder: str) -> None:
        """Look for models there too."""
        known = self._preferences.model_folders
        if folder and folder not in known:
            self._preferences.set_model_folders([*known, folder])

    def _show(self) -> None:
        folders = self._preferences.model_folders
        self.list.clear()
        self.list.addItems(folders)
        self.list.setFixedHeight(_ROW_PX * min(len(folders), _MOST_ROWS) + 6)
        self.list.setVisible(bool(folders))
        self._empty.setVisible(not folders)
        self._on_selection_changed()

    def _on_selection_changed(self) -> None:
        self.remove.setEnabled(bool(self.list.selectedItems()))

    def _on_add(self) -> None:
        self.add_folder(QFileDialog.getExistingDirectory(self, "Choose a folder with models"))

    def _on_remove(self) -> None:
        gone = {item.text() for item in self.list.selectedItems()}
        left = [folder for folder in self._preferences.model_folders if folder not in gone]
        self._preferences.set_model_folders(left)


class AboutCard(Card):
    """Versions, and where things are kept."""

    def __init__(self, link: HostLink) -> None:
        super().__init__("About this installation")
        self.link = link
        self.host = label("not connected", "muted", wrap=True)
        for name, value in (
            ("Fettle", __version__),
            ("Python", python_version()),
            ("Qt for Python", PySide6.__version__),
            ("Runs, settings, logs", str(home())),
            ("Log of the host", str(host_folder() / "host.log")),
        ):
            self.column.addLayout(_line(name, label(value, "muted", wrap=True)))
        self.column.addLayout(_line("Engine's host", self.host))
        link.connected.connect(self._on_connected)
        link.disconnected.connect(self._on_disconnected)
        if link.is_connected:
            self._on_connected(link.hello)

    def _on_connected(self, hello: dict[str, Any]) -> None:
        self.host.setText(
            f"Fettle {hello.get('version', '')}, process {hello.get('pid', '')}, on "
            f"{self.link.place.label()}"
        )

    def _on_disconnected(self, sentence: str) -> None:
        self.host.setText(sentence)


def _line(name: str, value: QWidget) -> Any:
    title = label(name)
    title.setFixedWidth(170)
    value.setTextInteractionFlags(  # type: ignore[attr-defined]
        Qt.TextInteractionFlag.TextSelectableByMouse
    )
    made = row(title, value)
    made.setStretch(1, 1)
    return made
