"""The look: themes complete, legible, switched live; fonts and icons bundled with licences."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QFontInfo
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.theme import FONT_FILES, Theme, Tokens, load_tokens, style_sheet
from app.theme_icons import icon, pixmap, window_icon
from engine.paths import RESOURCES
from tests.gui.pages import theme

__all__ = ["theme"]

NAMES = ("dark", "light")
ROOT = Path(__file__).parents[2]


def luminance(color: str) -> float:
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_theme_defines_every_colour_and_no_other(name: str) -> None:
    raw = tomllib.loads((RESOURCES / "themes" / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(raw) == set(Tokens.__struct_fields__)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", color) for color in raw.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("color", ["text", "muted", "good", "info", "warning", "danger"])
@pytest.mark.parametrize("ground", ["card", "window", "control"])
def test_texts_can_be_read(name: str, color: str, ground: str) -> None:
    tokens = load_tokens(name)
    assert contrast(getattr(tokens, color), getattr(tokens, ground)) >= 4.0


@pytest.mark.parametrize("name", NAMES)
def test_the_primary_button_can_be_read(name: str) -> None:
    tokens = load_tokens(name)
    assert contrast(tokens.accent_text, tokens.accent) >= 4.0


@pytest.mark.parametrize("name", NAMES)
def test_the_style_sheet_has_every_token_filled_in(name: str) -> None:
    sheet = style_sheet(name)
    assert "$" not in sheet
    for path in re.findall(r"url\((.+?)\)", sheet):
        assert (RESOURCES / "themes" / path).exists(), path


def test_switching_repaints_what_is_there(theme: Theme, qtbot: QtBot) -> None:
    sample = QLabel("x")
    qtbot.addWidget(sample)
    sample.show()
    with qtbot.waitSignal(theme.changed) as heard:
        theme.choose("light")
    assert heard.args == [load_tokens("light")]
    assert theme.name == "light"
    assert sample.palette().windowText().color().name() == load_tokens("light").text


def test_choosing_what_is_there_does_nothing(theme: Theme, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(theme.changed):
        theme.choose("dark")


def test_following_the_system_switches_with_it(
    theme: Theme, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def system_becomes(scheme: Qt.ColorScheme) -> None:
        # The platform without a screen has no colour scheme to change.
        monkeypatch.setattr(theme, "_system_scheme", lambda: scheme)
        qapp.styleHints().colorSchemeChanged.emit(scheme)

    theme.choose("system")
    system_becomes(Qt.ColorScheme.Light)
    assert theme.name == "light"
    system_becomes(Qt.ColorScheme.Dark)
    assert theme.name == "dark"
    system_becomes(Qt.ColorScheme.Unknown)
    assert theme.name == "dark"
    theme.choose("light")
    system_becomes(Qt.ColorScheme.Dark)
    assert theme.name == "light", "a chosen theme does not follow the system"


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("Inter", QFont.Weight.Normal),
        ("Inter", QFont.Weight.Medium),
        ("Inter", QFont.Weight.DemiBold),
        ("JetBrains Mono", QFont.Weight.Normal),
    ],
)
def test_the_bundled_fonts_are_used(theme: Theme, family: str, weight: QFont.Weight) -> None:
    found = QFontInfo(QFont(family, 12, weight))
    assert (found.family(), found.weight()) == (family, weight)


def test_only_fonts_in_use_are_bundled_and_with_their_licences() -> None:
    folder = RESOURCES / "fonts"
    licences = {"Inter-OFL.txt", "JetBrainsMono-OFL.txt"}
    assert {path.name for path in folder.iterdir()} == {*FONT_FILES, *licences}
    for name in licences:
        assert "SIL OPEN FONT LICENSE" in (folder / name).read_text(encoding="utf-8").upper()


def test_only_icons_in_use_are_bundled_and_with_their_licence() -> None:
    app_folder = RESOURCES.parent / "app"
    source = "".join(path.read_text(encoding="utf-8") for path in app_folder.rglob("*.py"))
    names = {path.stem for path in (RESOURCES / "icons").glob("*.svg")}
    assert {name for name in names if f'"{name}"' not in source} <= {"fettle"}
    assert "ISC License" in (RESOURCES / "icons" / "LICENSE.txt").read_text(encoding="utf-8")


def test_an_icon_has_the_colour_asked_for_and_is_crisp_at_every_scale(theme: Theme) -> None:
    for scale in (1.0, 1.25, 1.5, 2.0):
        image = pixmap("plus", "#ff0000", 16, scale).toImage()
        assert image.width() == round(16 * scale)
        middle = image.pixelColor(image.width() // 2, image.height() // 2)
        assert (middle.red(), middle.green(), middle.blue()) == (255, 0, 0)
        assert middle.alpha() > 200
        assert image.pixelColor(0, 0).alpha() == 0
        asked = icon("plus", "#ff0000").pixmap(QSize(16, 16), scale)
        assert asked.width() == round(16 * scale)


def test_the_window_has_an_icon(theme: Theme) -> None:
    assert not window_icon().pixmap(32, 32).isNull()


def test_tokens_refuse_a_misspelt_colour() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"windw": "#000000"}, Tokens)
    with pytest.raises(AttributeError):
        load_tokens("dark").color("no such colour")


SWEEP = """
import gc
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from app.collector import Collector
from app.theme import Theme

qt = QApplication([])
collector, theme = Collector(qt), Theme(qt, "dark")

class Part(QWidget):
    def changeEvent(self, event: QEvent) -> None:
        self.made = [[] for _ in range(5000)]

parts = []
for number in range(400):
    lost = QLabel()
    lost.itself = lost
    lost.ensurePolished()
    if number % 20 == 0:
        parts.append(Part())
        parts[-1].ensurePolished()
del lost
print(len(qt.allWidgets()))
theme.choose("light")
print(len(qt.allWidgets()))
collector._on_look()
print(len(qt.allWidgets()))
"""


def test_nothing_is_collected_while_the_style_is_changed() -> None:
    done = subprocess.run([sys.executable, "-c", SWEEP], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    before, during, after = (int(line) for line in done.stdout.split())
    assert before == during == 420
    assert after == 20
