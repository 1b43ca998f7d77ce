"""The New run page: wires the cards to one form and starts what is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QFocusEvent, QHideEvent
from PySide6.QtWidgets import QWidget

from app.form import Draft, Form
from app.form_editors import focus
from app.form_fields import fields
from app.link import HostLink
from app.pages.new_run import outlook
from app.pages.new_run.data_card import DataCard
from app.pages.new_run.desk import SPACING, Desk
from app.pages.new_run.files import Exchange
from app.pages.new_run.header import Header
from app.pages.new_run.keeper import DraftKeeper
from app.pages.new_run.model_card import ModelCard
from app.pages.new_run.outlook_card import OutlookCard
from app.pages.new_run.settings_card import SettingsCard
from app.pages.new_run.starter import Starter
from app.preferences import Preferences
from app.theme import Theme
from app.widgets.parts import column
from engine.contract.messages import Complaint, Facts

_MARGIN = 24
_KEPT_BY_RESET = ("name", "method", "model.path", "dataset.path", "dataset.format")
_ASKED = {
    "model.path": "Choose one from the list, or write a Hugging Face id or a folder.",
    "dataset.path": "Choose a file, or drop one on this page.",
}


class NewRunPage(QWidget):
    """Makes runs.

    Signals:
        run_started: name of the run that was just queued.
        said: a sentence for the person, such as after a copy or an export.
    """

    run_started = Signal(str)
    said = Signal(str)

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
        self._facts: dict[str, Any] = {}
        self._shown_problems: set[str] = set()
        self.form = Form(self)
        self.exchange = Exchange(self.form, self)
        self._starter = Starter(self.form, link, self)
        self._build()
        self._connect()
        self.keeper = DraftKeeper(self.form, preferences, self)
        self.form.restore(self.keeper.remembered())

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self.header = Header(self.form)
        self.model = ModelCard(self.form, self._link, self._preferences)
        self.data = DataCard(self.form, self._link, self._theme.tokens)
        self.settings = SettingsCard(self.form, self._preferences)
        self.outlook = OutlookCard()
        self.desk = Desk((self.model, self.data, self.settings), self.outlook)
        page = column(self.header, self.desk, margins=(_MARGIN, 20, _MARGIN, 20), spacing=SPACING)
        page.setStretch(1, 1)
        self.setLayout(page)

    def _connect(self) -> None:
        self.form.changed.connect(self._on_form_changed)
        self.header.start.clicked.connect(self._on_start)
        self.header.bind_keys(self)
        self.header.import_action.triggered.connect(self.exchange.ask_import)
        self.header.export_action.triggered.connect(self.exchange.ask_export)
        self.header.copy_action.triggered.connect(self.exchange.copy_command)
        self.header.reset_action.triggered.connect(self._on_reset)
        self.exchange.said.connect(self.said)
        self.exchange.imported.connect(self._on_imported)
        self._starter.started.connect(self._on_started)
        self._starter.refused.connect(self._on_refused)
        self._starter.busy_changed.connect(self.header.start.setDisabled)
        self.outlook.field_wanted.connect(self.go_to)
        self.settings.refilled.connect(self._show_complaints)
        self.settings.refilled.connect(self.desk.share_width)
        self._link.connected.connect(self._on_connected)
        self._theme.changed.connect(self.data.recolor)
        if self._link.is_connected:
            self._on_connected()

    # ------------------------------------------------------------ showing

    def _on_form_changed(self) -> None:
        self._show_complaints()
        self._show_outlook()

    def _show_complaints(self) -> None:
        said = {c.field: f"{c.problem} {c.remedy}".strip() for c in self.form.complaints}
        draft = self.form.draft
        for editor in (*self.settings.editors.values(), self.data.path, self.data.format):
            path = editor.field.path
            is_due = path in draft.values or path in self._shown_problems
            editor.complain(said.get(path, "") if is_due else "")
        is_due = "model.path" in draft.values or "model.path" in self._shown_problems
        self.model.complain(said.get("model.path", "") if is_due else "")

    def _show_outlook(self) -> None:
        self.settings.aside.setText(outlook.machine_line(self._facts))
        spec, complaints = self.form.spec, self.form.complaints
        if spec is None or complaints:
            asked = [c for c in map(_in_form_words, complaints) if c is not None]
            is_new = not set(_ASKED) & set(self.form.draft.values) and len(asked) == len(_ASKED)
            self.outlook.show_complaints(asked, is_new)
            return
        row_count = self.data.facts.get("row_count")
        option = self.model.option
        self.outlook.show_run(
            outlook.steps(spec, row_count),
            outlook.lines(spec, row_count, option.facts if option else ""),
            outlook.choices(spec, self._facts),
            outlook.where(self._facts),
        )

    def go_to(self, path: str) -> None:
        """Bring the editor of a setting into view and give it the keyboard.

        A setting that does not exist has none: it is removed, and undo brings it back.
        """
        self._shown_problems.add(path)
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
            "method": self.model.pretrain,
            "quantization.bits": self.model.chip(self.form.draft.tuning),
        }
        if path in own:
            return own[path]
        editor = self.settings.editors.get(path)
        return editor.control if editor is not None and editor.isEnabled() else None

    # ------------------------------------------------------------ what happens

    def _on_connected(self, _data: object = None) -> None:
        self._link.ask(Facts).replied.connect(self._on_facts)

    def _on_facts(self, data: dict[str, Any]) -> None:
        self._facts = data.get("facts") or {}
        self._show_outlook()

    def _on_start(self) -> None:
        if self.form.spec is None:
            self._on_imported()
            fields_due = [c.field for c in self.form.complaints]
            # An empty name follows from the others being empty.
            self.go_to(next((field for field in fields_due if field != "name"), "name"))
        elif self.header.start.isEnabled():
            self._starter.start()

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
        for path in paths:
            self.take_file(path)
        event.acceptProposedAction()

    def take_file(self, path: Path) -> None:
        """A dropped file or folder goes where it belongs."""
        if path.suffix.lower() == ".toml":
            self.exchange.import_file(path)
        elif path.is_dir() and (path / "config.json").exists():
            self.model.choose(self._link.place.path_there(str(path)))
        else:
            self.data.choose(self._link.place.path_there(str(path)))


def _in_form_words(complaint: Complaint) -> Complaint | None:
    """What is merely not there yet is asked for, not blamed; None for what then comes by itself."""
    if complaint.problem != "This is missing.":
        return complaint
    if complaint.field == "name":
        return None
    asked = _ASKED.get(complaint.field)
    return Complaint(field=complaint.field, problem=asked) if asked else complaint
