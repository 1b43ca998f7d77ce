"""The Data page: wires what is looked at to what is shown of it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QWidget

from app import data_words, finding_words, raw_words
from app.form import Draft
from app.inspector import Inspector
from app.link import HostLink
from app.mixture import is_mixture
from app.pages.data import standing
from app.pages.data.desk import Desk
from app.pages.data.drops import DropPage
from app.pages.data.findings_card import FindingsCard
from app.pages.data.first_look import FirstLook
from app.pages.data.naming_card import NamingCard
from app.pages.data.parts_list import PartsList
from app.pages.data.sample_card import SampleCard
from app.pages.data.source_bar import SourceBar
from app.pages.data.standing import Standing
from app.pages.data.state_card import StateCard
from app.pages.data.subject import Subject
from app.pages.data.template_desk import TemplateDesk
from app.pages.new_run.starter import as_the_engine_reads
from app.preferences import Preferences
from app.theme import Theme, Tokens
from app.widgets.length_bars import LengthBars
from app.widgets.parts import Card, Chip, button, column, label, row, set_look
from app.widgets.tiles import TileRow
from engine.contract.dataset_report import DatasetReport
from engine.contract.messages import Complaint, Inspected, Refusal

_LOW_HEIGHT = 680
_USE = "Fill it into New run"


class DataPage(DropPage):
    """Shows what a model will see of a dataset: its first rows at once, and with a model every
    token.

    Signals:
        use_wanted: a :class:`Draft` with this data, to make a run of.
    """

    use_wanted = Signal(object)

    def __init__(
        self, link: HostLink, preferences: Preferences, theme: Theme, parent: QWidget | None = None
    ) -> None:
        super().__init__(link, parent)
        self.setObjectName("page")
        self.subject = Subject()
        self._against: tuple[list[Complaint], str, str] | None = None
        """What was said against what was asked for last, with its headline, and in one sentence."""
        self._said = standing.EMPTY
        self.report: DatasetReport | None = None
        self.inspector = Inspector(link, self)
        self._build(theme.tokens, preferences)
        self._connect(theme)
        self._show(standing.EMPTY)

    # ------------------------------------------------------------ building

    def _build(self, tokens: Tokens, preferences: Preferences) -> None:
        self.title = label("Data", "title")
        self.chip = Chip()
        self.stop = button("Stop", tip="Look no further; the first rows stay")
        self.use = button("Use in a run", "primary", tip=_USE)
        self.source = SourceBar(self._link, preferences)
        self.state = StateCard(self._link)
        self.first = FirstLook(self._link, tokens, self)
        self.parts = PartsList()
        self.naming = NamingCard(self._link)
        self.tiles = TileRow()
        self.samples = SampleCard(tokens)
        self.lengths = LengthBars(tokens)
        self.findings = FindingsCard()
        self.templates = TemplateDesk(self._link, preferences, self.samples, tokens, self)
        lengths = Card("Length in tokens")
        lengths.column.addWidget(self.lengths)
        self.desk = Desk(self.samples, lengths, self.findings, self.templates.card, self.first.card)
        top = row(self.title, self.chip, self.naming.button, None, self.stop, self.use, spacing=12)
        page = column(
            top, self.notice, self.source, self.parts, self.templates.bar, self.naming, self.state,
            self.tiles, self.desk,
            margins=(24, 20, 24, 20), spacing=13,
        )  # fmt: skip
        page.addStretch(0)
        page.setStretch(page.indexOf(self.desk), 1)
        self.setLayout(page)

    def _connect(self, theme: Theme) -> None:
        self.dropped.connect(self._on_dropped)
        self.source.look_wanted.connect(self.look)
        self.source.patch_wanted.connect(self._on_reading_wanted)
        self.stop.clicked.connect(self._on_stop)
        self.use.clicked.connect(self._on_use)
        self.samples.place_wanted.connect(self.inspector.show_place)
        self.samples.row_wanted.connect(self.inspector.show_row)
        self.samples.search_wanted.connect(self.inspector.search)
        self.findings.rows_wanted.connect(self.samples.go_through)
        self.findings.patch_wanted.connect(self._on_patch_wanted)
        self.state.patch_wanted.connect(self._on_reading_wanted)
        self.naming.patch_wanted.connect(self._on_reading_wanted)
        self.parts.patch_wanted.connect(self._on_reading_wanted)
        self.templates.patch_wanted.connect(self._on_reading_wanted)
        self.templates.editing_changed.connect(self.desk.set_editing)
        self.first.told.connect(self._on_told)
        self.inspector.begun.connect(self._on_begun)
        self.inspector.advanced.connect(self.state.advance)
        self.inspector.ended.connect(self._on_ended)
        self.inspector.refused.connect(self._on_refused)
        self.inspector.shown.connect(self.samples.show_sample)
        self.inspector.shown.connect(self.templates.on_shown)
        self.inspector.unshown.connect(self.samples.show_none)
        self.inspector.found.connect(self.samples.show_found)
        for part in (self.samples.view, self.templates.card, self.lengths, self.first.card):
            theme.changed.connect(part.set_tokens)

    # ------------------------------------------------------------ looking

    def show_draft(self, draft: Draft) -> None:
        """Look at the data of a run that is being made."""
        self.subject.start(draft)
        self.source.fill(draft)
        self.look()

    def look(self) -> None:
        """Look at what is filled in; says what is missing."""
        draft = self.subject.draft_of(self.source.filled)
        if draft is not None:
            self._look_at(draft)
            return
        self.source.path.setFocus()
        self.inspector.stop()
        self.subject.wanted, self._against = Draft(), None
        self.first.look(Draft())
        self._show(standing.EMPTY)

    def _look_at(self, draft: Draft) -> None:
        going = (self.parts, self.naming, self.state, self.desk)
        if (focused := self.focusWidget()) and any(part.isAncestorOf(focused) for part in going):
            # A button that goes would leave the keyboard to whatever is next: the rail's pages.
            self.source.look.setFocus()
        self.subject.wanted, self._against = draft, None
        self.source.show_reading(draft)
        self.first.look(draft)
        if draft.get("model.path"):
            self.inspector.start(as_the_engine_reads(draft.raw(), self._link.place))
            return
        self.inspector.stop()
        self.report = None
        self.source.model.setFocus()
        self.templates.show_draft(draft)
        self._on_told()

    # ------------------------------------------------------------ what the person wants

    def _on_dropped(self, model: str, files: list[str]) -> None:
        """One file takes the place of one; several are learnt from together, as on New run."""
        if model:
            self.source.set_model(model)
        if not files:
            self.look()
            return
        if len(files) == 1 and not is_mixture(self.subject.wanted):
            self.source.take(files[0])
            return
        found = [self._link.place.path_there(path) for path in files]
        if again := self.subject.known_of(found):
            self.notice.say(standing.known_already(again), "info")
        draft = self.subject.with_files(found, self.source.filled)
        self.source.fill(draft)
        self._look_at(draft)

    def _on_stop(self) -> None:
        self.inspector.stop()
        self._show(standing.STOPPED)

    def _on_patch_wanted(self, patch: dict[str, Any]) -> None:
        """What is shown is to be mended."""
        self._look_at(self.subject.good.with_patch(patch))

    def _on_reading_wanted(self, patch: dict[str, Any]) -> None:
        """What is filled in is to be read in another way."""
        draft = self.subject.changed(patch, self.source.filled)
        if draft is None:  # There is nothing to look at yet.
            self.templates.show_draft(self.subject.good)
            return
        self.source.fill(draft)
        if draft.get("dataset.path") or is_mixture(draft):
            self._look_at(draft)
        else:
            self.subject.start(draft)
            self.look()

    def _on_use(self) -> None:
        # Without a model there is no report that could show it to be good.
        self.use_wanted.emit(self.subject.good if self.report else self.subject.wanted)

    # ------------------------------------------------------------ what arrives

    def _on_begun(self) -> None:
        self.report = None
        self._show(Standing("Looking at the data …", "Reading rows and making tokens of them."))

    def _on_told(self) -> None:
        """More is known of the first rows."""
        if self.inspector.is_busy or self.report is not None:
            self._arrange()
        elif self._against is not None:
            self._complain(*self._against)
        elif not self.subject.wanted.get("model.path"):
            self._show(standing.without_model(self.subject.wanted, self.first.parts))
        else:
            self._arrange()

    def _on_refused(self, refusal: Refusal) -> None:
        if refusal.code == "not_found":
            self.look()
            return
        self._complain(refusal.complaints, "This cannot be looked at", refusal.sentence)

    def _on_ended(self, message: Inspected) -> None:
        if message.report is None:
            self._complain([message.complaint] if message.complaint else [])
            return
        self.subject.accept()
        self.show_report(message.report)

    def _complain(
        self, complaints: list[Complaint], headline: str = "This cannot be learnt from",
        sentence: str = "",
    ) -> None:  # fmt: skip
        self._against = (complaints, headline, sentence)
        self.templates.show_draft(self.subject.good)
        draft, parts = self.subject.wanted, self.first.parts
        self._show(standing.refused(headline, draft, parts, complaints, sentence))

    # ------------------------------------------------------------ showing

    def show_report(self, report: DatasetReport) -> None:
        """Show this one."""
        good = self.subject.good
        self.report = report
        self.title.setText(self.subject.title)
        tone = "warning" if finding_words.in_the_way(report) else "good"
        self.chip.show_word(data_words.format_chip(report), tone)
        self.tiles.show_texts(data_words.tiles_of(report))
        self.lengths.show_report(report)
        self.findings.show_report(report)
        self.samples.show_report(report)
        self.templates.show_draft(good, report.format)
        self._arrange()

    def _show(self, said: Standing) -> None:
        """Say how things stand while there is no report."""
        self.report, self._said = None, said
        self.title.setText(self.subject.title)
        self.state.show_standing(said, busy=self.inspector.is_busy)
        if said.asks_columns and (self.first.facts or self.first.refusal):
            self.state.ask_for_columns(self.subject.wanted, said.problem, self.first.facts)
        self._arrange()

    def _arrange(self) -> None:
        has_report, facts = self.report is not None, self.first.facts
        is_asked = not has_report and not self.state.columns.isHidden()
        self.naming.know(self.subject.wanted, facts, is_asked=is_asked)
        self.parts.show_draft(self.subject.wanted, self.first.parts)
        self.state.setVisible(not has_report)
        self.tiles.setVisible(has_report)
        self.stop.setVisible(self.inspector.is_busy)
        self.use.setVisible(has_report or self._said.is_usable)
        # What is to be done next stands out alone.
        is_refused = not has_report and self._said.is_refused
        reason = finding_words.in_the_way(self.report) if self.report else ""
        set_look(self.source.look, "kind", "primary" if reason or not has_report else "")
        set_look(self.use, "kind", "" if reason or is_refused else "primary")
        self.use.setToolTip(f"No run can be started with it: {reason}" if reason else _USE)
        is_one = bool(facts) and not is_mixture(self.subject.wanted)
        self.chip.setVisible(has_report or is_one)
        self.desk.set_has(report=has_report, rows=self.first.card.has_rows)
        if is_one and not has_report:
            chosen = str(self.subject.wanted.get("dataset.format") or "auto")
            word, tone = raw_words.format_of(facts, chosen)
            # What it looks like may be sure, and nothing be learnt of it all the same.
            is_good = tone == "good" and not is_refused
            self.chip.show_word(word, tone if tone != "good" or is_good else "warning")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override: where there is little height, the samples have it."""
        super().resizeEvent(event)
        is_low = self.height() < _LOW_HEIGHT
        self.tiles.set_low(is_low=is_low)
        self.desk.set_low(is_low=is_low)
