"""The Data page with several files: which they are, taking one out, and starting over."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app.form import Draft
from app.mixture import without
from app.pages.data import DataPage
from app.pages.data.first_look import MOST
from engine.contract.messages import Complaint, Inspect, Inspected, PreviewDataset, Refusal, Reply
from engine.formats import preview
from tests.gui.host_double import HostDouble
from tests.gui.pages import host, link, theme
from tests.gui.test_data_drops import FACTS
from tests.gui.test_data_page import NAME, REPORT, asked, page, texts
from tests.gui.test_data_rows import dropped, written

__all__ = ["host", "link", "page", "theme"]


def three(page: DataPage, host: HostDouble, qtbot: QtBot, folder: Path) -> list[Path]:
    """The last of three has columns that nobody knows."""
    usual = {"instruction": "Say hi.", "output": "Hi."}
    paths = [written(folder, usual, name=f"{name}.jsonl") for name in "ab"]
    paths.append(written(folder, {"x": 1, "y": 2}, name="c.jsonl"))
    host.mute.add("preview_dataset")
    dropped(page, *paths)
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 3)
    for request in asked(host, PreviewDataset):
        host.send(Reply(to=request.id, data=preview(request.path)))
    qtbot.waitUntil(lambda: "No known format" in texts(page.parts))
    host.mute.clear()
    host.replies["preview_dataset"] = preview(paths[0])
    return paths


def ways(page: DataPage) -> dict[str, QPushButton]:
    return {way.text(): way for way in page.state.ways}


def test_several_files_are_listed_and_one_is_taken_out(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    assert not page.parts.isVisible()
    paths = three(page, host, qtbot, tmp_path)
    shown = texts(page.parts)
    for part in ("3 datasets", "a.jsonl", "b.jsonl", "c.jsonl", "Alpaca, 100", "1 row"):
        assert part in shown, part
    page.parts.removers[2].click()
    left = [{"path": str(path)} for path in paths[:2]]
    assert page.subject.wanted.get("dataset.sources") == left
    qtbot.waitUntil(lambda: page.state.headline.text() == "Choose a model to see every token")
    # With one left it is a file like any other.
    page.parts.removers[0].click()
    assert page.subject.wanted.get("dataset.path") == str(paths[1])
    assert not page.subject.wanted.get("dataset.sources")
    assert page.source.path.text() == str(paths[1])
    assert page.source.format.isEnabled()
    assert not page.parts.isVisible()
    qtbot.waitUntil(page.chip.isVisible)
    dropped(page, paths[0])
    assert page.subject.wanted.get("dataset.path") == str(paths[0]), "one takes the place of one"


def test_what_is_unknown_among_several_is_named_and_taken_out(
    page: DataPage, host: HostDouble, qtbot: QtBot, tmp_path: Path
) -> None:
    three(page, host, qtbot, tmp_path)
    assert page.state.headline.text() == "Not all of these can be learnt from"
    assert "c.jsonl: " in texts(page.state)
    assert list(ways(page)) == ["Take c.jsonl out"]
    assert page.use.property("kind") != "primary"
    ways(page)["Take c.jsonl out"].click()
    qtbot.waitUntil(lambda: page.state.headline.text() == "Choose a model to see every token")
    assert "c.jsonl" not in texts(page.parts)
    assert page.use.property("kind") == "primary"


def test_one_that_cannot_be_read_is_named_and_taken_out(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.mute.add("preview_dataset")
    dropped(page, "/data/a.jsonl", "/data/gone.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, PreviewDataset)) == 2)
    first, second = asked(host, PreviewDataset)
    host.send(Reply(to=first.id, data=FACTS), Refusal(to=second.id, sentence="It is not there."))
    qtbot.waitUntil(lambda: "gone.jsonl: It is not there." in texts(page.state))
    # Widgets that were just made are shown by the event loop.
    qtbot.waitUntil(lambda: "cannot be read" in texts(page.parts))
    assert list(ways(page)) == ["Take gone.jsonl out"]


def test_a_complaint_of_the_worker_about_one_names_it_and_offers_to_take_it_out(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.replies["preview_dataset"] = FACTS
    page.source.model.setText("some/model")
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    field = "dataset.sources[2].path"
    told = Complaint(field=field, problem="Line 3 is broken.", remedy="Mend it.")
    host.send(Inspected(run=NAME, complaint=told))
    qtbot.waitUntil(lambda: "b.jsonl: Line 3 is broken. Mend it." in texts(page.state))
    ways(page)["Take b.jsonl out"].click()
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"] == {"path": "/data/a.jsonl"}


def test_the_page_is_started_over_from_several(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.replies["preview_dataset"] = FACTS
    page.source.model.setText("some/model")
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    qtbot.waitUntil(lambda: bool(page.inspector._name))
    host.send(Inspected(run=NAME, report=REPORT))
    qtbot.waitUntil(lambda: page.report is not None)
    assert page.parts.isVisible(), "beside a report too"
    page.parts.clear.click()
    assert page.state.headline.text() == "See what the model will see"
    assert not page.parts.isVisible()
    assert page.source.path.placeholderText().startswith("Drop a file here")
    assert page.source.model.text() == "some/model"
    dropped(page, "/data/c.jsonl")
    qtbot.waitUntil(lambda: len(asked(host, Inspect)) == 2)
    assert asked(host, Inspect)[1].spec["dataset"] == {"path": "/data/c.jsonl"}


def test_a_path_that_is_written_takes_the_place_of_several(
    page: DataPage, host: HostDouble, qtbot: QtBot
) -> None:
    host.replies["preview_dataset"] = FACTS
    dropped(page, "/data/a.jsonl", "/data/b.jsonl")
    qtbot.waitUntil(page.parts.isVisible)
    assert page.source.path.placeholderText().endswith("drop more, or write a path")
    page.source.path.setText("/data/c.jsonl")
    page.source.look.click()
    assert not page.subject.wanted.get("dataset.sources")
    assert not page.parts.isVisible()


def test_of_many_files_the_first_are_listed(page: DataPage, host: HostDouble, qtbot: QtBot) -> None:
    host.replies["preview_dataset"] = FACTS
    dropped(page, *(f"/data/{number}.jsonl" for number in range(50)))
    qtbot.waitUntil(page.parts.isVisible)
    assert len(page.parts.removers) == MOST
    qtbot.waitUntil(lambda: "and 30 more datasets" in texts(page.parts))
    assert page.parts.height() < 200


def test_the_last_one_needs_no_weight() -> None:
    both = [{"path": "a", "weight": 2.0, "max_samples": 5}, {"path": "b"}]
    patch = without(Draft(values={"dataset.sources": both}), 1)
    assert patch["dataset.sources"] is None
    assert (patch["dataset.path"], patch["dataset.max_samples"]) == ("a", 5)
