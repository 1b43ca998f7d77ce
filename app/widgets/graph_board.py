"""The graphs of a run on one linked axis.

The board owns the axis: which stretch is shown, whether it follows the newest point, and when to
draw. What a person does is drawn at once, what was measured once or twice a second, since the
processor may be training. Drawing is cut into pieces that keep the window answering, and left out
altogether while nobody can see it.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QGridLayout, QWidget

from app import words
from app.series import Axis, RunSeries
from app.theme import Tokens
from app.widgets.axes import time_word
from app.widgets.frames import Frames
from app.widgets.graph import Graph
from app.widgets.graph_bar import GraphBar
from app.widgets.graph_marks import marks_of
from app.widgets.graph_specs import (
    CARD_MEMORY,
    CPU_BUSY,
    GIB,
    GPU_BUSY,
    GRAD_NORM,
    LEARNING_RATE,
    LOSS,
    PROCESS_MEMORY,
    STEP_TIME,
)
from app.widgets.parts import column
from app.widgets.stretch import Stretch

DRAW_BUDGET_SECONDS = 0.012
"""Once it is used up, the other graphs wait for the next turn of the event loop."""
SMALL_FROM = 4
"""The graphs from here on are the small ones."""


class GraphBoard(QWidget):
    """Six graphs that are moved, zoomed and read together."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._series = RunSeries()
        self.axis: Axis = "time"
        self.stretch = Stretch()
        self._cursor: float | None = None
        self._due: list[Graph] = []
        self.frames = Frames(self)
        self.frames.due.connect(self._on_frame)
        self.graphs: list[Graph] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(12)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._has_gpu: bool | None = None
        self._is_compact = False
        self.bar = GraphBar()
        self.bar.axis_chosen.connect(self.set_axis)
        self.bar.live_chosen.connect(self._on_live_chosen)
        self.bar.fit_wanted.connect(self.fit)
        self.setLayout(column(self._grid, self.bar, spacing=8))
        self._build_graphs(has_gpu=False)

    # ------------------------------------------------------------ building

    def _build_graphs(self, *, has_gpu: bool) -> None:
        self._has_gpu = has_gpu
        self.frames.is_on_cpu = not has_gpu
        memory, busy = (CARD_MEMORY, GPU_BUSY) if has_gpu else (PROCESS_MEMORY, CPU_BUSY)
        for old in self.graphs:
            self._grid.removeWidget(old)
            old.deleteLater()
        specs = (LOSS, memory, STEP_TIME, busy, LEARNING_RATE, GRAD_NORM)
        self.graphs = [Graph(spec, self._tokens) for spec in specs]
        for place, graph in enumerate(self.graphs):
            self._grid.addWidget(graph, place // 2, place % 2)
            graph.set_axis(self.axis)
            graph.range_moved.connect(self._on_range_moved)
            graph.fit_wanted.connect(self.fit)
            graph.cursor_moved.connect(self._on_cursor_moved)
        share_room(self._grid, self.graphs, is_compact=self._is_compact)
        self.note_change()

    # ------------------------------------------------------------ what the page uses

    def show_series(self, series: RunSeries) -> None:
        """Show another run."""
        self._series = series
        self._cursor = None
        self.fit()

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        for graph in self.graphs:
            graph.set_tokens(tokens)
        self.note_change()

    def note_change(self) -> None:
        """What is shown has changed: draw soon."""
        if can_be_seen(self):
            self.frames.want_soon()

    def note_growth(self) -> None:
        """The series has grown: draw when it is time to."""
        if can_be_seen(self):
            self.frames.want_in_time()

    def fit(self) -> None:
        """Show the whole run and follow it."""
        self.stretch.show_all()
        self._show_following()

    def set_compact(self, is_compact: bool) -> None:
        """Leave the two small graphs out, where something else needs the room."""
        if is_compact != self._is_compact:
            self._is_compact = is_compact
            share_room(self._grid, self.graphs, is_compact=is_compact)
            self.note_change()

    def set_axis(self, axis: Axis) -> None:
        """Show everything over time or over steps."""
        self.axis = axis
        self.bar.show_axis(axis)
        for graph in self.graphs:
            graph.set_axis(axis)
        self.fit()

    # ------------------------------------------------------------ drawing

    def _on_frame(self) -> None:
        if not can_be_seen(self):
            return
        if self._series.has_gpu != self._has_gpu and len(self._series.telemetry):
            self._build_graphs(has_gpu=self._series.has_gpu)
        self.stretch.follow(self._series.end(self.axis))
        self._due = self.graphs[:SMALL_FROM] if self._is_compact else list(self.graphs)
        self._marks = marks_of(self._series, self.axis, self.stretch)
        self._draw_due()

    def _draw_due(self) -> None:
        begun = time.perf_counter()
        while self._due:
            graph = self._due.pop(0)
            self._draw(graph)
            if time.perf_counter() - begun > DRAW_BUDGET_SECONDS and self._due:
                QTimer.singleShot(0, self, self._draw_due)
                return

    def repaint_all(self) -> None:
        """Draw and paint every graph now, without waiting for a frame."""
        self.stretch.follow(self._series.end(self.axis))
        self._marks = marks_of(self._series, self.axis, self.stretch)
        for graph in self.graphs:
            self._draw(graph)
            graph.repaint()

    def _draw(self, graph: Graph) -> None:
        if graph.spec is CARD_MEMORY:
            total = self._series.telemetry.last("vram_total_bytes")
            graph.set_limit(total and total / GIB, f"card {words.size(total)}")
        graph.refresh(self._series, self.axis, self.stretch.x0, self.stretch.x1, self._marks)
        read_out(graph, self._series, self.axis, self._cursor)

    # ------------------------------------------------------------ moving and reading

    def _show_following(self) -> None:
        self.bar.live.setChecked(self.stretch.is_following)
        self.note_change()

    def _on_live_chosen(self, is_on: bool) -> None:
        self.stretch.is_following = is_on
        self.note_change()

    def _on_range_moved(self, x0: float, x1: float) -> None:
        self.stretch.move(x0, x1, self._series.end(self.axis))
        self._show_following()

    def _on_cursor_moved(self, x: float | None) -> None:
        self._cursor = x
        for graph in self.graphs:
            read_out(graph, self._series, self.axis, self._cursor)
        self.bar.place.setText("" if x is None else place_word(self._series, self.axis, x))

    def showEvent(self, event: QShowEvent) -> None:
        """Qt override: catch up with what came while nobody looked."""
        super().showEvent(event)
        self.window().installEventFilter(self)
        self.note_change()

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override."""
        super().hideEvent(event)
        self.window().removeEventFilter(self)
        self.frames.stop()
        self._due.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt override: the window is back from the task bar."""
        if event.type() == QEvent.Type.WindowStateChange:
            self.note_change()
        return super().eventFilter(watched, event)


def share_room(grid: QGridLayout, graphs: list[Graph], *, is_compact: bool) -> None:
    """The first graphs are the highest; the small ones may be left out."""
    for graph in graphs[SMALL_FROM:]:
        graph.setVisible(not is_compact)
    for line, share in enumerate((5, 4, 0 if is_compact else 3)):
        grid.setRowStretch(line, share)
    for side in (0, 1):
        grid.setColumnStretch(side, 1)


def read_out(graph: Graph, series: RunSeries, axis: Axis, x: float | None) -> None:
    """Show a graph's hair line and the values there; without a place its legend."""
    graph.set_cursor(x)
    if x is None:
        graph.show_readout(None)
        return
    names = [curve.name for curve in graph.spec.curves]
    graph.show_readout({name: series.value_at(name, axis, x) for name in names})


def can_be_seen(widget: QWidget) -> bool:
    """Somebody may be looking at it."""
    return widget.isVisible() and not widget.window().isMinimized()


def place_word(series: RunSeries, axis: Axis, x: float) -> str:
    """A place on the axis, for the line below the graphs."""
    if axis == "step":
        return f"step {words.count(x)}"
    step = series.value_at("step", "time", x)
    return f"{time_word(max(0.0, x))} · step {words.count(step)}"
