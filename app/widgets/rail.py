"""The rail at the left of the window: where one can go, and the machine that trains."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QPushButton, QWidget

from app import words
from app.link import HostLink
from app.theme import Tokens
from app.theme_icons import icon
from app.widgets.parts import ElidedLabel, column, label, set_tone
from engine.contract.messages import Facts

WIDTH = 196
_MAKER_WORDS = ("NVIDIA ", "GeForce ", "Laptop GPU", "(R)", "(TM)")


class Rail(QFrame):
    """Navigation.

    Signals:
        chosen: name of the page to show.
    """

    chosen = Signal(str)

    ENTRIES = (
        ("new_run", "New run", "plus"),
        ("runs", "Runs", "list"),
        ("data", "Data", "file-text"),
        ("doctor", "Doctor", "stethoscope"),
    )
    LAST = ("settings", "Settings", "settings")

    def __init__(self, link: HostLink, tokens: Tokens) -> None:
        super().__init__()
        self.setObjectName("rail")
        self.setFixedWidth(WIDTH)
        self.machine = MachineLine(link)
        entries = [Entry(*entry) for entry in self.ENTRIES]
        last = Entry(*self.LAST)
        self._entries = [*entries, last]
        rail = column(label("fettle", "wordmark"), margins=(12, 18, 12, 14), spacing=3)
        rail.addSpacing(12)
        for entry in entries:
            rail.addWidget(entry)
        rail.addStretch(1)
        rail.addWidget(self.machine)
        rail.addSpacing(4)
        rail.addWidget(last)
        self.setLayout(rail)
        for entry in self._entries:
            entry.chosen.connect(self._on_chosen)
        self.set_tokens(tokens)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        for entry in self._entries:
            entry.setIcon(icon(entry.icon_name, tokens.muted, checked=tokens.text))

    def mark(self, name: str) -> None:
        """Show where one is."""
        for entry in self._entries:
            entry.setChecked(entry.name == name)

    def _on_chosen(self, name: str) -> None:
        self.mark(name)
        self.chosen.emit(name)


class Entry(QPushButton):
    """One place to go.

    Not in a QButtonGroup: that would take all but one of its buttons out of the tab order.

    Signals:
        chosen: its name, when it was pressed.
    """

    chosen = Signal(str)

    def __init__(self, name: str, text: str, icon_name: str) -> None:
        super().__init__(f"  {text}")
        self.name, self.icon_name = name, icon_name
        self.setAccessibleName(text)
        self.setCheckable(True)
        self.setIconSize(QSize(16, 16))
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.clicked.connect(self._on_clicked)

    def _on_clicked(self) -> None:
        self.chosen.emit(self.name)


class MachineLine(QWidget):
    """What trains, where it is, and whether it can be reached."""

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self._link = link
        self.machine, self.state = ElidedLabel(), ElidedLabel()
        for line in (self.machine, self.state):
            line.setProperty("role", "small")
        self.setLayout(column(self.machine, self.state, spacing=2))
        self.state.setText("Connecting…")
        link.connected.connect(self._on_connected)
        link.disconnected.connect(self._on_disconnected)

    def _on_connected(self, _data: object) -> None:
        self._show_state(_capital(self._link.place.label()), "", "")
        self._link.ask(Facts).replied.connect(self._on_facts)

    def _on_disconnected(self, sentence: str) -> None:
        self._show_state("Not connected", "warning", sentence)

    def _on_facts(self, data: dict[str, Any]) -> None:
        facts = data.get("facts") or {}
        self.machine.setText(machine_words(facts))
        where = _capital(self._link.place.label())
        if facts.get("is_wsl") and self._link.place.kind == "this":
            where = "WSL 2"
        self._show_state(where, "", "")

    def _show_state(self, text: str, tone: str, tip: str) -> None:
        self.state.setText(text)
        self.state.setToolTip(tip or text)
        self.state.setAccessibleDescription(tip)
        set_tone(self.state, tone)


def machine_words(facts: dict[str, Any]) -> str:
    """The card and its memory; without one the RAM: ``RTX 2080 Ti · 11.0 GiB``."""
    cards = facts.get("gpus") or []
    if not cards:
        return f"No GPU · RAM {words.size(facts.get('ram_total_bytes'))}"
    name = cards[0].get("name") or "GPU"
    for word in _MAKER_WORDS:
        name = name.replace(word, "")
    more = f" +{len(cards) - 1}" if len(cards) > 1 else ""
    return f"{name.strip()}{more} · {words.size(cards[0].get('vram_total_bytes'))}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
