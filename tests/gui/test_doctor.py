"""The Doctor page before a host that answers, refuses, or is not there."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import doctor_words as words
from app.link import HostLink
from app.pages.doctor import DoctorPage
from app.pages.doctor_group import CheckRow
from app.theme import Theme
from engine.contract.messages import Facts, Refusal
from engine.planning.checkup import Check
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme

__all__ = ["host", "link", "theme"]

CARD = Check(id="card-0", group="Card", name="RTX 2080 Ti", state="ok", value="11.0 GiB", why="It.")
STORE = Check(
    id="store", group="Disk", name="Runs", state="warning", value="/home/ada/runs (9p)",
    why="Saving is slow there.", remedy="Move the home into the Linux file system.",
)  # fmt: skip
TORCH = Check(
    id="torch", group="Software", name="torch", state="problem", value="not installed",
    why="Nothing trains without it.", remedy="Run fettle install.",
)  # fmt: skip


def has(host: HostDouble, *checks: Check) -> None:
    raw: list[Any] = [msgspec.to_builtins(check) for check in checks]
    host.replies["facts"] = {"facts": {"checks": raw}}


@pytest.fixture
def page(host: HostDouble, link: HostLink, theme: Theme, qtbot: QtBot) -> DoctorPage:
    has(host, CARD, STORE, TORCH)
    made = DoctorPage(link, theme)
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    return made


def looked(page: DoctorPage, link: HostLink, qtbot: QtBot) -> list[CheckRow]:
    link.open()
    qtbot.waitUntil(lambda: page.again.isEnabled() and bool(page.checks))
    return [row for group in page.groups for row in group.rows]


def test_it_says_that_it_looks(page: DoctorPage) -> None:
    assert page.headline.text() == "Looking at the machine …"
    assert page.busy.isVisible()
    assert not page.copy_button.isEnabled()


def test_what_is_to_mend_is_counted_and_open(
    page: DoctorPage, link: HostLink, qtbot: QtBot
) -> None:
    rows = looked(page, link, qtbot)
    assert page.headline.text() == "1 problem and 1 warning: see what to do below"
    assert [group.heading.text() for group in page.groups] == ["Card", "Disk", "Software"]
    assert [group.aside.text() for group in page.groups] == ["all well", "1 warning", "1 problem"]
    assert [row.details.isVisible() for row in rows] == [False, True, True]
    assert rows[1].remedy.text() == f"What to do: {STORE.remedy}"


def test_the_keyboard_opens_what_is_well_too(
    page: DoctorPage, link: HostLink, qtbot: QtBot
) -> None:
    row = looked(page, link, qtbot)[0]
    row.name.setFocus()
    qtbot.keyClick(row.name, Qt.Key.Key_Space)
    assert row.details.isVisible()
    assert "RTX 2080 Ti: well, 11.0 GiB" in row.name.accessibleName()
    qtbot.keyClick(row.name, Qt.Key.Key_Space)
    assert not row.details.isVisible()


def test_all_well_is_said(page: DoctorPage, host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    has(host, CARD)
    looked(page, link, qtbot)
    assert page.headline.text() == "Ready to train"


def test_the_report_holds_no_name_of_a_user(page: DoctorPage, link: HostLink, qtbot: QtBot) -> None:
    looked(page, link, qtbot)
    with qtbot.waitSignal(page.said):
        qtbot.mouseClick(page.copy_button, Qt.MouseButton.LeftButton)
    text = QApplication.clipboard().text()
    assert "torch: not installed" in text
    assert not re.search(r"\bada\b", text)


def test_it_looks_again(page: DoctorPage, host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    looked(page, link, qtbot)
    asked = len(host.asked(Facts))
    has(host, CARD, TORCH)
    qtbot.mouseClick(page.again, Qt.MouseButton.LeftButton)
    assert not page.again.isEnabled()
    qtbot.waitUntil(lambda: page.headline.text() == "1 problem: see what to do below")
    assert len(host.asked(Facts)) == asked + 1
    assert len(page.groups) == 2


@pytest.mark.parametrize(
    ("answer", "headline"),
    [
        (Refusal(to=0, sentence="The store is gone."), "The machine could not be looked at"),
        ({"facts": {}}, "Nothing was checked"),
        ({"facts": {"checks": [{"id": 1}]}}, "The engine's answer cannot be read"),
    ],
)
def test_trouble_is_told(
    page: DoctorPage,
    host: HostDouble,
    link: HostLink,
    qtbot: QtBot,
    answer: Any,
    headline: str,
) -> None:
    host.replies["facts"] = answer
    link.open()
    qtbot.waitUntil(lambda: page.headline.text() == headline)
    assert page.explanation.text()
    assert page.again.isEnabled()
    assert not page.copy_button.isEnabled()


def test_an_outage_is_told_and_passes(
    page: DoctorPage, link: HostLink, host: HostDouble, qtbot: QtBot
) -> None:
    looked(page, link, qtbot)
    link.disconnected.emit("The engine ended.")
    assert page.headline.text() == "The engine cannot be reached"
    assert page.explanation.text() == "The engine ended."
    host.drop()
    qtbot.waitUntil(lambda: page.headline.text() == "1 problem and 1 warning: see what to do below")


def test_it_follows_the_theme(page: DoctorPage, link: HostLink, theme: Theme, qtbot: QtBot) -> None:
    looked(page, link, qtbot)
    before = page.icon.pixmap().toImage()
    theme.choose("light")
    assert page.icon.pixmap().toImage() != before


def test_every_state_has_an_icon_a_colour_and_a_word() -> None:
    from typing import get_args

    from app.theme import load_tokens
    from app.theme_icons import pixmap
    from engine.planning.checkup import State

    for state in get_args(State):
        color = getattr(load_tokens("light"), words.TONES[state])
        assert not pixmap(words.ICONS[state], color).isNull()
        assert words.WORDS[state]
