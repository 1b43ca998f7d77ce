"""What is odd about the data, and what to do."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app import finding_words
from app.widgets.flow import Flow
from app.widgets.parts import Card, button, column, label, scrolled
from engine.contract.dataset_report import DatasetReport, RowFinding

WIDTH, LEAST_WIDTH = 330, 200


class FindingsCard(Card):
    """Lists findings, the gravest first.

    Signals:
        rows_wanted: rows of the dataset to go through (list of int; the first is 0).
        patch_wanted: settings to change (dict).
    """

    rows_wanted = Signal(object)
    patch_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__("Findings")
        self.setMinimumWidth(LEAST_WIDTH)
        self.setMaximumWidth(WIDTH)
        self._list = column(spacing=14)
        self._list.addStretch(1)
        body = QWidget()
        body.setObjectName("body")
        body.setLayout(self._list)
        self.column.addWidget(scrolled(body, sideways=False), 1)
        self.items: list[QWidget] = []

    def show_report(self, report: DatasetReport) -> None:
        """Show the findings of this one."""
        for item in self.items:
            item.hide()
            item.deleteLater()
        self.items = [self._item(found, report) for found in report.findings]
        if not self.items:
            self.items = [label("Nothing odd was found.", "muted", wrap=True)]
        for place, item in enumerate(self.items):
            self._list.insertWidget(place, item)

    def _item(self, finding: RowFinding, report: DatasetReport) -> QWidget:
        item = QWidget()
        title = label(finding.title, "verdict", tone=finding_words.tone_of(finding), wrap=True)
        lines = column(title, spacing=4)
        if text := finding_words.finding_text(finding):
            lines.addWidget(label(text, "muted", wrap=True))
        if named := finding_words.rows_named(finding, report):
            lines.addWidget(label(named, "muted", wrap=True))
        buttons = []
        if finding.rows:
            show = button("Show rows", "small")
            show.clicked.connect(
                partial(self.rows_wanted.emit, finding_words.rows_to_show(finding))
            )
            buttons.append(show)
        for change in finding_words.changes_of(finding):
            made = button(change.text, "small", tip=change.tip)
            made.clicked.connect(partial(self.patch_wanted.emit, change.patch))
            buttons.append(made)
        if buttons:
            lines.addLayout(Flow(*buttons))
        item.setLayout(lines)
        return item
