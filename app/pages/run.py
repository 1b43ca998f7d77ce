"""The page of one run: joins what the host tells of it with the parts that show it."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from app.link import HostLink
from app.pages.run_actions import RunActions
from app.pages.run_body import RunBody
from app.pages.run_feed import RunFeed
from app.pages.run_header import RunHeader
from app.pages.run_pace import PaceKeeper
from app.pages.run_report import Reporter
from app.preferences import Preferences
from app.run_words import Entry, entry_of
from app.theme import Theme, Tokens
from app.widgets.notice import Notice
from app.widgets.parts import column, scrolled
from engine.contract.messages import Record, RunSummary

NUMBERS_MS = 250
"""How often the numbers may change; faster cannot be read."""
NUMBERS_ON_CPU_MS = 1000
"""The same where the run itself needs the processor."""
AGES_MS = 1000
LOW_PX = 620
"""Height below which the tiles are made small, so that the graphs are on the first screen."""
_AXIS_KEY = "run/axis"
PAST_MS = 500
"""How often the graphs are drawn while the past still comes in: it comes faster undrawn."""


class RunPage(QWidget):
    """Everything about one run.

    Signals:
        run_lost: the run is gone or cannot be shown; why, for people.
    """

    run_lost = Signal(str)

    def __init__(self, link: HostLink, theme: Theme, preferences: Preferences) -> None:
        super().__init__()
        self.setObjectName("page")
        self._link = link
        self._preferences = preferences
        self.feed = RunFeed(link, self)
        self.verbs = RunActions(link, self)
        self.reporter = Reporter(link, self)
        self.header = RunHeader(theme.tokens)
        self.notice = Notice()
        self.body = RunBody(theme.tokens)
        self.pace = PaceKeeper(link, self.body.pace, self)
        if preferences.text(_AXIS_KEY) == "step":
            self.body.board.set_axis("step")
        self.body.setObjectName("body")
        area = scrolled(self.body)
        page = column(self.header, self.notice, area, margins=(24, 18, 24, 20), spacing=14)
        page.setStretch(2, 1)
        self.setLayout(page)
        # What the parts would like to have must not make the window grow.
        self.setMinimumSize(480, 320)
        self._numbers = QTimer(self, singleShot=True)
        self._ages = QTimer(self, interval=AGES_MS)
        self._past = QTimer(self, singleShot=True, interval=PAST_MS)
        self._new_entries: list[Entry] = []
        theme.changed.connect(self._on_theme_changed)
        self._connect_parts()

    def _connect_parts(self) -> None:
        self._numbers.timeout.connect(self._on_numbers_due)
        self._ages.timeout.connect(self._on_numbers_due)
        self._past.timeout.connect(self.body.board.note_change)
        self.feed.begun.connect(self._on_begun)
        self.feed.summary_changed.connect(self._on_summary_changed)
        self.feed.measured.connect(self._on_measured)
        self.feed.happened.connect(self._on_happened)
        self.feed.caught_up.connect(self._on_caught_up)
        self.feed.progressed.connect(self.body.show_progress)
        self.feed.described.connect(self._on_described)
        self.feed.lost.connect(self.run_lost)
        self.header.wanted.connect(self._on_wanted)
        self.verbs.said.connect(self.notice.say)
        self.reporter.said.connect(self.notice.say)
        self.body.failure.wanted.connect(self._on_way_out_wanted)
        self.body.comeback.wanted.connect(self._on_wanted)
        self.body.board.bar.axis_chosen.connect(self._on_axis_chosen)

    def show_run(self, run: str, summary: RunSummary | None = None) -> None:
        """Look at a run; ``summary`` is what the list knows of it, to show something at once."""
        self.feed.look_at(run, summary)

    # ------------------------------------------------------------ what the host tells

    def _on_begun(self) -> None:
        self.notice.hide()
        self._new_entries.clear()
        self.body.clear(self.feed.series)
        self.pace.look_at("")

    def _on_described(self, data: dict[str, object]) -> None:
        self.pace.look_at(self.feed.run)
        self.pace.take(data)

    def _on_summary_changed(self, summary: RunSummary) -> None:
        if self.body.log.folder != summary.folder:
            self.body.log.show_log_of(summary.folder, is_here=self._link.place.kind == "this")
        self.header.show_summary(summary)
        self._show_state()
        self._plan_numbers()

    def _on_measured(self) -> None:
        self._plan_drawing()
        self._plan_numbers()

    def _on_happened(self, record: Record) -> None:
        entry = entry_of(record)
        if entry is not None:
            self._new_entries.append(entry)
        self._plan_drawing()
        self._plan_numbers()

    def _on_caught_up(self) -> None:
        self.body.board.note_change()
        self._show_state()
        self._on_numbers_due()

    # ------------------------------------------------------------ showing it

    def _show_state(self) -> None:
        if self.feed.summary is not None:
            complete = self.feed.is_caught_up
            self.body.show_state(self.feed.summary, self.feed.series, is_complete=complete)
            # One way on is the one to take; where there is a fix, it is that.
            self.header.set_resume_is_primary(not self.body.failure.has_fix)

    def _plan_drawing(self) -> None:
        if self.feed.is_caught_up:
            self.body.board.note_growth()
        elif not self._past.isActive():
            self._past.start()

    def _plan_numbers(self) -> None:
        if self.isVisible() and self.feed.is_caught_up and not self._numbers.isActive():
            on_cpu = self.body.board.frames.is_on_cpu
            self._numbers.start(NUMBERS_ON_CPU_MS if on_cpu else NUMBERS_MS)

    def _on_numbers_due(self) -> None:
        if self.feed.summary is not None:
            self.body.show_numbers(self.feed.summary, self.feed.series)
        if self._new_entries:
            self.body.activity.add(self._new_entries)
            self._new_entries.clear()

    def _on_wanted(self, verb: str) -> None:
        if self.feed.summary is not None:
            self.verbs.do(verb, self.feed.summary)

    def _on_way_out_wanted(self, verb: str) -> None:
        summary, failure = self.feed.summary, self.body.failure.failure
        if summary is not None and verb == "report":
            self.reporter.ask(summary)
        elif summary is not None and failure is not None:
            self.verbs.fix(summary, failure)

    def _on_axis_chosen(self, axis: str) -> None:
        self._preferences.set_text(_AXIS_KEY, axis)

    def _on_theme_changed(self, tokens: Tokens) -> None:
        self.header.set_tokens(tokens)
        self.body.set_tokens(tokens)

    def showEvent(self, event: QShowEvent) -> None:
        """Qt override: catch up, and let ages grow."""
        super().showEvent(event)
        self.setFocus()
        self._on_numbers_due()
        self._ages.start()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self.body.set_low(is_low=self.height() < LOW_PX)

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override."""
        super().hideEvent(event)
        self._ages.stop()
