"""The Settings page: the place of the engine is tried before it is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.endpoint import Place
from app.link import HostLink
from app.pages.settings import SettingsPage
from app.pages.settings_place import found_lines
from app.preferences import Preferences
from app.theme import Theme
from app.transport import LocalTransport
from engine import __version__
from engine.contract.messages import ChangeOptions, Refusal
from tests.gui.host_double import HostDouble
from tests.gui.pages import theme

__all__ = ["theme"]

FACTS: dict[str, Any] = {
    "python": "3.11.7",
    "gpus": [{"index": 0, "name": "RTX 3060", "vram_total_bytes": 12 << 30}],
}
RELAY = """#!{python}
import os, socket, sys, threading
if sys.argv[{name_at}] != "good":
    sys.exit("Error code: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\\nssh: Could not resolve hostname")
sock = socket.socket(socket.AF_UNIX)
sock.connect({address!r})
def pump():
    while chunk := os.read(0, 65536):
        sock.sendall(chunk.replace(b'"token":""', b'"token":"secret"'))
    os._exit(0)
threading.Thread(target=pump, daemon=True).start()
while chunk := sock.recv(65536):
    os.write(1, chunk)
"""


@pytest.fixture
def host(qapp: object, fettle_home: Path) -> Iterator[HostDouble]:
    double = HostDouble()
    double.replies["facts"] = {"facts": FACTS}
    double.replies["read_options"] = {"options": {"resume_automatically": True, "resume_tries": 4}}
    double.listen()
    yield double
    double.stop()


@pytest.fixture
def page(host: HostDouble, theme: Theme, qtbot: QtBot) -> Iterator[SettingsPage]:
    link = HostLink(transport=LocalTransport(launch=None))
    made = SettingsPage(link, Preferences(), theme)
    qtbot.addWidget(made)
    made.show()
    with qtbot.waitSignal(link.connected):
        link.open()
    yield made
    link.close()


def click(qtbot: QtBot, target: QWidget) -> None:
    qtbot.mouseClick(target, Qt.MouseButton.LeftButton)


def stand_in(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of that name that relays to the host if it is asked for the place ``good``."""
    from engine.paths import socket_address

    name_at = 2 if name == "wsl.exe" else 3
    script = folder / name
    script.write_text(
        RELAY.format(python=sys.executable, address=socket_address(), name_at=name_at)
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_going_on_by_itself_is_the_hosts_choice(
    page: SettingsPage, host: HostDouble, qtbot: QtBot
) -> None:
    card = page.comeback
    qtbot.waitUntil(card.resume.isEnabled)
    assert (card.resume.isChecked(), card.tries.value()) == (True, 4)
    assert card.tries.isEnabled()
    host.replies["change_options"] = {"options": {"resume_automatically": False, "resume_tries": 4}}
    card.resume.click()
    qtbot.waitUntil(lambda: not card.tries.isEnabled())
    (change,) = host.asked(ChangeOptions)
    assert change.options == {
        "resume_automatically": False, "resume_tries": 4, "remember_memory": True,
    }  # fmt: skip
    host.replies["change_options"] = Refusal(to=0, sentence="The disk is full.")
    card.resume.click()
    qtbot.waitUntil(lambda: card.said.text() == "The disk is full.")
    qtbot.waitUntil(card.resume.isChecked)


def test_what_memory_taught_can_be_left_unused(
    page: SettingsPage, host: HostDouble, qtbot: QtBot
) -> None:
    card = page.comeback
    qtbot.waitUntil(card.remember.isEnabled)
    assert card.remember.isChecked()
    host.replies["change_options"] = {"options": {"remember_memory": False}}
    card.remember.click()
    qtbot.waitUntil(lambda: len(host.asked(ChangeOptions)) == 1)
    assert host.asked(ChangeOptions)[0].options["remember_memory"] is False


def test_this_machine_is_tried(page: SettingsPage, qtbot: QtBot) -> None:
    click(qtbot, page.place.try_it)
    qtbot.waitUntil(lambda: "Found" in page.place.result.text())
    assert __version__ in page.place.result.text()
    assert "Python 3.11.7" in page.place.result.text()
    assert "RTX 3060 · 12.0" in page.place.result.text()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
@pytest.mark.parametrize(("kind", "command"), [("wsl", "wsl.exe"), ("ssh", "ssh")])
def test_another_place_is_tried_and_used(
    page: SettingsPage,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: Any,
    command: str,
) -> None:
    stand_in(tmp_path, command, monkeypatch)
    click(qtbot, page.place.kinds[kind])
    qtbot.keyClicks(page.place.name, "good")
    click(qtbot, page.place.try_it)
    qtbot.waitUntil(lambda: "RTX 3060" in page.place.result.text())
    link = page.about.link
    with qtbot.waitSignal(link.connected):
        click(qtbot, page.place.use)
    assert Preferences().place == Place(kind=kind, name="good")
    assert link.place.kind == kind
    assert "good" in page.about.host.text()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
@pytest.mark.parametrize(
    ("kind", "command", "part"),
    [("wsl", "wsl.exe", "no WSL distribution called bad"), ("ssh", "ssh", "no machine called bad")],
)
def test_a_place_that_is_not_there_is_told(
    page: SettingsPage,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: Any,
    command: str,
    part: str,
) -> None:
    stand_in(tmp_path, command, monkeypatch)
    click(qtbot, page.place.kinds[kind])
    qtbot.keyClicks(page.place.name, "bad")
    click(qtbot, page.place.try_it)
    qtbot.waitUntil(lambda: part in page.place.result.text())
    assert Preferences().place == Place()


def test_a_place_without_a_name_is_not_used(page: SettingsPage, qtbot: QtBot) -> None:
    click(qtbot, page.place.kinds["ssh"])
    assert not page.place.use.isEnabled()
    click(qtbot, page.place.use)
    assert page.about.link.place == Place()
    qtbot.keyClicks(page.place.name, "me@rig")
    assert page.place.use.isEnabled()


def test_a_machine_is_no_distribution(page: SettingsPage, qtbot: QtBot) -> None:
    click(qtbot, page.place.kinds["ssh"])
    qtbot.keyClicks(page.place.name, "me@rig")
    click(qtbot, page.place.kinds["wsl"])
    assert page.place.name.text() == ""
    qtbot.keyClicks(page.place.name, "Ubuntu")
    click(qtbot, page.place.kinds["ssh"])
    assert page.place.name.text() == "me@rig"
    click(qtbot, page.place.kinds["wsl"])
    assert page.place.name.text() == "Ubuntu"


def test_after_a_failed_test_the_keyboard_stays_on_test(
    page: SettingsPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    click(qtbot, page.place.kinds["ssh"])
    qtbot.keyClicks(page.place.name, "me@rig")
    page.place.try_it.setFocus()
    qtbot.keyClick(page.place.try_it, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "ssh" in page.place.result.text())
    assert page.place.try_it.isEnabled()
    assert not page.place.use.hasFocus()


def test_editing_ends_a_try(page: SettingsPage, qtbot: QtBot) -> None:
    click(qtbot, page.place.try_it)
    click(qtbot, page.place.kinds["wsl"])
    qtbot.wait(100)
    assert page.place.result.text() == ""
    assert page.place.try_it.isEnabled()


def test_the_look_is_chosen(page: SettingsPage, theme: Theme, qtbot: QtBot) -> None:
    click(qtbot, page.look.chips["light"])
    assert theme.name == "light"
    assert Preferences().theme == "light"
    click(qtbot, page.look.chips["dark"])
    assert theme.name == "dark"


def test_model_folders_are_added_and_removed(page: SettingsPage, qtbot: QtBot) -> None:
    page.folders.add_folder("/models")
    page.folders.add_folder("/models")
    assert Preferences().model_folders == ["/models"]
    page.folders.list.setCurrentRow(0)
    click(qtbot, page.folders.remove)
    assert Preferences().model_folders == []


def test_a_machine_without_a_gpu_says_so() -> None:
    assert "No GPU found" in found_lines({"version": "1"}, {"gpus": []})[-1]
