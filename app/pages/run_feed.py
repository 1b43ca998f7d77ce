"""One run as the host tells it: follows the link and keeps the series up to date."""

from __future__ import annotations

from functools import partial

import msgspec
from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from app.series import RunSeries
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Progress,
    Record,
    Refusal,
    RunSummary,
    Show,
    Step,
    Telemetry,
)


class RunFeed(QObject):
    """What is known of the run that is looked at.

    Signals:
        begun: another run is looked at; the series is new and empty.
        summary_changed: its new :class:`RunSummary`.
        measured: steps or telemetry were added.
        happened: an event was added (:class:`Record`); past ones come before ``caught_up``.
        caught_up: its whole past is there.
        progressed: :class:`Progress` of a phase without steps.
        described: all that the host said of it (dict), once and again after an outage.
        lost: it cannot be shown; why, for people.
    """

    begun = Signal()
    summary_changed = Signal(object)
    measured = Signal()
    happened = Signal(object)
    caught_up = Signal()
    progressed = Signal(object)
    described = Signal(object)
    lost = Signal(str)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self.run = ""
        self.series = RunSeries()
        self.summary: RunSummary | None = None
        self.is_caught_up = False
        self._is_followed = False
        link.connected.connect(self._on_connected)
        link.run_changed.connect(self._on_run_changed)
        link.run_removed.connect(self._on_run_removed)
        link.record_received.connect(self._on_record)
        link.columns_received.connect(self._on_columns)
        link.caught_up.connect(self._on_caught_up)
        link.progress_received.connect(self._on_progress)

    def look_at(self, run: str, summary: RunSummary | None = None) -> None:
        """Follow another run; the one before is let go.

        ``run`` may be all that the host takes for one (a prefix, ``last``); its reply tells the
        name. With a summary there is something to show at once.
        """
        if run == self.run:
            return
        if self._is_followed:
            self._link.unfollow(self.run)
        self.run, self.summary, self.series = run, None, RunSeries()
        self._is_followed = self.is_caught_up = False
        self.begun.emit()
        if summary is not None:
            self._adopt(summary)
        if run:
            self._ask_summary()

    def _ask_summary(self) -> None:
        pending = self._link.ask(Show, run=self.run)
        pending.replied.connect(partial(self._on_shown, self.run))
        pending.refused.connect(partial(self._on_show_refused, self.run))

    def _adopt(self, summary: RunSummary) -> None:
        if not self._is_followed:
            self._is_followed = True
            self.run = summary.run
            self._link.follow(self.run)
        self._on_run_changed(summary)

    def _on_connected(self, _data: object) -> None:
        if self.run:
            self._ask_summary()

    def _on_shown(self, asked: str, data: dict[str, object]) -> None:
        summary = summary_in(data)
        if summary is not None and asked == self.run:
            self._adopt(summary)
            self.described.emit(data)

    def _on_show_refused(self, asked: str, refusal: Refusal) -> None:
        if asked == self.run and refusal.code == "not_found":
            self.lost.emit(refusal.sentence)

    def _on_run_changed(self, summary: RunSummary) -> None:
        if summary.run == self.run:
            self.summary = summary
            self.summary_changed.emit(summary)

    def _on_run_removed(self, run: str) -> None:
        if run == self.run:
            self.lost.emit("This run was removed.")

    def _on_record(self, record: Record) -> None:
        if record.run != self.run or not self.series.add(record):
            return
        if isinstance(record, Step | Telemetry):
            self.measured.emit()
        else:
            self.happened.emit(record)

    def _on_columns(self, columns: Columns) -> None:
        if columns.run == self.run:
            self.series.add_columns(columns)
            self.measured.emit()

    def _on_caught_up(self, border: CaughtUp) -> None:
        if border.run == self.run:
            self.is_caught_up = True
            self.caught_up.emit()

    def _on_progress(self, progress: Progress) -> None:
        if progress.run in ("", self.run):
            self.progressed.emit(progress)


def summary_in(data: dict[str, object]) -> RunSummary | None:
    """The summary in the reply to :class:`Show`; None from a host that says it otherwise."""
    try:
        return msgspec.convert(data.get("summary"), RunSummary)
    except msgspec.ValidationError:
        return None
