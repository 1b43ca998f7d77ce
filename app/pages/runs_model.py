"""The list of runs as Qt models: one of all summaries, two of it by group, search and order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from app import words
from app.run_words import chip_of
from engine.contract.lifecycle import RESTING, State
from engine.contract.messages import RunSummary

SUMMARY = int(Qt.ItemDataRole.UserRole)
Index = QModelIndex | QPersistentModelIndex


class RunsModel(QAbstractListModel):
    """Every run's summary, one a row."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runs: list[RunSummary] = []
        self._rows: dict[str, int] = {}

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Qt override."""
        return 0 if parent.isValid() else len(self._runs)

    def data(self, index: Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        """Qt override: the summary itself, or a sentence for those who listen to the screen."""
        if not index.isValid():
            return None
        summary = self._runs[index.row()]
        if role == SUMMARY:
            return summary
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return spoken(summary)
        if role == Qt.ItemDataRole.ToolTipRole:
            about = f"{summary.name}: {summary.model} · {summary.kind} · {summary.dataset}"
            return f"{about}\n{summary.sentence}".rstrip()
        return None

    def reset(self, runs: list[RunSummary]) -> None:
        """Show these instead of what is there."""
        self.beginResetModel()
        self._runs = list(runs)
        self._rows = {summary.run: row for row, summary in enumerate(self._runs)}
        self.endResetModel()

    def put(self, summary: RunSummary) -> None:
        """Add a run, or show what has become of it."""
        row = self._rows.get(summary.run)
        if row is None:
            row = len(self._runs)
            self.beginInsertRows(QModelIndex(), row, row)
            self._runs.append(summary)
            self._rows[summary.run] = row
            self.endInsertRows()
        elif self._runs[row] != summary:
            self._runs[row] = summary
            self.dataChanged.emit(self.index(row), self.index(row))

    def remove(self, run: str) -> None:
        """The run is gone."""
        row = self._rows.get(run)
        if row is None:
            return
        self.beginRemoveRows(QModelIndex(), row, row)
        del self._runs[row]
        self._rows = {summary.run: at for at, summary in enumerate(self._runs)}
        self.endRemoveRows()

    def find(self, run: str) -> RunSummary | None:
        """What is known of a run."""
        row = self._rows.get(run)
        return None if row is None else self._runs[row]


def spoken(summary: RunSummary) -> str:
    """A run in one line."""
    steps = f"step {summary.step}" + (f" of {summary.max_steps}" if summary.max_steps else "")
    loss = f", loss {words.loss(summary.loss)}" if summary.loss is not None else ""
    return f"{summary.name}, {chip_of(summary)[0]}, {steps}{loss}, {summary.model}"


# ---------------------------------------------------------------- order

Key = Callable[[RunSummary], Any]

ORDERS: dict[str, tuple[Key, bool]] = {
    "Newest first": (lambda s: s.created_at, True),
    "Oldest first": (lambda s: s.created_at, False),
    "Name": (lambda s: s.name.casefold(), False),
    "State": (lambda s: chip_of(s)[0], False),
    "Progress": (lambda s: s.step / s.max_steps if s.max_steps else 0.0, True),
    "Lowest loss": (lambda s: float("inf") if s.loss is None else s.loss, False),
    "Longest": (lambda s: s.train_seconds, True),
    "Largest saves": (lambda s: s.bytes, True),
}
"""What the list can be sorted by: the value, and whether great ones come first."""


def is_now(summary: RunSummary) -> bool:
    """Whether a run trains or will by itself."""
    return summary.state not in RESTING


def _queue_order(summary: RunSummary) -> tuple[int, float]:
    place = summary.queue_place or 10_000 if summary.state is State.QUEUED else 0
    return place, -summary.created_at


class RunsGroup(QSortFilterProxyModel):
    """The runs that are under way (``now``), or those that rest, found and sorted."""

    def __init__(self, source: RunsModel, *, now: bool, parent: QObject | None = None) -> None:
        # Not the source's child: PySide6 6.11 crashes when the two are collected together.
        super().__init__(parent)
        self.is_now = now
        self._needles: list[str] = []
        self._key, self._descends = ORDERS["Newest first"]
        self.setSourceModel(source)
        self.sort(0)

    def search(self, text: str) -> None:
        """Keep the runs that have every word in name, model, data or state."""
        self.beginFilterChange()
        self._needles = text.casefold().split()
        self.endFilterChange()

    def order_by(self, name: str) -> None:
        """One of :data:`ORDERS`."""
        self._key, self._descends = ORDERS[name]
        self.invalidate()

    def summaries(self) -> list[RunSummary]:
        """What is shown, in its order."""
        return [self.index(row, 0).data(SUMMARY) for row in range(self.rowCount())]

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        """Qt override."""
        summary: RunSummary = self.sourceModel().index(row, 0, parent).data(SUMMARY)
        if is_now(summary) != self.is_now:
            return False
        s = summary
        text = f"{s.name} {s.model} {s.dataset} {s.kind} {chip_of(s)[0]} {s.run}".casefold()
        return all(needle in text for needle in self._needles)

    def lessThan(self, left: Index, right: Index) -> bool:
        """Qt override."""
        one, other = left.data(SUMMARY), right.data(SUMMARY)
        if self.is_now:
            return _queue_order(one) < _queue_order(other)
        first, second = self._key(one), self._key(other)
        if first == second:
            return bool(one.created_at > other.created_at)
        return bool(first > second if self._descends else first < second)
