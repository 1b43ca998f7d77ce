"""The Data page's templates: choosing one, writing one, and seeing at once what it does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pytestqt.qtbot import QtBot

from app.form import Draft
from app.link import HostLink
from app.pages.data import DataPage
from app.preferences import Preferences
from app.theme import Theme
from engine.contract.dataset_report import RowFinding
from engine.contract.messages import (
    Complaint,
    Inspect,
    Inspected,
    KeepTemplate,
    Refusal,
    TemplateTried,
    TryTemplate,
)
from engine.planning.chat_templates import text_of
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme
from tests.gui.test_data_page import NAME, REPORT, SAMPLE, asked, page, reported, texts

__all__ = ["host", "link", "page", "theme"]

OWN = "{{ messages[0].content }}"


def tried(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(TemplateTried(**{"text": OWN, **fields}))
    made.pop("type", None)
    return made


@pytest.fixture
def editing(page: DataPage, host: HostDouble, qtbot: QtBot) -> DataPage:
    preview = msgspec.structs.replace(SAMPLE, text="as edited", tokens=[], length=3)
    host.replies["try_template"] = tried(sample=msgspec.to_builtins(preview))
    host.replies["keep_template"] = {"path": "/home/me/templates/model-0123456789.jinja"}
    reported(page, host, qtbot)
    page.templates.bar.edit.click()
    qtbot.waitUntil(lambda: page.templates.card.text.toPlainText() == OWN)
    return page


def choose(combo: Any, value: str) -> None:
    place = combo.findData(value)
    combo.setCurrentIndex(place)
    combo.activated.emit(place)


def test_a_bundled_template_and_what_is_learnt_are_chosen(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    bar = page.templates.bar
    names = [bar.template.itemText(at) for at in range(bar.template.count())]
    assert names[0] == "The model's own"
    assert {"ChatML", "Llama 3", "Plain"} < set(names)
    assert names[-1] == "From a file…"
    choose(bar.template, "chatml")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"]["chat_template"] == "chatml"
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: not page.inspector.is_busy)
    choose(bar.loss, "last_answer")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 3)
    dataset = asked(host, Inspect)[2].spec["dataset"]
    assert (dataset["chat_template"], dataset["loss_on"]) == ("chatml", "last_answer")


def test_a_template_that_was_refused_is_not_kept(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    reported(page, host, qtbot)
    complaint = Complaint(field="dataset.chat_template", problem="Line 2: what?", remedy="Mend it.")
    host.replies["inspect"] = Refusal(to=0, sentence="No.", complaints=[complaint])
    choose(page.templates.bar.template, "gemma")
    qtbot.waitUntil(lambda: "Line 2: what? Mend it." in texts(page))
    assert page.templates.bar.template.currentData() == "auto"


def test_plain_text_has_no_template(page: DataPage) -> None:
    page.templates.show_draft(Draft(values={"method": "pretrain"}))
    assert not page.templates.bar.isVisible()


def test_what_is_written_is_seen_at_once(editing: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    card, view = editing.templates.card, editing.samples.view
    assert not editing.findings.isVisible()
    assert view.toPlainText() == ""  # The preview of this test has no tokens.
    assert "preview" in editing.samples.where.text()
    host.replies["try_template"] = tried(problem="Line 1: unexpected '}'", line=1)
    card.text.setPlainText("{{ broken }")
    assert not card.use.isEnabled()
    qtbot.waitUntil(lambda: "unexpected" in card.problem.text())
    request = asked(host, TryTemplate)[-1]
    assert (request.template, request.row, request.format) == (
        "{{ broken }", SAMPLE.raw, "sharegpt",
    )  # fmt: skip
    assert len(card.text.extraSelections()) == 1
    assert not card.use.isEnabled()
    odd = RowFinding(code="x", severity="warning", title="It does not end.", remedy="End it.")
    host.replies["try_template"] = tried(findings=[odd])
    card.text.setPlainText("{{ sound }}")
    qtbot.waitUntil(lambda: card.problem.text() == "It does not end. End it.")
    assert card.use.isEnabled()
    assert card.text.extraSelections() == []


def test_what_was_written_is_there_again_until_it_is_thrown_away(
    editing: DataPage, host: HostDouble, qtbot: QtBot, link: HostLink, theme: Theme
) -> None:
    card = editing.templates.card
    card.text.setPlainText("{{ mine }}")
    before = len(asked(host, TryTemplate))
    qtbot.waitUntil(lambda: len(asked(host, TryTemplate)) > before)
    card.close_button.click()
    assert editing.findings.isVisible()
    assert editing.samples.view.toPlainText() == "<s>Say hi. Well then"
    again = DataPage(link, Preferences(), theme)
    qtbot.addWidget(again)
    again.show()
    again.templates.edit()
    qtbot.waitUntil(lambda: again.templates.card.text.toPlainText() == "{{ mine }}")
    again.templates.card.start_over.click()
    assert again.templates.card.text.toPlainText() == OWN


def test_it_is_kept_by_the_engine_and_used(
    editing: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    card = editing.templates.card
    card.text.setPlainText("{{ mine }}")
    qtbot.waitUntil(card.use.isEnabled)
    card.use.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    (kept,) = asked(host, KeepTemplate)
    assert (kept.text, kept.name) == ("{{ mine }}", "model")
    path = "/home/me/templates/model-0123456789.jinja"
    assert asked(host, Inspect)[1].spec["dataset"]["chat_template"] == path
    assert not card.isVisible()
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: editing.templates.bar.template.currentData() == path)
    assert editing.templates.bar.template.currentText() == "model-0123456789.jinja"


def test_a_bundled_text_is_used_by_its_name(
    editing: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    card = editing.templates.card
    card.text.setPlainText(text_of("zephyr"))
    qtbot.waitUntil(card.use.isEnabled)
    card.use.click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, KeepTemplate) == []
    assert asked(host, Inspect)[1].spec["dataset"]["chat_template"] == "zephyr"


def test_without_an_engine_nothing_is_lost(
    editing: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    card = editing.templates.card
    host.replies["try_template"] = Refusal(to=0, sentence="The worker ended.")
    card.text.setPlainText("{{ mine }}")
    qtbot.waitUntil(lambda: card.problem.text() == "The worker ended.")
    assert card.text.toPlainText() == "{{ mine }}"
