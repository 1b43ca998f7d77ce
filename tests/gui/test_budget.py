"""The live plan of New run: evaluated in the window by the real planner, traces from the host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QPushButton, QStyleOptionViewItem, QWidget
from pytestqt.qtbot import QtBot

from app.pages.new_run import NewRunPage
from app.pages.new_run.catalogue import bundled
from app.pages.new_run.forecaster import Forecast, checked
from app.pages.new_run.model_list import Index, ModelDelegate, facts_at, level_for
from app.pages.new_run.profile_menu import ProfileMenu, grouped, profile_words
from app.pages.new_run.todo_items import heading, patch_words, todos
from app.pages.new_run.traces import Traced, key_of
from app.plan_words import (
    brief,
    change,
    forecast,
    forecast_why,
    gib,
    headline,
    lines,
    price,
    remarks,
    story,
)  # fmt: skip
from app.theme import Theme, load_tokens
from app.widgets.budget_bar import BudgetBar, part_color
from app.widgets.line_button import LineButton
from engine.contract.lifecycle import State
from engine.contract.messages import (
    Complaint,
    Message,
    Refusal,
    Rehearsed,
    Reply,
    Request,
    Trace,
)
from engine.contract.wire import frame
from engine.planning import catalogue, learnt
from engine.planning.conflicts import Conflict
from engine.planning.form import PARTS
from engine.planning.hardware import profiles
from engine.planning.learnt import TimeLesson
from engine.planning.plan import Rung
from tests.gui.host_double import HostDouble
from tests.gui.pages import new_run_page, theme
from tests.gui.plans import LADDER, plan
from tests.gui.recorded import summary
from tests.unit.plan_forms import form_of, spec_of

__all__ = ["theme"]

MODEL = "meta-llama/Llama-3.1-8B"
CARD = {
    "index": 0, "name": "NVIDIA GeForce RTX 2080 Ti", "vram_total_bytes": 11 << 30,
    "vram_free_bytes": 10 << 30, "compute_capability": [7, 5], "driver": "570.86",
}  # fmt: skip
FACTS: dict[str, Any] = {
    "python": "3.12.3", "engine": "0.1.0", "platform": "linux", "system": "Ubuntu 24.04",
    "machine": "x86_64", "is_wsl": True, "ram_total_bytes": 32 << 30, "store": "/home/me/runs",
    "gpus": [CARD], "has_hub_token": True,
}  # fmt: skip
CONFIG = catalogue.config_of(MODEL)
LENGTH = "training.max_length"


class TracingHost(HostDouble):
    """Traces by the formulas of the hand-made forms."""

    def __init__(self) -> None:
        super().__init__()
        self.replies["facts"] = {"facts": FACTS}
        self.trouble: Refusal | None = None
        self.is_silent = False
        self._held: list[tuple[Any, Trace]] = []
        self.window: int | None = None
        """Rows within it are traced for themselves, and only longer ones are in trouble."""

    def _on_request(self, socket: Any, request: Message) -> None:
        assert isinstance(request, Request)
        if not isinstance(request, Trace):
            super()._on_request(socket, request)
            return
        self.requests.append(request)
        if self.is_silent:
            self._held.append((socket, request))
            return
        self._answer(socket, request)

    def speak(self) -> None:
        """Answer what was asked in silence."""
        self.is_silent = False
        for held in self._held:
            self._answer(*held)
        self._held.clear()

    def _answer(self, socket: Any, request: Trace) -> None:
        spec = plannable_spec(request.spec)
        is_short = self.window is not None and spec.training.max_length < self.window
        if self.trouble is not None and not is_short:
            refusal = self.trouble
            socket.write(frame(msgspec.structs.replace(refusal, to=request.id)))
            return
        form = form_of(spec)
        if self.window and is_short:
            form = msgspec.structs.replace(form, longest=self.window - 1)
        data = {"form": msgspec.to_builtins(form), "config": CONFIG, "source": "catalogue"}
        socket.write(frame(Reply(to=request.id, data=data)))


def plannable_spec(raw: dict[str, Any]) -> Any:
    from app.form import Draft

    spec, _ = checked(Draft.from_raw(raw))
    assert spec is not None
    return spec


@pytest.fixture
def host(qapp: object, fettle_home: Path) -> Iterator[TracingHost]:
    double = TracingHost()
    double.listen()
    yield double
    double.stop()


@pytest.fixture
def page(host: TracingHost, theme: Theme, qtbot: QtBot) -> Iterator[NewRunPage]:
    yield from new_run_page(theme, qtbot)


def stage(page: NewRunPage) -> str:
    return page.adviser.forecaster.forecast.stage


def planned(page: NewRunPage, qtbot: QtBot, **training: Any) -> Any:
    for name, value in training.items():
        page.form.set_value(f"training.{name}", value)
    if page.form.draft.get("model.path") != MODEL:
        page.form.set_value("model.path", MODEL)
    qtbot.wait(30)
    qtbot.waitUntil(lambda: stage(page) == "planned")
    found = page.adviser.forecaster.forecast.plan
    assert found is not None
    return found


def settled(page: NewRunPage, qtbot: QtBot) -> None:
    """All forms that the ladder wants are there."""
    forecaster = page.adviser.forecaster
    qtbot.waitUntil(lambda: stage(page) == "planned" and not forecaster._missing)


def click(qtbot: QtBot, target: QWidget) -> None:
    qtbot.mouseClick(target, Qt.MouseButton.LeftButton)


# ---------------------------------------------------------------- states


def test_without_a_model_it_asks_for_one(page: NewRunPage, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: stage(page) == "empty")
    assert page.budget.hint.isVisible()
    assert not page.budget.budget.isVisible()


def test_a_model_alone_is_planned(page: NewRunPage, qtbot: QtBot) -> None:
    found = planned(page, qtbot)
    assert page.budget.headline == "1 thing to do" or page.budget.budget.isVisible()
    assert page.budget.budget.headline.text() == headline(found)
    assert page.budget.budget.verdict.text() == found.sentence
    assert "adapter file" in page.budget.budget.story.text()
    assert page.budget.time.text().startswith("Estimated ")
    assert page.budget.heading.text() == "VRAM budget"


def test_it_says_that_it_traces(page: NewRunPage, host: TracingHost, qtbot: QtBot) -> None:
    host.is_silent = True
    page.form.set_value("model.path", MODEL)
    qtbot.waitUntil(lambda: stage(page) == "tracing")
    assert page.budget.busy.isVisible()
    assert page.budget.hint.text().startswith("Tracing the model, about 2 s")


def test_a_trace_that_fails_gives_its_reason_and_can_be_tried_again(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    host.trouble = Refusal(to=0, sentence="There is no class for bert. Choose another model.")
    page.form.set_value("model.path", MODEL)
    qtbot.waitUntil(lambda: stage(page) == "failed")
    assert "There is no class for bert." in page.budget.hint.text()
    host.trouble = None
    click(qtbot, page.budget.retry)
    qtbot.waitUntil(lambda: stage(page) == "planned")
    assert not page.budget.hint.isVisible()


@pytest.mark.parametrize("by", ["run", "rehearsal"])
def test_a_busy_engine_is_told_calmly_and_asked_anew_when_it_is_free(
    page: NewRunPage, host: TracingHost, qtbot: QtBot, by: str
) -> None:
    host.trouble = Refusal(to=0, sentence="A run trains or waits.", code="busy")
    page.form.set_value("model.path", MODEL)
    qtbot.waitUntil(lambda: stage(page) == "busy")
    assert page.budget.hint.text() == "A run trains or waits."
    assert page.budget.hint.property("tone") != "danger"
    assert not page.budget.retry.isVisible()
    link = page.adviser.forecaster._link
    link.run_changed.emit(summary(state=State.TRAINING))
    qtbot.wait(50)
    assert stage(page) == "busy"
    host.trouble = None
    if by == "run":
        link.run_changed.emit(summary(state=State.FINISHED))
    else:
        link.rehearsal_received.emit(Rehearsed(run="r", verdict="fits", sentence="It fits."))
    qtbot.waitUntil(lambda: stage(page) == "planned")


def test_what_a_finished_run_taught_reaches_the_plan(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    planned(page, qtbot)
    forecaster = page.adviser.forecaster
    assert forecaster.machine
    name = forecaster.machine.profile.name
    lessons = {learnt.key(name, "570.86", None): {"offset_bytes": 300 << 20, "runs": 2}}
    host.replies["facts"] = {"facts": {**FACTS, "lessons": lessons}}
    forecaster._link.run_changed.emit(summary(state=State.FINISHED))
    qtbot.waitUntil(lambda: forecaster.machine.learnt_offset_bytes == 300 << 20)


def test_without_an_engine_the_old_plan_stays_pale(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    planned(page, qtbot)
    settled(page, qtbot)
    host.is_silent = True
    page.form.set_value("training.optim", "sgd")
    qtbot.waitUntil(lambda: stage(page) == "tracing")
    host.stop()
    qtbot.waitUntil(lambda: stage(page) == "no_engine")
    assert page.budget.hint.text().startswith("No plan without the engine.")
    assert page.budget.budget.isVisible()
    assert not page.budget.ladder.isEnabled()


def test_something_wrong_leaves_the_plan_in_view(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    page.form.set_value(LENGTH, "long")
    qtbot.waitUntil(lambda: stage(page) == "waiting")
    assert page.budget.budget.isVisible()
    assert any(todo.field == LENGTH for todo in page.budget.todo._shown)


# ---------------------------------------------------------------- live


def test_sizes_need_no_new_trace(page: NewRunPage, host: TracingHost, qtbot: QtBot) -> None:
    before = planned(page, qtbot)
    settled(page, qtbot)
    asked = len(host.asked(Trace))
    after = planned(page, qtbot, max_length=2048)
    assert after.budgets[0].total_bytes > before.budgets[0].total_bytes
    settled(page, qtbot)
    assert len(host.asked(Trace)) == asked


def test_rows_longer_than_a_window_are_traced_once(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    host.window = 1500
    planned(page, qtbot, max_length=1024)
    settled(page, qtbot)
    asked = len(host.asked(Trace))
    long = planned(page, qtbot, max_length=2048)
    settled(page, qtbot)
    assert len(host.asked(Trace)) > asked
    asked = len(host.asked(Trace))
    short = planned(page, qtbot, max_length=1024)
    assert long.budgets[0].total_bytes > short.budgets[0].total_bytes
    planned(page, qtbot, max_length=2048)
    settled(page, qtbot)
    assert len(host.asked(Trace)) == asked


def test_rows_that_grow_while_shorter_ones_are_traced_are_traced_next(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    host.window, host.is_silent = 1500, True
    page.form.set_value("training.max_length", 1024)
    page.form.set_value("model.path", MODEL)
    qtbot.waitUntil(lambda: len(host.asked(Trace)) == 1)
    page.form.set_value("training.max_length", 2048)
    qtbot.wait(600)
    assert len(host.asked(Trace)) == 1
    host.speak()
    qtbot.waitUntil(lambda: stage(page) == "planned")
    assert host.asked(Trace)[-1].spec["training"]["max_length"] >= 2048


def test_a_refusal_of_longer_rows_leaves_the_plan_of_shorter_ones(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    host.window, host.trouble = 1500, Refusal(to=0, sentence="Not now.", code="busy")
    planned(page, qtbot, max_length=1024)
    settled(page, qtbot)
    assert stage(page) == "planned", "only the change to longer rows is missing"
    page.form.set_value("training.max_length", 2048)
    qtbot.waitUntil(lambda: stage(page) == "busy")
    planned(page, qtbot, max_length=1024)
    host.trouble = None
    page.adviser.forecaster.traces.forget_busy()
    planned(page, qtbot, max_length=2048)


def test_another_way_of_training_is_traced_once(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    planned(page, qtbot)
    settled(page, qtbot)
    first = host.asked(Trace)[0]
    assert (first.device, first.precision) == ("cuda", "fp16")
    keys = [msgspec.json.encode([r.spec, r.device, r.precision]) for r in host.asked(Trace)]
    assert len(set(keys)) == len(keys)
    page.form.set_value("training.optim", "adamw_8bit")
    planned(page, qtbot)
    settled(page, qtbot)
    page.form.undo()
    count = len(host.asked(Trace))
    planned(page, qtbot)
    settled(page, qtbot)
    assert len(host.asked(Trace)) == count


def test_typing_asks_once(page: NewRunPage, host: TracingHost, qtbot: QtBot) -> None:
    page.model.line.setFocus()
    qtbot.keyClicks(page.model.line, MODEL)
    qtbot.waitUntil(lambda: stage(page) == "planned")
    assert {r.spec["model"]["path"] for r in host.asked(Trace)} == {MODEL}


def test_a_change_of_size_is_evaluated_within_a_frame_or_two(
    page: NewRunPage, qtbot: QtBot
) -> None:
    planned(page, qtbot)
    settled(page, qtbot)
    forecaster = page.adviser.forecaster
    times = []
    for length in range(512, 1024, 64):
        page.form.set_value(LENGTH, length)
        begun = time.thread_time()
        forecaster._on_soon()
        times.append(time.thread_time() - begun)
    assert min(times) < 0.05


# ---------------------------------------------------------------- trading


def test_a_rung_is_made_and_taken_back_in_one_click(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    settled(page, qtbot)
    rung_line = page.budget.ladder.keeping.take(1)[0]
    before, title = page.form.draft, rung_line.line.text()
    click(qtbot, rung_line.line)
    assert page.form.draft != before
    assert page.budget.ladder.undo.isVisible()
    assert title in page.budget.ladder.undo.accessibleName()
    click(qtbot, page.budget.ladder.undo)
    assert page.form.draft == before
    assert not page.budget.ladder.undo.isVisible()


def test_make_it_fit_makes_it_fit(page: NewRunPage, qtbot: QtBot) -> None:
    found = planned(page, qtbot, max_length=8192, per_device_train_batch_size=4)
    assert found.verdict == "does_not_fit"
    settled(page, qtbot)
    effective = 4 * page.form.draft.get("training.gradient_accumulation_steps")
    assert page.budget.budget.fit.isVisible()
    click(qtbot, page.budget.budget.fit)
    qtbot.waitUntil(lambda: not page.budget.budget.fit.isVisible())
    after = page.adviser.forecaster.forecast.plan
    assert after is not None
    assert after.verdict in ("fits", "tight")
    draft = page.form.draft
    batch = draft.get("training.per_device_train_batch_size")
    assert batch * draft.get("training.gradient_accumulation_steps") == effective
    assert draft.get(LENGTH) == 8192


def test_a_line_opens_its_formula(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    line = page.budget.budget.legend.take(3)[0]
    assert not line.how.isVisible()
    line.line.setFocus()
    qtbot.keyClick(line.line, Qt.Key.Key_Space)
    assert line.how.isVisible()
    assert line.how.text()


def test_choices_are_folded_with_their_reasons(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    assert not page.budget.choices.body.isVisible()
    page.budget.choices.open()
    names = [line.text() for line in page.budget.choices.body.findChildren(LineButton)]
    assert {"Precision", "Attention", "The model's own code"} <= set(names)
    assert page.budget.safe.isVisible()


def test_embeddings_are_trained_at_their_price(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    page.budget.embeddings.open()
    lines = page.budget.embeddings.body.findChildren(LineButton)
    assert lines[0].figure.startswith("as now · no more memory · file ")
    both = next(line for line in lines if line.text() == "Train embed_tokens and lm_head")
    click(qtbot, both)
    assert page.form.draft.get("lora.modules_to_save") == ["embed_tokens", "lm_head"]
    qtbot.waitUntil(lambda: both.figure.startswith("as now · +"))
    page.form.undo()
    assert page.form.draft.get("lora.modules_to_save") == []


# ---------------------------------------------------------------- the machine


def test_another_card_can_be_planned_for(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    menu = page.settings.machine
    assert menu.text() == "for this card: RTX 2080 Ti, WSL"
    menu.profile_chosen.emit("rtx-3090")
    menu.platform_chosen.emit("linux")
    qtbot.waitUntil(lambda: "RTX 3090" in page.settings.machine.text())
    assert menu.text() == "for another machine: RTX 3090"
    found = planned(page, qtbot)
    assert found.card_bytes == 24 << 30
    assert page.form.spec is None or page.form.spec.hardware.profile == "rtx-3090"
    assert page.form.draft.raw()["hardware"] == {"profile": "rtx-3090"}
    menu.profile_chosen.emit("auto")
    qtbot.waitUntil(lambda: "this card" in menu.text())
    assert "hardware" not in page.form.draft.raw()


def test_a_profile_that_does_not_exist_is_told_and_mended(page: NewRunPage, qtbot: QtBot) -> None:
    page.form.set_value("model.path", MODEL)
    page.form.set_value("hardware.profile", "rtx-3070-ti")
    qtbot.waitUntil(lambda: stage(page) == "failed")
    (todo,) = [todo for todo in page.budget.todo._shown if todo.field == "hardware.profile"]
    assert "rtx-3070-ti" in todo.title
    page.budget.todo.patch_wanted.emit(todo.patch, todo.verb)
    qtbot.waitUntil(lambda: stage(page) == "planned")
    page.go_to("hardware.profile")
    assert page.settings.machine.hasFocus()


def test_the_menu_has_every_profile_and_platform(qapp: object, qtbot: QtBot) -> None:
    menu = ProfileMenu()
    qtbot.addWidget(menu)
    menu.show_choice("t4", "wsl", None)
    menu._fill()
    offered = {a.data(): a.isChecked() for a in _actions(menu)}
    assert {p.id for p in profiles()} | {"auto", "linux", "windows", "wsl"} <= set(offered)
    assert [name for name, is_on in offered.items() if is_on] == ["t4", "wsl"]
    with qtbot.waitSignal(menu.profile_chosen) as caught:
        next(a for a in _actions(menu) if a.data() == "a10").trigger()
    assert caught.args == ["a10"]


def _actions(menu: ProfileMenu) -> list[Any]:
    found = []
    for action in menu.menu_.actions():
        inner = action.menu()
        found += inner.actions() if inner else [action]
    return [action for action in found if action.data() is not None]


def test_profiles_are_grouped_by_memory() -> None:
    groups = dict(grouped(profiles()))
    assert sum(map(len, groups.values())) == len(profiles())
    words = [profile_words(profile) for profile in groups["Cards up to 12 GiB"]]
    assert any(text.startswith("RTX 2060 · ") for text in words)


# ---------------------------------------------------------------- conflicts


def test_a_conflict_is_mended_in_one_click(page: NewRunPage, qtbot: QtBot) -> None:
    planned(page, qtbot)
    page.form.set_value("model.attn_implementation", "flash_attention_2")
    qtbot.waitUntil(lambda: any(todo.patch for todo in page.budget.todo._shown))
    (remedy,) = [
        b
        for b in page.budget.todo.findChildren(QPushButton)
        if b.isVisible() and b.property("kind") == "small"
    ]
    click(qtbot, remedy)
    assert page.form.draft.get("model.attn_implementation") != "flash_attention_2"
    qtbot.waitUntil(lambda: not any(todo.patch for todo in page.budget.todo._shown))


def test_terms_to_accept_are_told_before_the_start(
    page: NewRunPage, host: TracingHost, qtbot: QtBot
) -> None:
    """The model is one that the hub gives to some only, and there is no token."""
    assert page.model.is_cached is None
    qtbot.waitUntil(lambda: page.adviser.forecaster.facts is not None)
    page.adviser._on_facts({"facts": FACTS | {"has_hub_token": False}})
    planned(page, qtbot)
    qtbot.waitUntil(lambda: page.model.is_cached is False)
    qtbot.waitUntil(lambda: bool(page.adviser.forecaster.forecast.conflicts))
    found = page.adviser.forecaster.forecast.conflicts
    assert [each.id for each in found] == ["gated_without_token"]
    here = [{"path": MODEL, "name": MODEL, "source": "cache", "bytes": 1, "family": "llama"}]
    page.model._on_inventory({"models": here})
    qtbot.waitUntil(lambda: not page.adviser.forecaster.forecast.conflicts)


def test_in_a_narrow_window_the_verdict_stands_above_the_form(
    page: NewRunPage, qtbot: QtBot
) -> None:
    page.resize(764, 540)
    found = planned(page, qtbot)
    qtbot.waitUntil(page.desk.brief.isVisible)
    assert brief(found) in page.desk.brief.text()
    qtbot.mouseClick(page.desk.brief, Qt.MouseButton.LeftButton)
    assert page.desk.area.verticalScrollBar().value() > 0
    page.resize(1400, 860)
    qtbot.waitUntil(lambda: not page.desk.brief.isVisible())


def test_every_row_of_the_list_tells_the_same_of_its_model(qapp: object) -> None:
    metrics = QFontMetrics(QFont("Inter"))
    options = bundled()
    for width in (1200, 620, 480, 320):
        level = level_for(options, width, metrics)
        counts = {facts_at(level, each).count(" · ") for each in options}
        assert counts == {2 - level}, width
    assert level_for(options, 1200, metrics) == 0
    assert level_for(options, 320, metrics) == 2


def test_the_list_asks_one_row_for_its_height(page: NewRunPage) -> None:
    asked: list[int] = []

    class Counting(ModelDelegate):
        def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
            asked.append(index.row())
            return super().sizeHint(option, index)

    combo = page.model.combo
    combo.setItemDelegate(Counting(combo))
    combo.showPopup()
    heights = {combo.view().visualRect(combo.model().index(row, 0)).height() for row in range(9)}
    combo.hidePopup()
    assert heights == {28}
    assert 0 < len(asked) < 5 < combo.count()


def test_a_remedy_without_a_button_is_a_sentence() -> None:
    smaller = Conflict(
        id="w", severity="warning", field=LENGTH, title="Slow.", reason="Why.",
        remedy="Choose a smaller model, or a machine with a GPU",
    )  # fmt: skip
    login = msgspec.structs.replace(smaller, field="model.path", remedy="Then run: hf auth login")
    texts = [todo.text for todo in todos([], [smaller, login])]
    assert texts == [
        "Why. Choose a smaller model, or a machine with a GPU.", "Why. Then run: hf auth login"
    ]  # fmt: skip


def test_the_heading_of_the_ladder_says_what_it_is_for(page: NewRunPage) -> None:
    view = page.budget.ladder
    view.show_plan(plan())
    assert view._title.text() == "What you could trade"
    view.show_plan(msgspec.structs.replace(plan(), verdict="does_not_fit"))
    assert view._title.text() == "What would make room"


def test_a_machine_without_a_card_has_no_vram(page: NewRunPage) -> None:
    page.budget.show_machine(has_card=False)
    page.budget.show_forecast(Forecast(stage="empty"), [])
    assert page.budget.heading.text() == "Memory budget"
    assert "on this machine before" in page.budget.hint.text()
    page.budget.show_machine(has_card=True)
    page.budget.show_forecast(Forecast(stage="empty"), [])
    assert page.budget.heading.text() == "VRAM budget"


def test_complaints_come_before_warnings_and_say_a_thing_once() -> None:
    complaint = Complaint(field="lora.r", problem="Too large.", patch={"lora.r": 8})
    warning = Conflict(
        id="w", severity="warning", field=LENGTH, title="Long.", reason="Why.", remedy="Cut",
        patch={LENGTH: 512},
    )  # fmt: skip
    same = msgspec.structs.replace(warning, field="lora.r", severity="problem")
    found = todos([complaint], [warning, same])
    assert [(todo.field, todo.verb) for todo in found] == [("lora.r", "Mend it"), (LENGTH, "Cut")]
    assert heading(found, is_new=False) == "1 thing to do"
    assert heading(found[1:], is_new=False) == ""
    assert patch_words({"lora.r": 8, LENGTH: None}) == "LoRA rank → 8 · Max length back to normal"


# ---------------------------------------------------------------- words and pictures


def test_the_figures_of_the_design() -> None:
    found = plan()
    assert headline(found) == "8.5 of 10.2\u00a0GiB"
    assert gib(found.budgets[0].items[0].size_bytes) == "3.90\u00a0GiB"
    assert story(found) == (
        "Traced from the real model code. Resume needs 8.5\u00a0GiB, no more than the first "
        "start. The adapter file will be 80\u00a0MiB."
    )
    assert forecast(found.timing) == "Estimated 2\u00a0h\u00a050\u00a0m · 12.1\u00a0s per step"
    assert forecast_why(found.timing).startswith("A rough estimate: about 1")
    assert [price(rung) for rung in LADDER] == [
        "+1.4\u00a0GiB · 18\u00a0% faster",
        "−1.6\u00a0GiB · 12\u00a0% slower",
        "+1.7\u00a0GiB · 3\u00a0% slower",
        "+4.2\u00a0GiB · does not fit",
    ]
    assert price(msgspec.structs.replace(LADDER[1], fits=False)).endswith(" · not enough")
    assert price(msgspec.structs.replace(LADDER[1], verdict="tight")).endswith(" · tight")
    assert change(0) == "same memory"
    assert len(remarks(found)) == 1


def test_the_time_that_runs_taught_has_its_span() -> None:
    timing = plan().timing
    assert timing
    taught = TimeLesson(ratio=1.4, least=0.9, most=1.25, runs=4)
    timing = msgspec.structs.replace(timing, learnt=taught)
    assert forecast(timing).replace("\u00a0", " ") == (
        "About 2 h 50 m (2 h 33 m to 3 h 32 m) · 12.1 s per step"
    )
    step = msgspec.structs.replace(timing, total_seconds=None)
    assert forecast(step).replace("\u00a0", " ") == "About 12.1 s (10.9 s to 15.1 s) per step"
    assert "4 earlier runs here took 1.4 times" in forecast_why(timing)


def test_small_parts_are_one_line_and_nothing_is_lost() -> None:
    budget = plan().budgets[0]
    shown = lines(budget)
    assert sum(item.size_bytes for item in shown) == budget.total_bytes
    assert shown[-1].label == "Small parts"
    assert "Inputs" in shown[-1].how


def test_a_formula_is_not_called_a_trace() -> None:
    assert story(plan(traced=False)).startswith("From a formula:")


@pytest.mark.parametrize("name", ["dark", "light"])
def test_every_part_has_a_colour_of_its_own(name: str, qapp: object) -> None:
    tokens = load_tokens(name)
    parts = (*PARTS, "context", "workspace", "reserve", "small")
    colors = [part_color(part, tokens).name() for part in parts]
    assert len(set(colors)) == len(parts)
    assert tokens.card not in colors


@pytest.mark.parametrize("scale", [1.0, 1.19, 1.6, 5.0])
def test_the_bar_shows_parts_limit_and_doubt(scale: float, theme: Theme, qtbot: QtBot) -> None:
    bar = BudgetBar(theme.tokens)
    qtbot.addWidget(bar)
    bar.resize(368, bar.height())
    blank = bar.grab().toImage()
    bar.show_plan(plan(scale))
    image = bar.grab().toImage()
    assert image != blank
    ratio = image.devicePixelRatio()
    middle = image.pixelColor(round(10 * ratio), image.height() // 2)
    assert middle.name() == part_color("weights", theme.tokens).name()
    bar.set_old(True)
    assert bar.grab().toImage() != image


def test_a_long_rung_goes_on_in_a_second_line(theme: Theme, qtbot: QtBot) -> None:
    line = LineButton(theme.tokens)
    qtbot.addWidget(line)
    line.resize(360, 24)
    line.show_line("Batch 2 → 1", "−1.4 GiB · 12 % slower")
    short = line.height()
    line.show_line("Batch 2 → 1, accumulation 4 → 8, offload to RAM", "−1.4 GiB · 12 % slower")
    assert line.height() > short


def test_keys_ignore_sizes_and_see_layouts() -> None:
    base = key_of(spec_of(), "cuda", "fp16")
    assert key_of(spec_of(max_length=77, learning_rate=1e-5), "cuda", "fp16") == base
    assert key_of(spec_of(), "cpu", "fp32") != base
    assert key_of(spec_of(optim="adamw_8bit"), "cuda", "fp16") != base
    assert Traced(form=form_of(spec_of()), config={}).form.layers == 32
    rung = Rung(
        title="x", patch={}, total_bytes=1, saves_bytes=0, speed=1.001, effect="",
        keeps_result=True, fits=True,
    )  # fmt: skip
    assert price(rung) == "same memory · same speed"


def test_the_card_follows_the_theme(page: NewRunPage, theme: Theme, qtbot: QtBot) -> None:
    planned(page, qtbot)
    before = page.budget.grab().toImage()
    theme.choose("light")
    page.adviser._on_forecast(Forecast(stage="planned", plan=plan(), fit={}))
    assert page.budget.grab().toImage() != before
    assert page.budget.budget.headline.text() == "8.5 of 10.2\u00a0GiB"
