"""The New run page: wires the cards to one form and starts what is filled in."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QFocusEvent, QHideEvent
from PySide6.QtWidgets import QWidget

from app.form import Draft, Form
from app.form_editors import focus
from app.form_fields import OF_ONE_FILE, fields
from app.link import HostLink
from app.pages.new_run.adviser import Adviser
from app.pages.new_run.budget_card import BudgetCard
from app.pages.new_run.data_card import DataCard
from app.pages.new_run.desk import SPACING, Desk
from app.pages.new_run.files import Exchange
from app.pages.new_run.header import Header
from app.pages.new_run.keeper import DraftKeeper
from app.pages.new_run.model_card import ModelCard
from app.pages.new_run.rehearsal_card import RehearsalCard
from app.pages.new_run.settings_card import SettingsCard
from app.pages.new_run.starter import Starter
from app.pages.new_run.trials import Trials
from app.preferences import Preferences
from app.theme import Theme
from app.widgets.parts import column
from engine.contract.messages import Complaint

_MARGIN = 24
_SOURCE = "dataset.sources["
"""So begin settings of one of several datasets, all of which were written by somebody."""
_DATASET = ("dataset.path", *OF_ONE_FILE)
_OF_DATA = (
    "method", *_DATASET, "dataset.chat_template", "dataset.loss_on", "training.max_length",
)  # fmt: skip
_OF_DATA_IF_SET = ("model.path", "lora.trainable_tokens")
"""Data can be looked at without a model, and mended without more tokens to train; then what is
chosen here stays."""
_KEPT_BY_RESET = ("name", "method", "model.path", *_DATASET)


class NewRunPage(QWidget):
    """Makes runs.

    Signals:
        run_started: name of the run that was just queued.
        said: a sentence for the person, such as after a copy or an export.
        data_wanted: a :class:`Draft` whose data the person wants to see as the model will.
    """

    run_started = Signal(str)
    said = Signal(str)
    data_wanted = Signal(object)

    def __init__(
        self,
        link: HostLink,
        preferences: Preferences,
        theme: Theme,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._link = link
        self._preferences = preferences
        self._theme = theme
        self._shown_problems: set[str] = set()
        self.form = Form(self)
        self.exchange = Exchange(self.form, self)
        self._starter = Starter(self.form, link, self)
        self._build()
        self.adviser = Adviser(
            self.form, link, preferences, (self.model, self.data, self.budget),
            self.settings.machine, self,
        )  # fmt: skip
        self.trials = Trials(self.trial, self.header.rehearse, self.adviser, link, self)
        self._connect()
        self.keeper = DraftKeeper(self.form, preferences, self)
        self.form.restore(self.keeper.remembered())

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self.header = Header(self.form)
        self.model = ModelCard(self.form, self._link, self._preferences)
        self.data = DataCard(self.form, self._link, self._theme.tokens)
        self.settings = SettingsCard(self.form, self._preferences)
        self.budget = BudgetCard(self._theme.tokens)
        self.trial = RehearsalCard()
        cards = (self.trial, self.model, self.data, self.settings)
        self.desk = Desk(cards, self.budget, self.budget.area)
        page = column(self.header, self.desk, margins=(_MARGIN, 20, _MARGIN, 20), spacing=SPACING)
        page.setStretch(1, 1)
        self.setLayout(page)

    def _connect(self) -> None:
        self.form.changed.connect(self._show_complaints)
        self.header.start.clicked.connect(self._on_start)
        self.header.rehearse.clicked.connect(self._on_try)
        self.header.bind_keys(self)
        self.header.import_action.triggered.connect(self.exchange.ask_import)
        self.header.export_action.triggered.connect(self.exchange.ask_export)
        self.header.copy_action.triggered.connect(self.exchange.copy_command)
        self.header.reset_action.triggered.connect(self._on_reset)
        self.exchange.said.connect(self.said)
        self.exchange.imported.connect(self._on_imported)
        self.data.look_wanted.connect(self.data_wanted)
        self._starter.started.connect(self._on_started)
        self._starter.refused.connect(self._on_refused)
        self._starter.busy_changed.connect(self.header.start.setDisabled)
        self.trial.start_wanted.connect(self.header.start.click)
        self.trials.refused.connect(self._on_refused)
        self.trials.begun.connect(self._on_tried)
        self.budget.field_wanted.connect(self.go_to)
        self.budget.brief_changed.connect(self.desk.show_brief)
        self.settings.refilled.connect(self._show_complaints)
        self.settings.refilled.connect(self.desk.share_width)
        self._theme.changed.connect(self.data.recolor)
        self._theme.changed.connect(self.budget.set_tokens)
        self._theme.changed.connect(self.settings.machine.set_tokens)
        self.settings.machine.set_tokens(self._theme.tokens)

    # ------------------------------------------------------------ showing

    def _show_complaints(self) -> None:
        said = {c.field: f"{c.problem} {c.remedy}".strip() for c in self.form.complaints}
        draft = self.form.draft
        due = {
            path: sentence
            for path, sentence in said.items()
            if path in draft.values or path in self._shown_problems or path.startswith(_SOURCE)
        }
        for editor in (*self.settings.editors.values(), self.data.view.loss):
            editor.complain(due.get(editor.field.path, ""))
        self.data.complain(due)
        self.model.complain(due.get("model.path", ""))

    def go_to(self, path: str) -> None:
        """Bring the editor of a setting into view and give it the keyboard.

        A setting that does not exist has none: it is removed, and undo brings it back.
        """
        self._shown_problems.add(path)
        self.data.show_source(path)
        if path in self.form.draft.unknown:
            self.form.seal()
            self.form.replace(self.form.draft.without_unknown(path))
            return
        target = self._control_of(path)
        if target is None and path in fields():
            self.settings.show_all()
            target = self._control_of(path)
        if target is not None:
            focus(target)
            self.desk.area.ensureWidgetVisible(target, 0, 60)
        self._show_complaints()

    def _control_of(self, path: str) -> QWidget | None:
        own: dict[str, QWidget] = {
            "name": self.header.name,
            "model.path": self.model.combo,
            "dataset.path": self.data.path.control,
            "dataset.format": self.data.format.control,
            "dataset.loss_on": self.data.view.loss.control,
            "hardware.profile": self.settings.machine,
            "method": self.model.pretrain,
            "quantization.bits": self.model.chip(self.form.draft.tuning),
        }
        if path in own:
            return own[path]
        if path.startswith(("dataset.columns", "dataset.roles", "dataset.sources")):
            return self.data.path.control
        editor = self.settings.editors.get(path)
        return editor.control if editor is not None and editor.isEnabled() else None

    # ------------------------------------------------------------ what happens

    def _is_ready(self) -> bool:
        """Nothing is missing; else the first thing that is gets the keyboard."""
        if self.form.spec is not None:
            return True
        self._on_imported()
        fields_due = [c.field for c in self.form.complaints]
        # An empty name follows from the others being empty.
        self.go_to(next((field for field in fields_due if field != "name"), "name"))
        return False

    def _on_start(self) -> None:
        if self._is_ready() and self.header.start.isEnabled():
            self._starter.start(self.adviser.forecaster.expectation())

    def _on_try(self) -> None:
        if self._is_ready():
            self.trials.start(self.form.draft.raw())

    def use_data(self, draft: Draft) -> None:
        """Take over data that was looked at, with what it was looked at for; all else stays."""
        self.form.seal()
        for path in (*_OF_DATA, *_OF_DATA_IF_SET):
            if path in _OF_DATA or draft.values.get(path):
                self.form.set_value(path, draft.values.get(path))
        self.form.seal()

    def _on_tried(self) -> None:
        self.desk.area.verticalScrollBar().setValue(0)

    def _on_started(self, run: str) -> None:
        self.keeper.remember()
        self.run_started.emit(run)

    def _on_refused(self, complaints: list[Complaint]) -> None:
        self.form.refuse(complaints)
        self._on_imported()
        self.go_to(complaints[0].field)

    def _on_imported(self) -> None:
        """From now on all complaints are shown, of settings not touched too."""
        self._shown_problems |= {complaint.field for complaint in self.form.complaints}
        self._show_complaints()

    def _on_reset(self) -> None:
        draft = self.form.draft
        kept = {path: draft.values[path] for path in _KEPT_BY_RESET if path in draft.values}
        self.form.seal()
        self.form.replace(Draft(values=kept).with_tuning(draft.tuning))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Qt override: whoever comes to the page begins at what is to do next.

        A focus proxy would also catch the Tab key that comes round, and hide the header from it.
        """
        super().focusInEvent(event)
        focus(self.model.line if self.form.spec is None else self.header.start)

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override: also comes when the window is closed."""
        super().hideEvent(event)
        self.keeper.flush()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        data = [path for path in paths if not self._take_other(path)]
        if data:
            self.data.chosen.take([self._link.place.path_there(str(path)) for path in data])
        event.acceptProposedAction()

    def _take_other(self, path: Path) -> bool:
        """A dropped spec or model goes where it belongs; False if it is neither."""
        if path.suffix.lower() == ".toml":
            self.exchange.import_file(path)
        elif path.is_dir() and (path / "config.json").exists():
            self.model.choose(self._link.place.path_there(str(path)))
        else:
            return False
        return True
