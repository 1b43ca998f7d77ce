"""Try it first: asked, followed, ended, refused, lost; the table of what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget
from pytestqt.qtbot import QtBot

from app.pages.new_run import NewRunPage
from app.rehearsal_words import MOMENTS, POOLS, figures, pool_lines
from app.theme import Theme
from engine.contract.lifecycle import Phase
from engine.contract.messages import (
    Complaint,
    Finding,
    PhaseChanged,
    Pool,
    PoolPeak,
    Progress,
    Refusal,
    Rehearse,
    Rehearsed,
    Start,
    StopRehearsal,
)
from engine.planning.pools import planned_pools
from tests.gui.host_double import HostDouble
from tests.gui.pages import new_run_page, theme
from tests.gui.plans import GIB, gib, plan

__all__ = ["theme"]

NAME = "rehearsal-1"
POOL_PEAKS = [
    PoolPeak(
        pool="vram_reserved", measured_bytes=gib(8.6), planned_bytes=gib(8.5), moment="train",
        limit_bytes=gib(10.2),
    ),
    PoolPeak(pool="ram", measured_bytes=3 * GIB, moment="load"),
    PoolPeak(pool="disk", measured_bytes=250 << 20, planned_bytes=200 << 20, moment="save"),
]  # fmt: skip
FITS = Rehearsed(
    run=NAME, verdict="fits", sentence="Fits with 1.6 GiB to spare.", pools=POOL_PEAKS,
    step_seconds=2.1, total_steps=1200, total_seconds=2600, checkpoint_bytes=250 << 20,
)  # fmt: skip


@pytest.fixture
def host(qapp: object, fettle_home: Path) -> Iterator[HostDouble]:
    double = HostDouble()
    double.replies["rehearse"] = {"rehearsal": NAME}
    double.replies["start"] = {"run": "20261122-221503-x", "folder": "/x"}
    double.listen()
    yield double
    double.stop()


@pytest.fixture
def page(host: HostDouble, theme: Theme, qtbot: QtBot) -> Iterator[NewRunPage]:
    for made in new_run_page(theme, qtbot, launch=host.listen):
        made.form.set_value("model.path", "mistralai/Mistral-7B-v0.3")
        made.form.set_value("dataset.path", "/data/chats.jsonl")
        yield made


def click(qtbot: QtBot, target: QWidget) -> None:
    qtbot.mouseClick(target, Qt.MouseButton.LeftButton)


def tried(page: NewRunPage, host: HostDouble, qtbot: QtBot) -> None:
    click(qtbot, page.header.rehearse)
    qtbot.waitUntil(lambda: page.trials.rehearser._name == NAME)


def test_it_tries_what_is_filled_in_and_says_how_far_it_is(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    tried(page, host, qtbot)
    (request,) = host.asked(Rehearse)
    assert request.spec["dataset"]["path"] == "/data/chats.jsonl"
    assert page.trial.isVisible()
    assert not page.header.rehearse.isEnabled()
    host.send(PhaseChanged(run=NAME, at=1, phase=Phase.SAVING, detail="writing of a checkpoint"))
    qtbot.waitUntil(lambda: page.trial.phase.text() == "Writing of a checkpoint …")
    host.send(Progress(run=NAME, phase=Phase.TOKENISING, done=3, total=9))
    qtbot.waitUntil(lambda: page.trial.progress.maximum() == 9)
    assert page.trial.progress.value() == 3


def test_what_was_measured_stands_beside_the_plan_and_can_be_started(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    tried(page, host, qtbot)
    host.send(FITS)
    qtbot.waitUntil(lambda: page.trial.verdict.isVisible())
    assert page.trial.verdict.text() == "It fits"
    assert page.trial.sentence.text() == FITS.sentence
    cells = [cell.text() for cell in page.trial.table.findChildren(QLabel)]
    assert "Held by torch, while training" in cells
    assert "+1.2\u202f%" in cells
    assert page.header.rehearse.isEnabled()
    click(qtbot, page.trial.start)
    qtbot.waitUntil(lambda: bool(host.asked(Start)))


def test_why_it_would_have_died_is_told(page: NewRunPage, host: HostDouble, qtbot: QtBot) -> None:
    tried(page, host, qtbot)
    finding = Finding(
        at=1, severity="error", code="out_of_memory", title="Out of memory",
        cause="The loss needs 4 GiB at once.", remedy="Halve the batch.",
    )  # fmt: skip
    host.send(Rehearsed(run=NAME, verdict="would_die", sentence="It died.", findings=[finding]))
    qtbot.waitUntil(lambda: page.trial.verdict.isVisible())
    assert page.trial.remedy.text() == "The loss needs 4 GiB at once. Halve the batch."
    assert not page.trial.start.isVisible()
    assert page.trial.property("card") == "danger"
    click(qtbot, page.trial.close_button)
    assert not page.trial.isVisible()


def test_it_can_be_cancelled(page: NewRunPage, host: HostDouble, qtbot: QtBot) -> None:
    tried(page, host, qtbot)
    click(qtbot, page.trial.cancel)
    qtbot.waitUntil(lambda: bool(host.asked(StopRehearsal)))
    assert host.asked(StopRehearsal)[0].rehearsal == NAME
    assert not page.trial.cancel.isEnabled()
    host.send(Rehearsed(run=NAME, verdict="stopped", sentence="Stopped, as asked."))
    qtbot.waitUntil(lambda: page.trial.verdict.text() == "Stopped")


def test_cancelled_before_it_began_it_ends_all_the_same(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    click(qtbot, page.header.rehearse)
    click(qtbot, page.trial.cancel)
    qtbot.waitUntil(lambda: bool(host.asked(StopRehearsal)))


def test_a_refusal_is_a_sentence_and_lands_on_its_field(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    complaint = Complaint(field="training.max_length", problem="Too long.", remedy="Write 512.")
    host.replies["rehearse"] = Refusal(to=0, sentence="1 problem.", complaints=[complaint])
    click(qtbot, page.header.rehearse)
    qtbot.waitUntil(lambda: page.trial.verdict.text() == "Not tried")
    assert page.trial.sentence.text() == "1 problem."
    assert page.settings.editors["training.max_length"].problem == "Too long. Write 512."
    assert page.header.rehearse.isEnabled()


def test_with_something_missing_it_goes_there_instead(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    page.form.set_value("dataset.path", None)
    click(qtbot, page.header.rehearse)
    assert host.asked(Rehearse) == []
    assert page.data.path.control.hasFocus()


def test_a_lost_connection_ends_it(page: NewRunPage, host: HostDouble, qtbot: QtBot) -> None:
    tried(page, host, qtbot)
    host.drop()
    qtbot.waitUntil(lambda: page.trial.verdict.text() == "Stopped")
    assert "connection was lost" in page.trial.sentence.text()
    assert page.header.rehearse.isEnabled()


def test_what_is_of_another_rehearsal_is_not_ours(
    page: NewRunPage, host: HostDouble, qtbot: QtBot
) -> None:
    tried(page, host, qtbot)
    host.send(msgspec.structs.replace(FITS, run="another"))
    host.send(PhaseChanged(run=NAME, at=1, phase=Phase.SAVING))
    qtbot.waitUntil(lambda: page.trial.phase.text() == "Saving …")
    assert not page.trial.verdict.isVisible()


# ---------------------------------------------------------------- words


def test_every_pool_and_moment_has_a_name() -> None:
    from typing import get_args

    assert set(POOLS) == set(get_args(Pool))
    assert {"load", "train", "evaluate", "save", "resume"} == set(MOMENTS)


def test_lines_of_the_table() -> None:
    first, second, third = pool_lines(FITS)
    assert (first.planned, first.measured, first.limit) == (
        "8.50\u00a0GiB",
        "8.60\u00a0GiB",
        "10.20\u00a0GiB",
    )
    assert (first.tone, second.difference, third.tone) == ("", "", "warning")
    over: Any = msgspec.structs.replace(POOL_PEAKS[0], limit_bytes=gib(8))
    assert pool_lines(msgspec.structs.replace(FITS, pools=[over]))[0].tone == "danger"
    assert figures(FITS) == (
        "2.1\u00a0s per step · 1\u202f200 steps · about 43\u00a0m in all · "
        "250\u00a0MiB per checkpoint"
    )


def test_pools_are_foretold_from_the_plan() -> None:
    found = planned_pools(plan())
    assert found["disk"] == 250_000_000
    assert found["vram_reserved"] == plan().budgets[0].total_bytes - gib(0.86)
    assert found["vram_reserved"] - found["vram_allocated"] == gib(0.01)
    assert set(planned_pools(plan(card_bytes=None))) == {"disk", "tensors"}
