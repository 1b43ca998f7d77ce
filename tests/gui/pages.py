"""What tests of the pages share: a linked, themed page before a host that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.link import HostLink
from app.pages.new_run import NewRunPage
from app.preferences import Preferences
from app.theme import Theme
from app.transport import LocalTransport
from engine.contract.messages import CaughtUp, Record, RunChanged, RunSummary, decode_line
from engine.store.columns import SHEETS, sheet_of
from tests.gui.host_double import HostDouble


@pytest.fixture
def host(qapp: object, fettle_home: Path) -> Iterator[HostDouble]:
    double = HostDouble()
    double.listen()
    yield double
    double.stop()


@pytest.fixture
def link(host: HostDouble) -> Iterator[HostLink]:
    made = HostLink(transport=LocalTransport(launch=host.listen))
    yield made
    made.close()


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[Theme]:
    made = Theme(qapp, "dark")
    yield made
    # It is a child of the application, and would go on following the system and its own choice.
    shiboken6.delete(made)
    qapp.setStyleSheet("")
    qapp.styleHints().setColorScheme(Qt.ColorScheme.Unknown)


def new_run_page(
    theme: Theme, qtbot: QtBot, launch: Callable[[], object] | None = None
) -> Iterator[NewRunPage]:
    """The page, linked to the host that listens, or that it launches; for a fixture to yield
    from."""
    link = HostLink(transport=LocalTransport(launch=launch))
    made = NewRunPage(link, Preferences(), theme)
    qtbot.addWidget(made)
    made.resize(1164, 860)
    made.show()
    with qtbot.waitSignal(link.connected):
        link.open()
    yield made
    link.close()


def has_runs(host: HostDouble, *summaries: RunSummary) -> None:
    """The host lists these runs, and shows the first."""
    raw = [msgspec.to_builtins(summary) for summary in summaries]
    host.replies["list_runs"] = {"runs": raw}
    host.replies["show"] = {"summary": raw[0], "spec": {}, "checkpoints": [], "versions": {}}


def opened(link: HostLink, qtbot: QtBot) -> None:
    with qtbot.waitSignal(link.connected):
        link.open()


def tell(link: HostLink, summary: RunSummary, records: list[Record]) -> None:
    """Let the page see a run with its past, as the link gives it: events, then columns."""
    link.run_changed.emit(summary)
    for record in records:
        if sheet_of(record) is None:
            link.record_received.emit(record)
    for sheet in SHEETS:
        rows = b"".join(sheet.pack(record) for record in records if sheet_of(record) is sheet)
        if rows:
            link.columns_received.emit(decode_line(sheet.piece(summary.run, rows, 0).rstrip()))
    link.caught_up.emit(CaughtUp(run=summary.run, seq=len(records)))


def changed(host: HostDouble, summary: RunSummary) -> None:
    """The host tells of a run's new state."""
    host.send(RunChanged(summary=summary))
