"""Places of the engine: commands, and the sentences for what goes wrong on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.endpoint import Place, explain, transport_to
from app.link import HostLink
from app.transport import Ending, LocalTransport, decode_output
from engine.contract.messages import RunChanged
from tests.gui.host_double import HostDouble
from tests.gui.test_notify import RUN

WSL = Place(kind="wsl", name="Ubuntu", python="/opt/fettle/python")
SSH = Place(kind="ssh", name="me@rig", python="/opt/my fettle/python")


def ended(output: str, exit_code: int = 1, *, was_open: bool = False) -> Ending:
    return Ending(started=True, exit_code=exit_code, output=output, was_open=was_open)


def test_commands() -> None:
    attach = ("engine", "attach")
    assert WSL.command(*attach) == [
        "wsl.exe", "-d", "Ubuntu", "--exec", "/opt/fettle/python", "-m", "engine", "attach",
    ]  # fmt: skip
    assert SSH.command(*attach) == [
        "ssh", "-o", "BatchMode=yes", "me@rig", "'/opt/my fettle/python'", "-m", "engine", "attach",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "part"),
    [
        (Place(kind="wsl"), "name of the distribution"),
        (Place(kind="ssh", name="-oProxyCommand=evil"), "cannot be the name"),
        (Place(kind="ssh", name="two words"), "cannot be the name"),
        (Place(kind="ssh", name="rig", python=" "), "path of the Python"),
        (Place(), ""),
        (WSL, ""),
    ],
)
def test_what_was_typed_is_checked(place: Place, part: str) -> None:
    assert part in place.problem()
    assert bool(place.problem()) == bool(part)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        (r"C:\Users\me\chats.jsonl", "/mnt/c/Users/me/chats.jsonl"),
        ("d:/data/x", "/mnt/d/data/x"),
        (r"\\wsl$\Ubuntu\home\me", "/home/me"),
        (r"\\wsl.localhost\Ubuntu\home\me", "/home/me"),
        ("/home/me", "/home/me"),
        ("org/model", "org/model"),
    ],
)
def test_paths_of_windows_are_told_to_wsl_in_its_way(path: str, there: str) -> None:
    assert WSL.path_there(path) == there
    assert Place().path_there(path) == path


@pytest.mark.parametrize("data", [None, 3, {"kind": "moon"}, {"kind": "wsl"}, WSL.to_data()])
def test_stored_places_are_read_with_care(data: object) -> None:
    place = Place.from_data(data)
    assert place == (WSL if data == WSL.to_data() else Place())


@pytest.mark.parametrize(
    ("place", "ending", "parts"),
    [
        (WSL, Ending(started=False, exit_code=-1, output="", was_open=False),
         ["no wsl.exe", "--install"]),
        (WSL, ended("Error code: Wsl/Service/WSL_E_DISTRO_NOT_FOUND"),
         ["no WSL distribution called Ubuntu", "--list"]),
        (WSL, ended("<3>WSL (9) ERROR: CreateProcessCommon:559: execvpe(/opt/fettle/python) "
                    "failed: No such file or directory"),
         ["no /opt/fettle/python", "Settings"]),
        (WSL, ended("/opt/fettle/python: No module named engine"),
         ["no Fettle engine", "bootstrap.py install"]),
        (WSL, ended("Traceback …\nModuleNotFoundError: No module named 'msgspec'"),
         ["not installed in full", "bootstrap.py install"]),
        (SSH, Ending(started=False, exit_code=-1, output="", was_open=False),
         ["no ssh program", "openssh-client"]),
        (SSH, ended("ssh: connect to host rig port 22: Connection refused", 255),
         ["me@rig refuses", "SSH server"]),
        (SSH, ended("ssh: Could not resolve hostname rig: Name or service not known", 255),
         ["no machine called me@rig", "~/.ssh/config"]),
        (SSH, ended("me@rig: Permission denied (publickey).", 255), ["ssh-copy-id me@rig"]),
        (SSH, ended("Host key verification failed.", 255), ["Connect once by hand"]),
        (SSH, ended("ssh: connect to host rig port 22: Connection timed out", 255),
         ["does not answer"]),
        (SSH, ended("bash: /opt/my fettle/python: No such file or directory", 127),
         ["no /opt/my fettle/python in me@rig over SSH"]),
        (SSH, ended("", 255, was_open=True), ["goes on", "by itself"]),
        (SSH, ended("kex: strange", 3), ["exit code 3", "kex: strange", "in a terminal"]),
    ],
)  # fmt: skip
def test_each_failure_has_its_sentence(place: Place, ending: Ending, parts: list[str]) -> None:
    sentence = explain(place, ending)
    for part in parts:
        assert part in sentence


def test_the_output_of_wsl_is_read_in_utf_16_too() -> None:
    text = "There is no distribution with the supplied name."
    assert decode_output(text.encode("utf-16")) == text
    assert decode_output(text.encode()) == text


def test_a_command_that_is_not_there_is_told(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    transport = transport_to(WSL)
    with qtbot.waitSignal(transport.closed) as caught:
        transport.open()
    assert "no wsl.exe" in caught.args[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_what_the_command_says_on_stderr_becomes_the_sentence(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "ssh"
    script.write_text("#!/bin/sh\necho 'me@rig: Permission denied (publickey).' >&2\nexit 255\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    transport = transport_to(SSH)
    with qtbot.waitSignal(transport.closed) as caught:
        transport.open()
    assert "ssh-copy-id" in caught.args[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_a_run_in_wsl_is_held_by_a_command_of_its_own(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    script = tmp_path / "wsl.exe"
    script.write_text(f'#!/bin/sh\necho "$@" >> {held}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    host = HostDouble()
    host.listen()
    link = HostLink(place=WSL, transport=LocalTransport(launch=None))
    with qtbot.waitSignal(link.connected):
        link.open()
    with qtbot.waitSignals([link.run_changed, link.run_changed]):
        host.send(RunChanged(summary=RUN), RunChanged(summary=RUN))
    qtbot.waitUntil(lambda: held.exists() and held.read_text().endswith("\n"))
    link.close()
    host.stop()
    assert held.read_text() == (
        "-d Ubuntu --exec /opt/fettle/python -m engine.cli follow r1 --json\n"
    )
