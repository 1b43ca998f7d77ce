"""The parts of a run's page below its header, and what each of them shows."""

from __future__ import annotations

import time

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QProgressBar, QSizePolicy, QStackedWidget, QWidget

from app import words
from app.failure_words import failure_of
from app.run_words import busy_with
from app.series import RunSeries
from app.theme import Tokens
from app.tile_words import tiles_of
from app.widgets.activity import ActivityList
from app.widgets.certificate_card import CertificateCard
from app.widgets.comeback_banner import ComebackBanner
from app.widgets.failure_card import FailureCard
from app.widgets.graph_board import GraphBoard
from app.widgets.log_card import LogCard
from app.widgets.pace_card import PaceCard
from app.widgets.parts import Card, button, column, label, row
from app.widgets.tiles import TileRow
from engine.contract.messages import Progress, RunSummary

ACTIVITY_WIDTH = 292
NARROW_ACTIVITY_WIDTH = 220
NARROW_BELOW = 860


class RunBody(QWidget):
    """Tiles, failure, progress, graphs, activity, pace and log of a run."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tiles = TileRow()
        self.comeback = ComebackBanner()
        self.failure = FailureCard()
        self.board = GraphBoard(tokens)
        self.activity = ActivityList(tokens)
        self.certificate = CertificateCard(tokens)
        self.pace = PaceCard(tokens)
        self.log = LogCard()
        self._build_progress()
        self._build_waiting()
        self._arrange()
        self.clear()
        self.log_button.toggled.connect(self._on_log_toggled)
        self.log.close_button.clicked.connect(self.log_button.toggle)

    # ------------------------------------------------------------ building

    def _build_progress(self) -> None:
        self.busy = Card()
        self.busy.column.setContentsMargins(16, 10, 16, 12)
        self.busy_text = label("", "muted")
        self.busy_count = label("", "aside")
        self.progress = QProgressBar(textVisible=False)
        self.progress.setAccessibleName("Progress")
        self.busy.column.addLayout(row(self.busy_text, None, self.busy_count))
        self.busy.column.addWidget(self.progress)
        self.busy.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def _build_waiting(self) -> None:
        """What stands in the graphs' place before there is anything to draw."""
        self._waiting = Card()
        self._waiting_text = label("", "empty")
        self._waiting.column.addStretch(1)
        self._waiting.column.addLayout(row(None, self._waiting_text, None))
        self._waiting.column.addStretch(1)

    def _arrange(self) -> None:
        self._graphs = QStackedWidget()
        self._graphs.addWidget(self._waiting)
        self._graphs.addWidget(self.board)
        middle = column(self.comeback, self.failure, self.busy, self._graphs, self.log, spacing=12)
        middle.setStretch(3, 3)
        middle.setStretch(4, 1)
        self._activity = self._activity_card()
        self._side = QWidget()
        side = column(self._activity, self.certificate, self.pace, spacing=12)
        side.setStretch(0, 1)
        self._side.setLayout(side)
        self._side.setFixedWidth(ACTIVITY_WIDTH)
        lower = row(middle, self._side, spacing=12)
        lower.setStretch(0, 1)
        self._page = column(self.tiles, lower, spacing=14)
        self._page.setStretch(1, 1)
        self.setLayout(self._page)

    def _activity_card(self) -> Card:
        card = Card("Activity")
        self.log_button = button("Show log")
        self.log_button.setCheckable(True)
        card.column.addSpacing(4)
        card.column.addWidget(self.activity, 1)
        card.column.addWidget(self.log_button)
        return card

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        is_narrow = self.width() < NARROW_BELOW
        self._side.setFixedWidth(NARROW_ACTIVITY_WIDTH if is_narrow else ACTIVITY_WIDTH)

    def heightForWidth(self, width: int) -> int:
        """Qt override: what a scroll area has to give. Graphs would like to be high, and with lines
        that wrap beside them Qt would ask for that."""
        return self._page.minimumHeightForWidth(width)

    def minimumSizeHint(self) -> QSize:
        """Qt override: the same for the width there is, not for lines as narrow as can be."""
        least = self._page.minimumSize()
        if self._page.hasHeightForWidth():
            least.setHeight(self.heightForWidth(max(self.width(), least.width())))
        return least

    # ------------------------------------------------------------ showing

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self.board.set_tokens(tokens)
        self.activity.set_tokens(tokens)
        self.certificate.set_tokens(tokens)
        self.pace.set_tokens(tokens)

    def set_low(self, *, is_low: bool) -> None:
        """In a window of little height the graphs come first."""
        self.tiles.set_low(is_low=is_low)
        self._page.setSpacing(8 if is_low else 14)

    def clear(self, series: RunSeries | None = None) -> None:
        """Show another run, of which nothing is known yet."""
        self.board.show_series(series or RunSeries())
        self.activity.show_entries([])
        self.certificate.show_certificate(None)
        self.comeback.hide()
        self.failure.hide()
        self.busy.hide()
        self.log_button.setChecked(False)
        self.log.hide()
        self._waiting_text.setText("Reading the run…")
        self._graphs.setCurrentWidget(self._waiting)

    def show_numbers(self, summary: RunSummary, series: RunSeries) -> None:
        """Tiles, what a resume was found to be, and the graphs once there is something to draw."""
        self.tiles.show_texts(tiles_of(summary, series, time.time()))
        found = series.certificate
        is_of_now = found is not None and found.attempt == summary.attempt
        self.certificate.show_certificate(found if is_of_now else None)
        has_points = bool(len(series.steps) or len(series.telemetry))
        self._graphs.setCurrentWidget(self.board if has_points else self._waiting)

    def show_state(self, summary: RunSummary, series: RunSeries, *, is_complete: bool) -> None:
        """What the run is busy with, or why it ended before its time."""
        self.comeback.show_summary(summary)
        busy = busy_with(summary)
        no_graphs = "No step was made." if is_complete else "…"
        self._waiting_text.setText("The graphs begin with the first step." if busy else no_graphs)
        if not busy:
            self._stop_progress()
        elif self.busy_text.text() != busy:
            self._begin_progress(busy)
        failure = failure_of(summary, series) if is_complete else None
        if failure is not None:
            self.failure.show_failure(failure)
        self._share_room(has_failure=failure is not None)
        self.failure.setVisible(failure is not None)

    def show_progress(self, progress: Progress) -> None:
        """How far a phase without steps is."""
        self.progress.setVisible(bool(progress.total))
        self.progress.setRange(0, 1000)
        share = progress.done / progress.total if progress.total else 0.0
        self.progress.setValue(round(1000 * min(1.0, share)))
        total = f" of {words.count(progress.total)}" if progress.total else ""
        self.busy_count.setText(f"{words.count(progress.done)}{total} {progress.unit}".rstrip())

    def _on_log_toggled(self, is_on: bool) -> None:
        self._share_room(has_failure=not self.failure.isHidden())
        self.log.setVisible(is_on)

    def _share_room(self, *, has_failure: bool) -> None:
        self.board.set_compact(has_failure or self.log_button.isChecked())

    def _begin_progress(self, busy: str) -> None:
        self.busy_text.setText(busy)
        self.busy_count.setText("")
        self.progress.hide()
        self.busy.show()

    def _stop_progress(self) -> None:
        self.busy_text.setText("")
        self.busy.hide()
