"""The lower part of the Data page: a sample, and beside it lengths and findings or the template's
editor."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.widgets.parts import column, row


class Desk(QWidget):
    """Shows what there is: findings and editor share a place."""

    def __init__(
        self, samples: QWidget, lengths: QWidget, findings: QWidget, editor: QWidget
    ) -> None:
        super().__init__()
        self._lengths = lengths
        self._side = QWidget()
        self._side.setMaximumWidth(findings.maximumWidth())
        side = column(lengths, findings, spacing=12)
        side.setStretch(1, 1)
        self._side.setLayout(side)
        self._has_report = self._is_editing = False
        line = row(samples, self._side, editor, spacing=12)
        line.setStretch(0, 7)
        line.setStretch(1, 3)
        line.setStretch(2, 7)
        self.setLayout(line)

    def set_has_report(self, has_report: bool) -> None:
        """Whether there is data to show; a template can be edited without."""
        self._has_report = has_report
        self.setVisible(has_report or self._is_editing)

    def set_low(self, *, is_low: bool) -> None:
        """Whether there is little height; then findings have it."""
        self._lengths.setHidden(is_low)

    def set_editing(self, is_editing: bool) -> None:
        """Whether the editor is open."""
        self._is_editing = is_editing
        self._side.setHidden(is_editing)
        self.setVisible(self._has_report or is_editing)
