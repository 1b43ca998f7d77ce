"""The Data page: wires what is looked at to what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from app import data_words
from app.form import Draft
from app.form_fields import OF_ONE_FILE
from app.inspector import Inspector
from app.link import HostLink
from app.pages.data.desk import Desk
from app.pages.data.findings_card import FindingsCard
from app.pages.data.sample_card import SampleCard
from app.pages.data.source_bar import SourceBar
from app.pages.data.state_card import StateCard
from app.pages.data.template_desk import TemplateDesk
from app.pages.new_run.starter import as_the_engine_reads
from app.preferences import Preferences
from app.theme import Theme, Tokens
from app.widgets.length_bars import LengthBars
from app.widgets.parts import Card, Chip, button, column, label, row
from app.widgets.tiles import TileRow
from engine.contract.dataset_report import DatasetReport
from engine.contract.messages import Inspected, Refusal

_LOW_HEIGHT = 680
_EMPTY = (
    "Choose a dataset and a model: here you see every token that the model will get, which of them "
    "it learns, what is cut off, and what is odd. Nothing is changed in the file."
)


class DataPage(QWidget):
    """Shows what a model will see of a dataset.

    Signals:
        use_wanted: a :class:`Draft` with this data, to make a run of.
    """

    use_wanted = Signal(object)

    def __init__(
        self, link: HostLink, preferences: Preferences, theme: Theme, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._link = link
        self._draft = Draft()
        """Of what is shown."""
        self._wanted = Draft()
        """Of what was asked for last."""
        self.report: DatasetReport | None = None
        self.inspector = Inspector(link, self)
        self._build(theme.tokens, preferences)
        self._connect(theme)
        self._show_empty(_EMPTY)

    # ------------------------------------------------------------ building

    def _build(self, tokens: Tokens, preferences: Preferences) -> None:
        self.title = label("Data", "title")
        self.chip = Chip()
        self.chip.hide()
        self.stop = button("Stop", tip="Look no further")
        self.use = button("Use in a run", "primary", tip="Fill it into New run")
        self.source = SourceBar(self._link, preferences)
        self.state = StateCard(self._link)
        self.tiles = TileRow()
        self.samples = SampleCard(tokens)
        self.lengths = LengthBars(tokens)
        self.findings = FindingsCard()
        self.templates = TemplateDesk(self._link, preferences, self.samples, tokens, self)
        lengths = Card("Length in tokens")
        lengths.column.addWidget(self.lengths)
        self.desk = Desk(self.samples, lengths, self.findings, self.templates.card)
        page = column(
            row(self.title, self.chip, None, self.stop, self.use, spacing=12), self.source,
            self.templates.bar, self.state, self.tiles, self.desk,
            margins=(24, 20, 24, 20), spacing=13,
        )  # fmt: skip
        page.addStretch(0)
        page.setStretch(5, 1)
        self.setLayout(page)

    def _connect(self, theme: Theme) -> None:
        self.source.look_wanted.connect(self.look)
        self.stop.clicked.connect(self._on_stop)
        self.use.clicked.connect(self._on_use)
        self.samples.place_wanted.connect(self.inspector.show_place)
        self.samples.row_wanted.connect(self.inspector.show_row)
        self.samples.search_wanted.connect(self.inspector.search)
        self.findings.rows_wanted.connect(self.samples.go_through)
        self.findings.patch_wanted.connect(self._on_patch_wanted)
        self.state.columns_wanted.connect(self._on_columns_wanted)
        self.templates.patch_wanted.connect(self._on_patch_wanted)
        self.templates.editing_changed.connect(self.desk.set_editing)
        self.inspector.begun.connect(self._on_begun)
        self.inspector.advanced.connect(self.state.advance)
        self.inspector.ended.connect(self._on_ended)
        self.inspector.refused.connect(self._on_refused)
        self.inspector.shown.connect(self.samples.show_sample)
        self.inspector.shown.connect(self.templates.on_shown)
        self.inspector.unshown.connect(self.samples.show_none)
        self.inspector.found.connect(self.samples.show_found)
        theme.changed.connect(self.samples.view.set_tokens)
        theme.changed.connect(self.templates.card.set_tokens)
        theme.changed.connect(self.lengths.set_tokens)

    # ------------------------------------------------------------ looking

    def show_draft(self, draft: Draft) -> None:
        """Look at the data of a run that is being made."""
        self._draft = draft
        self.templates.show_draft(draft)
        path, model = draft.get("dataset.path"), draft.get("model.path")
        self.source.fill(str(path or ""), str(model or ""), str(draft.get("method")))
        self.look()

    def look(self) -> None:
        """Look at what is filled in; says what is missing."""
        path, model = self.source.path.text().strip(), self.source.model.text().strip()
        is_mixture = bool(self._draft.get("dataset.sources")) and not path
        if not (path or is_mixture) or not model:
            is_model = bool(path or is_mixture)
            (self.source.model if is_model else self.source.path).setFocus()
            self._show_empty("Choose the model whose tokens are shown." if is_model else _EMPTY)
            return
        draft = self._draft.with_value("model.path", model).with_value("dataset.path", path or None)
        if not is_mixture and path != self._draft.get("dataset.path"):
            # All of that was said of another file.
            draft = draft.with_patch(dict.fromkeys(OF_ONE_FILE))
        self._look_at(draft.with_value("method", self.source.method.currentData()))

    def _look_at(self, draft: Draft) -> None:
        self._wanted = draft
        self.inspector.start(as_the_engine_reads(draft.raw(), self._link.place))

    def _on_stop(self) -> None:
        self.inspector.stop()
        self._show_empty("Stopped. Nothing half done was kept.")

    def _on_patch_wanted(self, patch: dict[str, Any]) -> None:
        draft = self._draft.with_patch(patch)
        if draft.get("dataset.path") or draft.get("dataset.sources"):
            self._look_at(draft)
        else:  # There is nothing to look at yet.
            self._draft = draft
            self.templates.show_draft(draft)

    def _on_columns_wanted(self, columns: dict[str, str]) -> None:
        self._look_at(self._wanted.with_patch({"dataset.columns": columns}))

    def _on_use(self) -> None:
        self.use_wanted.emit(self._draft)

    # ------------------------------------------------------------ what arrives

    def _on_begun(self) -> None:
        self._show_state(
            "Looking at the data …", "Reading rows and making tokens of them.", busy=True
        )

    def _on_refused(self, refusal: Refusal) -> None:
        if refusal.code == "not_found":
            self.look()
            return
        lines = [data_words.refused(complaint) for complaint in refusal.complaints]
        self.templates.show_draft(self._draft)
        self._show_state("This cannot be looked at", "\n".join(lines) or refusal.sentence)
        for told in filter(data_words.wants_columns, refusal.complaints):
            self.state.ask_for_columns(self._wanted, told.problem)

    def _on_ended(self, message: Inspected) -> None:
        if message.report is None:
            told = message.complaint
            text = data_words.refused(told) if told else ""
            self.templates.show_draft(self._draft)
            self._show_state("This cannot be learnt from", text)
            if told is not None and data_words.wants_columns(told):
                self.state.ask_for_columns(self._wanted, told.problem)
            return
        # What was refused is not tried again with the next file.
        self._draft = self._wanted
        self.show_report(message.report)

    # ------------------------------------------------------------ showing

    def show_report(self, report: DatasetReport) -> None:
        """Show this one."""
        self.report = report
        self.title.setText(self.source.title)
        self.chip.show_word(data_words.format_chip(report), "good")
        self.tiles.show_texts(data_words.tiles_of(report))
        self.lengths.show_report(report)
        self.findings.show_report(report)
        self.samples.show_report(report)
        self.templates.show_draft(self._draft, report.format)
        self._arrange(has_report=True)

    def _show_state(self, headline: str, text: str, *, busy: bool = False) -> None:
        self.title.setText(self.source.title)
        self.state.show_words(headline, text, busy=busy)
        self._arrange(has_report=False, busy=busy)

    def _show_empty(self, text: str) -> None:
        self._show_state("See what the model will see", text)

    def _arrange(self, *, has_report: bool, busy: bool = False) -> None:
        self.state.setVisible(not has_report)
        self.stop.setVisible(busy)
        for part in (self.tiles, self.use, self.chip):
            part.setVisible(has_report)
        self.desk.set_has_report(has_report)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override: where there is little height, the samples have it."""
        super().resizeEvent(event)
        is_low = self.height() < _LOW_HEIGHT
        self.tiles.set_low(is_low=is_low)
        self.desk.set_low(is_low=is_low)

    # ------------------------------------------------------------ files dropped here

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Qt override."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Qt override."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        for path in paths[:1]:
            if path.is_dir() and (path / "config.json").exists():
                self.source.model.setText(self._link.place.path_there(str(path)))
                self.look()
            else:
                self.source.take(str(path))
        event.acceptProposedAction()
