"""Notification when a run ends: once, only for news, with what it says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtGui import QIcon
from pytestqt.qtbot import QtBot

from app.link import HostLink
from app.notify import Notifier, text_of, title_of
from app.transport import LocalTransport
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import RunSummary

RUN = RunSummary(
    run="r1", folder="/r1", name="support-bot", state=State.TRAINING, phase=Phase.TRAINING,
    step=40, max_steps=100, checkpoints=1, attempt=1, method="sft", model="m", dataset="d",
    kind="LoRA", created_at=0.0, loss=1.5, train_seconds=3600.0,
)  # fmt: skip


def now(**changes: Any) -> RunSummary:
    return msgspec.structs.replace(RUN, **changes)


@pytest.fixture
def link(qapp: object) -> HostLink:
    return HostLink(transport=LocalTransport(launch=None))


@pytest.fixture
def notifier(link: HostLink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Notifier:
    monkeypatch.setenv("PATH", str(tmp_path))  # no notify-send
    return Notifier(link, QIcon())


def test_tells_when_a_run_ends(link: HostLink, notifier: Notifier, qtbot: QtBot) -> None:
    link.run_changed.emit(RUN)
    with (
        qtbot.waitSignal(notifier.told) as told,
        qtbot.waitSignal(notifier.fell_back) as fell_back,
    ):
        link.run_changed.emit(now(state=State.FINISHED, step=100))
    assert told.args == ["r1"]
    assert fell_back.args[0] == "Finished: support-bot"
    assert fell_back.args[2] == "good"


def test_a_failure_has_the_colour_of_one(link: HostLink, notifier: Notifier, qtbot: QtBot) -> None:
    link.run_changed.emit(RUN)
    with qtbot.waitSignal(notifier.fell_back) as fell_back:
        link.run_changed.emit(now(state=State.FAILED))
    assert fell_back.args[2] == "danger"


def test_tells_once(link: HostLink, notifier: Notifier, qtbot: QtBot) -> None:
    link.run_changed.emit(RUN)
    link.run_changed.emit(now(state=State.FAILED))
    with qtbot.assertNotEmitted(notifier.told):
        link.run_changed.emit(now(state=State.FAILED, bytes=3))


def test_a_run_that_ended_before_is_no_news(
    link: HostLink, notifier: Notifier, qtbot: QtBot
) -> None:
    with qtbot.assertNotEmitted(notifier.told):
        link.run_changed.emit(now(state=State.FINISHED))


def test_progress_is_no_news(link: HostLink, notifier: Notifier, qtbot: QtBot) -> None:
    link.run_changed.emit(RUN)
    with qtbot.assertNotEmitted(notifier.told):
        link.run_changed.emit(now(step=41))


def test_words() -> None:
    done = now(state=State.FINISHED, step=100)
    assert title_of(done) == "Finished: support-bot"
    assert "100 of 100" in text_of(done)
    failed = now(state=State.FAILED, sentence="The disk is full.")
    assert text_of(failed) == "The disk is full."


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="notify-send is Linux's")
def test_asks_the_desktop_on_linux(
    link: HostLink, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    script = tmp_path / "notify-send"
    script.write_text(f'#!/bin/sh\necho "$3" > {said}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    notifier = Notifier(link, QIcon())
    link.run_changed.emit(RUN)
    with qtbot.assertNotEmitted(notifier.fell_back):
        link.run_changed.emit(now(state=State.FINISHED))
        qtbot.waitUntil(lambda: said.exists() and said.read_text() == "Finished: support-bot\n")
        qtbot.waitUntil(lambda: not notifier.children())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="notify-send is Linux's")
def test_a_desktop_that_cannot_show_it_falls_back(
    link: HostLink, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "notify-send"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    notifier = Notifier(link, QIcon())
    link.run_changed.emit(RUN)
    with qtbot.waitSignal(notifier.fell_back):
        link.run_changed.emit(now(state=State.FINISHED))
