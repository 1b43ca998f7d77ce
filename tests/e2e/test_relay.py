"""The link through another command: stand-ins for ``wsl.exe`` and ``ssh`` that run their arguments.

The engine is on this machine all the same, so the whole way is real but the command itself.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.endpoint import Place
from app.probe import Probe
from engine import __version__
from tests.e2e.host_driver import ROOT, HostUnderTest
from tests.e2e.window_driver import WindowUnderTest, live_at, stand_in
from tests.gui.tidy import _what_stays, collected_between_tests

STEPS = 80
WHOLE = list(range(1, STEPS + 1))
SCRIPTS = {
    "wsl.exe": 'test "$2" = Test || { echo "Wsl/Service/WSL_E_DISTRO_NOT_FOUND" >&2; exit 255; }\n'
    'shift 3; exec "$@"',
    "ssh": 'test "$1 $2" = "-o BatchMode=yes" || exit 1\nshift 2\n'
    'test "$1" = rig || { echo "ssh: Could not resolve hostname $1: no" >&2; exit 255; }\n'
    'shift; exec sh -c "exec $*"',
}
PLACES = {
    "wsl.exe": Place(kind="wsl", name="Test", python=sys.executable),
    "ssh": Place(kind="ssh", name="rig", python=sys.executable),
}

__all__ = ["_what_stays", "collected_between_tests"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


@pytest.fixture(params=["wsl.exe", "ssh"])
def command(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATH", "", prepend=":")  # so that it is restored afterwards
    stand_in(tmp_path, request.param, SCRIPTS[request.param])
    return str(request.param)


@pytest.fixture
def hosts(fettle_home: Path) -> Iterator[HostUnderTest]:
    made = HostUnderTest(fettle_home)
    made.fake("normal", steps=STEPS, ms=50)
    yield made
    made.close()


def test_a_whole_run_through_a_relay_that_is_killed_twice(
    hosts: HostUnderTest, command: str, qapp: object
) -> None:
    live_at(PLACES[command])
    window = WindowUnderTest(hosts, "relay", "start", str(hosts.model), str(hosts.data), str(STEPS))
    try:
        for kills, steps in enumerate((10, 35)):
            window.wait(lambda state, n=steps: len(state.get("graph_steps", [])) >= n, "steps")
            (relay,) = window.relays()
            relay.kill()
            window.wait(lambda state, n=kills: state["connections"] == n + 2, "a new relay")
        seen: dict[str, Any] = window.wait(
            lambda state: state["state"] == "finished" and len(state["graph_steps"]) == STEPS,
            "the whole run",
        )
    finally:
        window.close()
    assert seen["arrived"] == WHOLE
    assert seen["graph_steps"] == WHOLE
    assert seen["losses"] == 2
    assert seen["outage"] == ""


def failure_of(place: Place, qtbot: QtBot) -> str:
    probe = Probe(place)
    with qtbot.waitSignal(probe.failed, timeout=20_000) as caught:
        probe.begin()
    return str(caught.args[0])


def test_a_wrong_name_is_told(command: str, qtbot: QtBot) -> None:
    kind = PLACES[command].kind
    sentence = failure_of(Place(kind=kind, name="other", python=sys.executable), qtbot)
    assert "called other" in sentence


def test_a_missing_python_is_told(command: str, qtbot: QtBot) -> None:
    place = PLACES[command]
    sentence = failure_of(Place(kind=place.kind, name=place.name, python="/no/python"), qtbot)
    assert "There is no /no/python" in sentence


def test_a_python_without_the_engine_is_told(
    command: str, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    bare.chmod(0o755)
    place = PLACES[command]
    sentence = failure_of(Place(kind=place.kind, name=place.name, python=str(bare)), qtbot)
    assert "has no Fettle engine" in sentence
    assert "bootstrap.py install" in sentence


def test_an_engine_of_another_version_is_told(
    hosts: HostUnderTest, command: str, qtbot: QtBot, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "engine", other / "engine", ignore=shutil.ignore_patterns("worker"))
    init = other / "engine" / "__init__.py"
    init.write_text(init.read_text().replace(__version__, "9.9.9"))
    python = tmp_path / "other-python"
    python.write_text(f'#!/bin/sh\ncd "{other}"; exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    place = PLACES[command]
    sentence = failure_of(Place(kind=place.kind, name=place.name, python=str(python)), qtbot)
    for part in ("Fettle 9.9.9", f"Fettle {__version__}", "same version in both places"):
        assert part in sentence


def test_the_engine_there_is_found(hosts: HostUnderTest, command: str, qtbot: QtBot) -> None:
    hosts.start()
    hosts.connect()
    probe = Probe(PLACES[command])
    with qtbot.waitSignal(probe.succeeded, timeout=20_000) as caught:
        probe.begin()
    hello, facts = caught.args
    assert hello["version"] == __version__
    assert facts["python"].startswith("3.")
    qtbot.wait(50)
