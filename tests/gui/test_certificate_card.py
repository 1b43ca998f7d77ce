"""Whether a resumed run is the same, on its page: a line where it is, names where it is not."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.link import HostLink
from app.pages.run import RunPage
from app.preferences import Preferences
from app.run_words import entry_of
from app.theme import Theme
from app.widgets.certificate_card import CertificateCard
from app.widgets.growing_area import GrowingArea
from engine.contract.messages import CertificateLine, Record, ResumeCertificate
from tests.gui.host_double import HostDouble
from tests.gui.pages import has_runs, host, link, opened, tell, theme
from tests.gui.recorded import Recorder, summary

__all__ = ["host", "link", "theme"]

RUN = summary(attempt=2)
SAME = [
    CertificateLine(subject=name, title=title, standing="same", sentence=f"{title} is equal.")
    for name, title in (("files", "Save"), ("data", "Data"), ("replay", "Replayed loss"))
]
BATCH = CertificateLine(
    subject="batch", title="Effective batch", standing="differs", matters="last_digits",
    before="2 × 4 = 8", now="1 × 8 = 8", sentence="A step is still the same 8 rows.",
)  # fmt: skip
RATE = CertificateLine(
    subject="training.learning_rate", title="learning_rate", standing="differs", matters="yes",
    before="0.0002", now="0.0001", sentence="Steps are of another size.",
)  # fmt: skip
CALM = ResumeCertificate(
    at=1e9, step=20, attempt=2, verdict="same", title="Resumed, and it is the same run", lines=SAME
)
OTHER = ResumeCertificate(
    at=1e9, step=20, attempt=2, verdict="other", title="Resumed, with another result",
    lines=[*SAME, BATCH, RATE],
)  # fmt: skip


@pytest.fixture
def page(link: HostLink, theme: Theme, host: HostDouble, qtbot: QtBot) -> RunPage:
    has_runs(host, RUN)
    opened(link, qtbot)
    made = RunPage(link, theme, Preferences())
    qtbot.addWidget(made)
    made.resize(1280, 860)
    made.show()
    return made


def look(page: RunPage, *told: Record) -> None:
    recorder = Recorder(RUN.run, at=1e9, gpu=True)
    recorder.train(1, 20)
    newest = recorder.records[-1].seq
    records = [
        msgspec.structs.replace(record, run=RUN.run, seq=newest + place)
        for place, record in enumerate(told, start=1)
    ]
    page.show_run(RUN.run, RUN)
    tell(page._link, RUN, [*recorder.records, *records])


def titles(page: RunPage) -> list[str]:
    return [line.title.text() for line in page.body.certificate.lines._rows if line.isVisible()]


def test_the_same_run_is_one_line_that_opens(page: RunPage, qtbot: QtBot) -> None:
    look(page, CALM)
    card = page.body.certificate
    qtbot.waitUntil(card.isVisible)
    assert card.folder.head.text() == "Resumed, and it is the same run"
    assert titles(page) == []
    assert card.height() < 60
    QTest.mouseClick(card.folder.head, Qt.MouseButton.LeftButton)
    assert titles(page) == ["✓  Save", "✓  Data", "✓  Replayed loss"]


def test_differences_are_open_and_come_first(page: RunPage, qtbot: QtBot) -> None:
    look(page, OTHER)
    card = page.body.certificate
    qtbot.waitUntil(card.isVisible)
    assert titles(page)[:3] == ["!  learning_rate", "!  Effective batch", "✓  Save"]
    rate, batch = card.lines._rows[:2]
    assert batch.text.text() == (
        "2 × 4 = 8 → 1 × 8 = 8. May change the last digits. A step is still the same 8 rows."
    )
    assert rate.text.text().startswith("0.0002 → 0.0001. Changes the result.")
    assert (batch.title.property("tone"), rate.title.property("tone")) == ("info", "warning")
    assert card.property("card") == "warning"


def test_a_run_that_was_not_resumed_has_no_card(page: RunPage, qtbot: QtBot) -> None:
    look(page)
    QTest.qWait(50)
    assert not page.body.certificate.isVisible()


def test_the_card_of_an_earlier_attempt_goes(page: RunPage, qtbot: QtBot) -> None:
    look(page, msgspec.structs.replace(OTHER, attempt=1))
    QTest.qWait(50)
    assert not page.body.certificate.isVisible()


def test_the_activity_list_says_it_in_a_line() -> None:
    calm, other = entry_of(CALM), entry_of(OTHER)
    assert calm is not None
    assert other is not None
    assert (calm.tone, calm.title) == ("good", "Resumed, and it is the same run")
    assert calm.text == "3 checks before the first new step found no difference."
    assert other.tone == "warning"
    assert other.text == (
        "Effective batch 2 × 4 = 8 → 1 × 8 = 8, learning_rate 0.0002 → 0.0001. "
        "3 other checks found no difference."
    )


def test_its_lines_are_scrolled_to_and_nothing_below_them(theme: Theme, qtbot: QtBot) -> None:
    card = CertificateCard(theme.tokens)
    qtbot.addWidget(card)
    card.setFixedWidth(300)
    card.show()
    long = "Every generator stands where it stood, so dropout draws what it would have drawn."
    lines = [
        CertificateLine(subject=f"s{n}", title=f"Line {n}", standing="same", sentence=long)
        for n in range(12)
    ]
    card.show_certificate(msgspec.structs.replace(CALM, lines=lines))
    card.folder.head.setChecked(True)
    (area,) = card.findChildren(GrowingArea)
    qtbot.waitUntil(lambda: area.verticalScrollBar().maximum() > 0)
    body = area.widget()
    assert body.height() == body.heightForWidth(body.width())
