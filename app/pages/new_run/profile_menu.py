"""For which machine is planned: the one that is there, or another card and platform."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QPushButton

from app.theme import Tokens
from app.theme_icons import icon
from app.words import counted, size
from engine.planning.hardware import AUTO, Machine, Profile, profiles

PLATFORMS = (("", "This platform"), ("linux", "Linux"), ("windows", "Windows"), ("wsl", "WSL"))


class ProfileMenu(QPushButton):
    """A button that says what is planned for, with the list behind it.

    Signals:
        profile_chosen: id of the profile, ``auto`` for the machine that is there.
        platform_chosen: ``linux``, ``windows``, ``wsl``, or empty for the one that is there.
    """

    profile_chosen = Signal(str)
    platform_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__("for this machine")
        self.setProperty("kind", "quiet")
        self.setObjectName("hardware.profile")
        self.setToolTip("The machine to plan for. Training always takes place on the engine's own.")
        self.menu_ = QMenu(self)
        self.menu_.aboutToShow.connect(self._fill)
        self.setMenu(self.menu_)
        self.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
        self.menu_.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self.setIconSize(QSize(12, 12))
        self._profile, self._platform = AUTO, ""

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self.setIcon(icon("chevron-down", tokens.muted, 12))

    def show_choice(self, profile: str, platform: str, machine: Machine | None) -> None:
        """Say what is planned for."""
        self._profile, self._platform = profile, platform
        is_here = machine is not None and machine.is_detected
        where = "this machine" if is_here else "another machine"
        name = machine.name if machine is not None else profile if profile != AUTO else ""
        is_card = machine is not None and machine.profile.memory_bytes is not None
        what = f"this card: {name}" if is_here and is_card else f"{where}: {name}"
        self.setText(f"for {what if name else 'this machine'}")
        self.setAccessibleName(f"Machine to plan for: {name or 'this machine'}")

    def _fill(self) -> None:
        self.menu_.clear()
        machines, platforms = QActionGroup(self.menu_), QActionGroup(self.menu_)
        self._add(self.menu_, machines, "This machine", AUTO).triggered.connect(self._on_profile)
        for title, group in grouped(profiles()):
            inner = self.menu_.addMenu(title)
            for profile in group:
                action = self._add(inner, machines, profile_words(profile), profile.id)
                action.triggered.connect(self._on_profile)
        self.menu_.addSeparator()
        for name, title in PLATFORMS:
            action = self._add(self.menu_, platforms, title, name)
            action.triggered.connect(self._on_platform)

    def _add(self, menu: QMenu, group: QActionGroup, text: str, value: str) -> QAction:
        action = menu.addAction(text)
        action.setData(value)
        action.setCheckable(True)
        action.setChecked(value in (self._profile, self._platform))
        group.addAction(action)
        return action

    def _on_profile(self) -> None:
        self.profile_chosen.emit(_data(self.sender()))

    def _on_platform(self) -> None:
        self.platform_chosen.emit(_data(self.sender()))


def _data(action: object) -> str:
    assert isinstance(action, QAction)
    return str(action.data())


def profile_words(profile: Profile) -> str:
    """A card with its memory: ``RTX 3060 · 12.0 GiB``."""
    if profile.memory_bytes is None:
        return profile.name
    cards = f"{counted(profile.card_count, 'card')} · " if profile.card_count > 1 else ""
    return f"{profile.name} · {cards}{size(profile.memory_bytes)}"


def grouped(found: Sequence[Profile]) -> list[tuple[str, list[Profile]]]:
    """Profiles as the menu has them: by memory, for a card is chosen by what it holds."""
    groups: dict[str, list[Profile]] = {}
    for profile in found:
        groups.setdefault(_group(profile), []).append(profile)
    return list(groups.items())


def _group(profile: Profile) -> str:
    if profile.memory_bytes is None:
        return "Without a card"
    if profile.card_count > 1:
        return "Several cards"
    gib = profile.memory_bytes / (1 << 30)
    for limit in (12, 16, 24):
        if gib <= limit + 0.5:
            return f"Cards up to {limit} GiB"
    return "Cards above 24 GiB"
