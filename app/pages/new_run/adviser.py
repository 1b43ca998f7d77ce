"""Brings the form, the plan and the card together: shows what is foretold, makes what is traded."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from app.form import Draft, Form
from app.link import HostLink
from app.pages.new_run import outlook
from app.pages.new_run.budget_card import BudgetCard
from app.pages.new_run.data_card import DataCard
from app.pages.new_run.forecaster import Forecast, Forecaster
from app.pages.new_run.model_card import ModelCard
from app.pages.new_run.profile_menu import PLATFORMS, ProfileMenu
from app.pages.new_run.todo_items import todos
from app.preferences import Preferences
from engine.contract.lifecycle import State
from engine.contract.messages import Facts, RunSummary
from engine.planning.choices import device_of

_PLATFORM_KEY = "new_run/platform"


class Adviser(QObject):
    """Keeps the right-hand card up to date, and does what is pressed in it.

    Signals:
        said: a sentence for the person.
    """

    said = Signal(str)

    def __init__(
        self,
        form: Form,
        link: HostLink,
        preferences: Preferences,
        cards: tuple[ModelCard, DataCard, BudgetCard],
        menu: ProfileMenu,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._form, self._link, self._preferences = form, link, preferences
        self._model, self._data, self.card = cards
        self._menu = menu
        self._facts: dict[str, Any] = {}
        self._applied: tuple[str, Draft] | None = None
        self.forecaster = Forecaster(form, link, self)
        kept = preferences.text(_PLATFORM_KEY)
        self.forecaster.platform = kept if kept in dict(PLATFORMS) else ""
        self._connect()

    def _connect(self) -> None:
        self._form.changed.connect(self.show)
        self._model.offered.connect(self.show)
        self._link.connected.connect(self._on_connected)
        self._link.run_changed.connect(self._on_run_changed)
        self.forecaster.changed.connect(self._on_forecast)
        self.forecaster.machine_changed.connect(self._show_machine)
        self.card.patch_wanted.connect(self.apply)
        self.card.undo_wanted.connect(self._form.undo)
        self.card.make_it_fit_wanted.connect(self._on_make_it_fit)
        self.card.retry_wanted.connect(self.forecaster.retry)
        self._menu.profile_chosen.connect(self._on_profile_chosen)
        self._menu.platform_chosen.connect(self._on_platform_chosen)
        if self._link.is_connected:
            self._on_connected()

    # ------------------------------------------------------------ showing

    def show(self) -> None:
        """Show what follows from the form without a plan."""
        spec, complaints = self.forecaster.checked()
        given = {"model.path", "dataset.path", "dataset.sources"}
        is_new = not given & set(self._form.draft.values)
        conflicts = self.forecaster.forecast.conflicts
        known = {complaint.field for complaint in self._form.complaints}
        also = [] if is_new else [c for c in complaints if c.field not in known]
        self.card.show_todos(todos([*self._form.complaints, *also], conflicts), is_new)
        rows, option = self._data.chosen.rows, self._model.option
        self.forecaster.row_count = rows.learnt
        self.forecaster.set_cached(self._model.is_cached)
        size = option.facts if option else ""
        lines = outlook.lines(spec, rows, size) if spec else []
        self.card.show_facts([*lines, *outlook.where(self._facts)] if spec else [])
        self.card.ladder.offer_undo(self._what_was_applied())
        self._show_machine()

    def _what_was_applied(self) -> str:
        if self._applied is None or self._applied[1] != self._form.draft:
            return ""
        return self._applied[0] if self._form.can_undo else ""

    def _on_forecast(self, found: Forecast) -> None:
        spec, _ = self.forecaster.checked()
        habits = outlook.habits(spec) if spec is not None else []
        self.card.show_forecast(found, habits)
        self.show()

    def _show_machine(self) -> None:
        profile = str(self._form.draft.get("hardware.profile") or "auto")
        machine = self.forecaster.machine
        self._menu.show_choice(profile, self.forecaster.platform, machine)
        self.card.show_machine(has_card=machine is None or device_of(machine) == "cuda")

    # ------------------------------------------------------------ what happens

    def apply(self, patch: dict[str, Any], title: str) -> None:
        """Make changes, as one step to undo."""
        if self._form.apply(patch):
            self._applied = (title, self._form.draft)
            self.card.ladder.offer_undo(title)

    def _on_make_it_fit(self) -> None:
        self.apply(self.forecaster.forecast.fit or {}, "Make it fit")

    def _on_connected(self, _data: object = None) -> None:
        self._link.ask(Facts).replied.connect(self._on_facts)

    def _on_run_changed(self, summary: RunSummary) -> None:
        if summary.state is State.FINISHED and self._link.is_connected:
            self._on_connected()  # The run may have taught something of its card.

    def _on_facts(self, data: dict[str, Any]) -> None:
        self._facts = data.get("facts") or {}
        self.forecaster.set_facts(self._facts)
        self.show()

    def _on_profile_chosen(self, profile: str) -> None:
        self._form.seal()
        self._form.set_value("hardware.profile", profile)

    def _on_platform_chosen(self, platform: str) -> None:
        self._preferences.set_text(_PLATFORM_KEY, platform)
        self.forecaster.set_platform(platform)
