"""The drawing area of a graph: a view with its two axes, and nothing else.

pyqtgraph's own ``PlotItem`` builds a form of settings, two more axes and a title for each plot,
which nobody here can see: almost half of the time that a graph takes to build.
"""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QGraphicsGridLayout, QSizePolicy


class PlaceBox(pg.ViewBox):  # type: ignore[misc]
    """Wheel and drag move along the axis only; a double click shows everything."""

    fit_wanted = Signal()

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.setMouseEnabled(x=True, y=False)
        self.disableAutoRange()
        self.setDefaultPadding(0)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Qt override."""
        self.fit_wanted.emit()
        event.accept()


class Plot(pg.GraphicsView):  # type: ignore[misc]
    """A widget that shows ``box`` with an axis below and one at its left."""

    def __init__(self, box: PlaceBox, bottom: pg.AxisItem, left: pg.AxisItem) -> None:
        super().__init__()
        self.enableMouse(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        frame = pg.GraphicsWidget()
        grid = QGraphicsGridLayout(frame)
        grid.setContentsMargins(1, 1, 1, 1)
        grid.setSpacing(0)
        grid.addItem(box, 0, 1)
        grid.addItem(left, 0, 0)
        grid.addItem(bottom, 1, 1)
        grid.setRowStretchFactor(0, 100)
        grid.setColumnStretchFactor(1, 100)
        for axis in (bottom, left):
            axis.linkToView(box)
        self.setCentralItem(frame)
