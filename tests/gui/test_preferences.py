"""What the window remembers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray
from pytestqt.qtbot import QtBot

from app.endpoint import Place
from app.preferences import Preferences

WSL = Place(kind="wsl", name="Ubuntu", python="/opt/fettle/.venv/bin/python")


def test_lies_in_the_home(qapp: object, fettle_home: Path) -> None:
    Preferences().set_theme("dark")
    assert (fettle_home / "app.ini").is_file()


def test_everything_is_there_in_the_next_window(qapp: object) -> None:
    first = Preferences()
    first.set_theme("light")
    first.set_place(WSL)
    first.set_model_folders(["/models", "D:/models, old"])
    first.set_blob("window/geometry", QByteArray(b"\x00\xff\n;"))
    first.set_data("new_run/draft", {"values": {"name": '日本, "x"\n'}})
    second = Preferences()
    assert second.theme == "light"
    assert second.place == WSL
    assert second.model_folders == ["/models", "D:/models, old"]
    assert second.blob("window/geometry").data() == b"\x00\xff\n;"
    assert second.data("new_run/draft") == {"values": {"name": '日本, "x"\n'}}


def test_a_broken_file_gives_defaults(qapp: object, fettle_home: Path) -> None:
    (fettle_home / "app.ini").write_text(
        '[window]\ntheme=purple\n[engine]\nplace={"kind": 3}\n[models]\nfolders=[1, \n'
    )
    preferences = Preferences()
    assert preferences.theme == "system"
    assert preferences.place == Place()
    assert preferences.model_folders == []


def test_changes_are_told_once(qapp: object, qtbot: QtBot) -> None:
    preferences = Preferences()
    with qtbot.waitSignal(preferences.theme_changed) as caught:
        preferences.set_theme("dark")
    assert caught.args == ["dark"]
    with qtbot.assertNotEmitted(preferences.theme_changed):
        preferences.set_theme("dark")
    with qtbot.waitSignal(preferences.place_changed):
        preferences.set_place(WSL)
    with qtbot.assertNotEmitted(preferences.place_changed):
        preferences.set_place(WSL)


def test_an_unknown_theme_is_refused(qapp: object) -> None:
    with pytest.raises(ValueError, match="purple"):
        Preferences().set_theme("purple")
