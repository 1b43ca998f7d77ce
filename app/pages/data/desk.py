"""The lower part of the Data page: a sample, and beside it lengths and findings or the template's
editor; until there are samples the first rows."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.widgets.parts import column, row


class Desk(QWidget):
    """Shows what there is: findings and editor share a place."""

    def __init__(
        self, samples: QWidget, lengths: QWidget, findings: QWidget, editor: QWidget, rows: QWidget
    ) -> None:
        super().__init__()
        self._samples, self._rows = samples, rows
        self._lengths = lengths
        self._side = QWidget()
        self._side.setMaximumWidth(findings.maximumWidth())
        side = column(lengths, findings, spacing=12)
        side.setStretch(1, 1)
        self._side.setLayout(side)
        self._has_report = self._has_rows = self._is_editing = False
        line = row(samples, self._side, editor, rows, spacing=12)
        line.setStretch(0, 7)
        line.setStretch(1, 3)
        line.setStretch(2, 7)
        line.setStretch(3, 1)
        self.setLayout(line)
        self._arrange()

    def set_has(self, *, report: bool, rows: bool) -> None:
        """Whether there are samples to show, or rows; a template can be edited without."""
        self._has_report, self._has_rows = report, rows
        self._arrange()

    def set_low(self, *, is_low: bool) -> None:
        """Whether there is little height; then findings have it."""
        self._lengths.setHidden(is_low)

    def set_editing(self, is_editing: bool) -> None:
        """Whether the editor is open."""
        self._is_editing = is_editing
        self._arrange()

    def _arrange(self) -> None:
        has_samples = self._has_report or self._is_editing
        self._samples.setVisible(has_samples)
        self._side.setVisible(self._has_report and not self._is_editing)
        self._rows.setVisible(self._has_rows and not has_samples)
        self.setVisible(has_samples or self._has_rows)
