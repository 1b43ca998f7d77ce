"""Keeps the plan of what is filled in up to date: evaluates at once, traces when it has to.

A change of sizes (batch, length, rank) only evaluates the form that is there. Another model,
another way of training it, or rows that grow beyond a sliding window need a new trace: that is
asked for once nothing has changed for a moment, and until it is there the plan before stays in
view, pale.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal

from app.form import Draft, Form
from app.link import HostLink
from app.pages.new_run.outlook import total_steps
from app.pages.new_run.traces import Failure, Key, Traced, Traces, key_of
from engine.contract.lifecycle import LIVE
from engine.contract.messages import Complaint, Rehearsed, RunSummary
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.planning import conflicts
from engine.planning.conflicts import Conflict
from engine.planning.embeddings import Option
from engine.planning.facts import MachineFacts
from engine.planning.form import Form as TracedForm
from engine.planning.hardware import Machine, UnknownProfile, machine_of
from engine.planning.plan import Plan
from engine.planning.safe_mode import SafeMode, choose, situation_of

_EVALUATE_AFTER_MS = 10
TRACE_AFTER_MS = 400
_SOME_DATA = "data"
"""Stands for a file that is not chosen yet: a plan needs none."""

Stage = Literal["empty", "waiting", "tracing", "busy", "no_engine", "failed", "planned"]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of what is filled in."""

    stage: Stage
    """``empty``: no model yet. ``waiting``: something filled in is wrong. ``busy``: the engine
    traces when it has nothing else to do."""
    plan: Plan | None = None
    """In any stage: the newest there was for this model."""
    fit: dict[str, Any] | None = None
    """Changes that make it fit and keep the result; empty if it fits, None if there are none."""
    conflicts: list[Conflict] = []
    """What in the spec does not go together, or not there."""
    embeddings: list[Option] = []
    """The ways of training the embeddings; empty where there is no choice."""
    safe: SafeMode | None = None
    """What is left out on the machine that is planned for."""
    sentence: str = ""
    """Why there is no newer one, for people."""


class Forecaster(QObject):
    """Makes plans.

    Signals:
        changed: the newest :class:`Forecast`.
        machine_changed: the machine that is planned for is another.
    """

    changed = Signal(object)
    machine_changed = Signal()

    def __init__(self, form: Form, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._form = form
        self._link = link
        self.traces = Traces(link, self)
        self.forecast = Forecast(stage="empty")
        self.machine: Machine | None = None
        """What is planned for; None before the engine told what there is."""
        self.facts: MachineFacts | None = None
        self.platform = ""
        """Planned for: empty stands for the one that is there."""
        self.row_count: int | None = None
        """Rows of the data, where they are counted."""
        self.is_cached: bool | None = None
        """Whether the model is on the engine's machine; None where that is not known."""
        self._problem = ""
        self._model = ""
        self._spec: Spec | None = None
        self._missing: dict[Key, Spec] = {}
        """Layouts that the ladder of this plan could not look at yet."""
        self._ways: dict[bytes, list[Option]] = {}
        self._checked: tuple[Draft, tuple[Spec | None, list[Complaint]]] | None = None
        self._soon = QTimer(self, singleShot=True, interval=_EVALUATE_AFTER_MS)
        self._soon.timeout.connect(self._on_soon)
        self._pause = QTimer(self, singleShot=True, interval=TRACE_AFTER_MS)
        self._pause.timeout.connect(self._on_pause)
        form.changed.connect(self._soon.start)
        self.traces.arrived.connect(self._on_news)
        link.connected.connect(self._on_news)
        link.disconnected.connect(self._on_news)
        link.run_changed.connect(self._on_run_changed)
        link.rehearsal_received.connect(self._on_rehearsal)

    # ------------------------------------------------------------ what it is made for

    def set_facts(self, facts: dict[str, Any]) -> None:
        """The engine's machine is this."""
        try:
            self.facts = msgspec.convert(facts, MachineFacts)
        except msgspec.ValidationError:
            # An engine of another version tells other things; profiles can still be planned for.
            self.facts = None
        self._soon.start()

    def set_platform(self, platform: str) -> None:
        """Plan for ``linux``, ``windows``, ``wsl``, or the one that is there (empty)."""
        self.platform = platform
        self._soon.start()

    def set_cached(self, is_cached: bool | None) -> None:
        """The model is on the engine's machine, or has to be fetched."""
        if is_cached != self.is_cached:
            self.is_cached = is_cached
            self._soon.start()

    def retry(self) -> None:
        """Ask again for what failed."""
        self.traces.forget_failures()
        self._soon.start()

    def checked(self) -> tuple[Spec | None, list[Complaint]]:
        """The spec that is planned, if it is sound, and what is wrong with it."""
        draft = self._form.draft
        if self._checked is None or self._checked[0] is not draft:
            self._checked = (draft, checked(draft))
        return self._checked[1]

    # ------------------------------------------------------------ evaluating

    def _on_soon(self) -> None:
        before = self.machine
        self.machine, self._problem = machine_for(self.facts, self._form.draft, self.platform)
        if self.machine != before:
            self.machine_changed.emit()
        forecast = self._evaluate()
        if self._spec is not None and self._problem:
            forecast = msgspec.structs.replace(forecast, conflicts=conflicts.check(self._spec))
        elif self._spec is not None and self.machine is not None:
            forecast = msgspec.structs.replace(
                forecast,
                conflicts=self._conflicts(self._spec, self.machine),
                safe=safe_mode_of(self._spec, self.machine, self.facts),
            )
        self.forecast = forecast
        self.changed.emit(forecast)

    def _conflicts(self, spec: Spec, machine: Machine) -> list[Conflict]:
        from engine.planning.conflict_facts import Known

        key, _ = _layout(spec, machine)
        found = self.traces.get(key)
        config = found.config if isinstance(found, Traced) else None
        known = Known(rows=self.row_count, is_cached=self.is_cached)
        if machine.is_detected:
            return conflicts.check(spec, self.facts, config, known=known)
        # What is installed here says nothing of another machine.
        return conflicts.check(spec, machine, config, packages={}, known=known)

    def _evaluate(self) -> Forecast:
        draft = self._form.draft
        model = draft.get("model.path")
        if not model or not isinstance(model, str):
            self._spec = None
            self._pause.stop()
            return Forecast(stage="empty")
        old = self.forecast.plan if model == self._model else None
        self._spec, _ = self.checked()
        if self._spec is None:
            return Forecast(stage="waiting", plan=old)
        if self.machine is None:
            return _without_machine(self._problem, self._link.outage, old)
        key, _ = _layout(self._spec, self.machine)
        found = self.traces.get(key, self._spec.training.max_length)
        if isinstance(found, Traced):
            self._pause.stop()
            self._model = model
            return self._planned(self._spec, found, self.machine)
        if isinstance(found, Failure):
            stage: Stage = "busy" if found.is_busy else "failed"
            return Forecast(stage=stage, plan=old, sentence=found.sentence)
        return self._not_yet(key, old)

    def _not_yet(self, key: Key, old: Plan | None) -> Forecast:
        if self._link.outage and not self._link.is_connected:
            return Forecast(stage="no_engine", plan=old, sentence=self._link.outage)
        if not self.traces.is_asked(key):
            self._pause.start()
        return Forecast(stage="tracing", plan=old)

    def _planned(self, spec: Spec, traced: Traced, machine: Machine) -> Forecast:
        from engine.planning.ladder import make_it_fit
        from engine.planning.planner import make_plan

        self._missing.clear()
        plan = make_plan(
            spec, traced.form, machine, steps=total_steps(spec, self.row_count),
            forms=self._alternative, config=traced.config,
        )  # fmt: skip
        fit: dict[str, Any] | None = {}
        if plan.verdict == "does_not_fit":
            fit = make_it_fit(spec, traced.form, machine, self._alternative)
        self._ask_next()
        ways = self._embeddings(spec, traced.config)
        return Forecast(stage="planned", plan=plan, fit=fit, embeddings=ways)

    def _embeddings(self, spec: Spec, config: dict[str, Any]) -> list[Option]:
        """The ways of training them; sizes of batches and rows say nothing of that."""
        from engine.planning.embeddings import options

        training = spec.training
        rates = (training.learning_rate, training.embedding_learning_rate)
        about = [spec.model.path, spec.lora or None, training.optim, training.precision, rates]
        key = msgspec.json.encode(about)
        if key not in self._ways:
            self._ways = {key: options(spec, config)}
        return self._ways[key]

    def _alternative(self, spec: Spec) -> TracedForm | None:
        """The form of another layout; asked for in the background if it is not there yet."""
        assert self.machine is not None
        key, settled = _layout(spec, self.machine)
        found = self.traces.get(key, settled.training.max_length)
        if found is None:
            self._missing.setdefault(key, settled)
        return found.form if isinstance(found, Traced) else None

    def _ask_next(self) -> None:
        """One after the other, so that a trace that somebody waits for is never far behind."""
        if self._missing and not any(map(self.traces.is_asked, self._missing)):
            key, spec = next(iter(self._missing.items()))
            self.traces.ask(key, spec)

    def expectation(self) -> dict[str, Any]:
        """What the plan of this moment foretells of a run on the card that is there; else empty."""
        from engine.planning.planner import expectation

        plan = self.forecast.plan
        if plan is None or self.machine is None or self.forecast.stage != "planned":
            return {}
        return expectation(plan, self.machine)

    # ------------------------------------------------------------ what happens

    def _on_pause(self) -> None:
        if self._spec is not None and self.machine is not None:
            self.traces.ask(*_layout(self._spec, self.machine))

    def _on_run_changed(self, summary: RunSummary) -> None:
        if summary.state not in LIVE:
            self._on_free()

    def _on_rehearsal(self, message: object) -> None:
        if isinstance(message, Rehearsed):
            self._on_free()

    def _on_free(self) -> None:
        """The engine may have time now."""
        self.traces.forget_busy()
        self._soon.start()

    def _on_news(self, _news: object) -> None:
        self._soon.start()


def _layout(spec: Spec, machine: Machine) -> tuple[Key, Spec]:
    """What the spec's trace is kept under, and the spec that is to be traced."""
    from engine.planning.choices import device_of, precision_of, settle

    settled, _ = settle(spec, machine)
    precision, _ = precision_of(settled, machine)
    return key_of(settled, device_of(machine), precision), settled


def _without_machine(problem: str, outage: str, old: Plan | None) -> Forecast:
    if problem:
        return Forecast(stage="failed", plan=old, sentence=problem)
    if outage:
        return Forecast(stage="no_engine", plan=old, sentence=outage)
    return Forecast(stage="tracing", plan=old)


def checked(draft: Draft) -> tuple[Spec | None, list[Complaint]]:
    """The spec of a draft, if it is sound but for its data, of which a plan needs none; and what is
    wrong with it, which is more than is seen while the data is missing."""
    raw = draft.raw()
    given = raw.get("dataset", {})
    raw["dataset"] = given if given.get("sources") else {"path": _SOME_DATA} | given
    raw["name"] = raw.get("name") or _SOME_DATA
    return check(raw)


def machine_for(
    facts: MachineFacts | None, draft: Draft, platform: str
) -> tuple[Machine | None, str]:
    """The machine that a draft is planned for, or why there is none."""
    if facts is None:
        return None, ""
    gpu = draft.get("hardware.gpu")
    profile = str(draft.get("hardware.profile") or "auto")
    try:
        number = gpu if type(gpu) is int else 0
        return machine_of(facts, profile, platform or None, gpu=number), ""
    except UnknownProfile as error:
        return None, str(error)


def safe_mode_of(spec: Spec, machine: Machine, facts: MachineFacts | None) -> SafeMode:
    """What is left out on the machine that is planned for."""
    filesystem = facts.store_filesystem if facts else None
    return choose(spec.hardware.safe_mode, situation_of(machine, filesystem))
