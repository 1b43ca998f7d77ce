"""The line below the graphs: which axis, what the marks mean, and the way back to the whole run."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.series import Axis
from app.widgets.choice import Choice
from app.widgets.parts import button, elided, label, row

_LEGEND = (("❘ save", "good"), ("❘ evaluation", "info"), ("┆ resume", "warning"))
LEGEND_FROM = 560
"""Width in pixels from which there is room for the words of the marks."""


class GraphBar(QWidget):
    """Chooses the axis and what is followed.

    Signals:
        axis_chosen: ``time`` or ``step``.
        live_chosen: whether the newest point is to be kept in view.
        fit_wanted: the person wants to see everything.
    """

    axis_chosen = Signal(str)
    live_chosen = Signal(bool)
    fit_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.time = button("Time", "quiet", tip="Show how long the run has taken")
        self.step = button("Steps", "quiet", tip="Show the number of the step")
        self.live = button("Live", "quiet", tip="Keep the newest point in view")
        self.fit = button("Show all", "quiet", tip="Show the whole run (double click)")
        self._axes = Choice(self, self.time, self.step)
        self.time.setChecked(True)
        self.live.setCheckable(True)
        self.live.setChecked(True)
        self._axes.chosen.connect(self._on_axis_chosen)
        self.live.clicked.connect(self.live_chosen)
        self.fit.clicked.connect(self.fit_wanted)
        self.place = elided("small")
        self.place.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._legend = [label(word, "small", tone=tone) for word, tone in _LEGEND]
        line = row(self.time, self.step, self.place, *self._legend, self.fit, self.live)
        line.setStretch(2, 1)
        self.setLayout(line)

    def show_axis(self, axis: Axis) -> None:
        """Mark the axis that is shown."""
        (self.time if axis == "time" else self.step).setChecked(True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override: what the marks mean gives way to the buttons and the place."""
        super().resizeEvent(event)
        for word in self._legend:
            word.setVisible(self.width() >= LEGEND_FROM)

    def _on_axis_chosen(self) -> None:
        self.axis_chosen.emit("time" if self.time.isChecked() else "step")
