"""The look: a theme's tokens, style sheet and palette made from them, and following the system.

Colours are named by what they mean (``resources/themes/*.toml``); widgets ask for a name and never
write a colour of their own, so that a theme is one file.
"""

from __future__ import annotations

import string
import tomllib
from functools import cache
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from engine.paths import RESOURCES

FONT_FILES = (
    "Inter-Regular.otf",
    "Inter-Medium.otf",
    "Inter-SemiBold.otf",
    "JetBrainsMono-Regular.ttf",
)
SANS = "Inter"


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The colours of a theme, as ``#rrggbb``."""

    window: str
    card: str
    control: str
    control_hover: str
    border: str
    text: str
    muted: str
    faint: str
    accent: str
    accent_hover: str
    accent_text: str
    focus: str
    good: str
    info: str
    warning: str
    danger: str
    violet: str
    orange: str
    raw: str
    """Of a measured curve behind its smoothed one."""
    info_fill: str
    violet_fill: str
    grid: str

    def color(self, name: str) -> QColor:
        """The colour of that name. Raises AttributeError for an unknown one."""
        return QColor(getattr(self, name))


@cache
def load_tokens(name: str) -> Tokens:
    """The tokens of the bundled theme ``dark`` or ``light``."""
    text = (RESOURCES / "themes" / f"{name}.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Tokens)


def style_sheet(name: str) -> str:
    """The application's style sheet in a theme."""
    template = (RESOURCES / "themes" / "fettle.qss").read_text(encoding="utf-8")
    images = {
        token: (RESOURCES / "themes" / f"{image}-{name}.svg").as_posix()
        for token, image in {
            "chevron": "chevron-down",
            "chevron_up": "chevron-up",
            "tick": "check",
        }.items()
    }
    return string.Template(template).substitute(msgspec.structs.asdict(load_tokens(name)), **images)


def qt_palette(tokens: Tokens) -> QPalette:
    """Colours for what the style sheet does not reach (native dialogs, placeholders, links)."""
    roles = {
        QPalette.ColorRole.Window: tokens.window,
        QPalette.ColorRole.WindowText: tokens.text,
        QPalette.ColorRole.Base: tokens.card,
        QPalette.ColorRole.AlternateBase: tokens.control,
        QPalette.ColorRole.Text: tokens.text,
        QPalette.ColorRole.Button: tokens.control,
        QPalette.ColorRole.ButtonText: tokens.text,
        QPalette.ColorRole.Highlight: tokens.accent,
        QPalette.ColorRole.HighlightedText: tokens.accent_text,
        QPalette.ColorRole.PlaceholderText: tokens.muted,
        QPalette.ColorRole.Link: tokens.info,
        QPalette.ColorRole.ToolTipBase: tokens.control,
        QPalette.ColorRole.ToolTipText: tokens.text,
    }
    palette = QPalette()
    for role, color in roles.items():
        palette.setColor(role, QColor(color))
    return palette


def load_fonts(folder: Path = RESOURCES / "fonts") -> None:
    """Make the bundled fonts known to Qt. A missing file leaves the system's font in its place."""
    for name in FONT_FILES:
        QFontDatabase.addApplicationFont(str(folder / name))


def base_font() -> QFont:
    """The window's font: figures equally wide, so that counting numbers do not dance."""
    font = QFont(SANS)
    font.setPixelSize(13)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


class Theme(QObject):
    """The theme in force, and the switch between them.

    Signals:
        changed: new :class:`Tokens`, after the style sheet is in place.
    """

    changed = Signal(object)

    def __init__(self, app: QApplication, choice: str = "system") -> None:
        super().__init__(app)
        self._app = app
        self._name = ""
        load_fonts()
        app.setStyle("Fusion")
        app.setFont(base_font())
        app.styleHints().colorSchemeChanged.connect(self._on_system_scheme_changed)
        self.choose(choice)

    @property
    def name(self) -> str:
        """``dark`` or ``light``: what is shown now."""
        return self._name

    @property
    def tokens(self) -> Tokens:
        """The colours shown now."""
        return load_tokens(self._name)

    def choose(self, choice: str) -> None:
        """``dark``, ``light``, or ``system`` to follow the desktop."""
        self._choice = choice
        # Title bars and native dialogs are drawn by the desktop: it has to be told too.
        schemes = {"dark": Qt.ColorScheme.Dark, "light": Qt.ColorScheme.Light}
        self._app.styleHints().setColorScheme(schemes.get(choice, Qt.ColorScheme.Unknown))
        self._apply()

    def _wanted(self) -> str:
        if self._choice in ("dark", "light"):
            return self._choice
        return "light" if self._system_scheme() == Qt.ColorScheme.Light else "dark"

    def _system_scheme(self) -> Qt.ColorScheme:
        return self._app.styleHints().colorScheme()

    def _on_system_scheme_changed(self, _scheme: Qt.ColorScheme) -> None:
        self._apply()

    def _apply(self) -> None:
        name = self._wanted()
        if name == self._name:
            return
        self._name = name
        self._app.setPalette(qt_palette(self.tokens))
        self._app.setStyleSheet(style_sheet(name))
        self.changed.emit(self.tokens)
