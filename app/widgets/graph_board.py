"""The graphs of a run on one linked axis.

The board owns the axis: which stretch is shown, whether it follows the newest point, and when to
draw. Drawing is gathered to at most 30 times a second, cut into pieces that keep the window
answering, and left out altogether while nobody can see it.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QWidget

from app import words
from app.series import Axis, RunSeries
from app.theme import Tokens
from app.widgets.axes import rate_word, time_word
from app.widgets.graph import Curve, Graph, GraphSpec, Marks
from app.widgets.parts import button, column, label, row
from engine.contract.messages import CheckpointSaved

FRAME_MS = 34
DRAW_BUDGET_SECONDS = 0.012
"""Once it is used up, the other graphs wait for the next turn of the event loop."""
SMALL_FROM = 4
"""The graphs from here on are the small ones."""
LIVE_MARGIN = 0.02
GIB = float(words.GIB)


def _gib(value: float) -> str:
    return words.size(value * GIB)


def _percent(value: float) -> str:
    return f"{value:.0f} %"


LOSS = GraphSpec(
    title="Loss",
    unit="",
    word=words.loss,
    from_zero=False,
    curves=(
        Curve(name="loss", word="raw", color="raw"),
        Curve(name="smoothed", word="smoothed", color="good", width=1.6),
    ),
)
CARD_MEMORY = GraphSpec(
    title="Memory of the card",
    unit="GiB",
    word=_gib,
    curves=(
        Curve(name="vram_used_bytes", word="in use", color="info", fill="info_fill", unit=GIB),
        Curve(name="vram_reserved_bytes", word="reserved", color="violet", unit=GIB),
        Curve(name="vram_allocated_bytes", word="allocated", color="good", unit=GIB),
    ),
)
PROCESS_MEMORY = GraphSpec(
    title="RAM of the process",
    unit="GiB, no GPU here",
    word=_gib,
    curves=(Curve(name="ram_used_bytes", word="", color="info", fill="info_fill", unit=GIB),),
)
STEP_TIME = GraphSpec(
    title="Step time",
    unit="seconds",
    word=words.seconds,
    curves=(Curve(name="step_ms", word="", color="warning", unit=1000.0),),
)
GPU_BUSY = GraphSpec(
    title="GPU busy",
    unit="%",
    word=_percent,
    top=100.0,
    curves=(Curve(name="gpu_busy_percent", word="", color="violet", fill="violet_fill"),),
)
CPU_BUSY = GraphSpec(
    title="CPU busy",
    unit="% of one core, no GPU here",
    word=_percent,
    top=100.0,
    curves=(Curve(name="cpu_percent", word="", color="violet", fill="violet_fill"),),
)
LEARNING_RATE = GraphSpec(
    title="Learning rate",
    unit="",
    word=words.rate,
    axis_word=rate_word,
    curves=(Curve(name="learning_rate", word="", color="info"),),
)
GRAD_NORM = GraphSpec(
    title="Gradient norm",
    unit="",
    word=words.loss,
    curves=(Curve(name="grad_norm", word="", color="orange"),),
)


class GraphBoard(QWidget):
    """Six graphs that are moved, zoomed and read together."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._series = RunSeries()
        self.axis: Axis = "time"
        self._is_following = True
        self._window: float | None = None
        """Width of the stretch shown; None shows everything."""
        self._x0, self._x1 = 0.0, 1.0
        self._cursor: float | None = None
        self._due: list[Graph] = []
        self._frame = QTimer(self, singleShot=True, interval=FRAME_MS)
        self._frame.timeout.connect(self._on_frame)
        self.graphs: list[Graph] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(12)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._has_gpu: bool | None = None
        self._is_compact = False
        self.setLayout(column(self._grid, self._build_bar(), spacing=8))
        self._build_graphs(has_gpu=False)

    # ------------------------------------------------------------ building

    def _build_bar(self) -> QWidget:
        self._time = button("Time", "quiet", tip="Show how long the run has taken")
        self._step = button("Steps", "quiet", tip="Show the number of the step")
        self._live = button("Live", "quiet", tip="Keep the newest point in view")
        self._fit = button("Show all", "quiet", tip="Show the whole run (double click)")
        kinds = QButtonGroup(self)
        for choice in (self._time, self._step):
            choice.setCheckable(True)
            kinds.addButton(choice)
        self._time.setChecked(True)
        self._live.setCheckable(True)
        self._live.setChecked(True)
        kinds.buttonClicked.connect(self._on_axis_chosen)
        self._live.clicked.connect(self._on_live_clicked)
        self._fit.clicked.connect(self.fit)
        self._place = label("", "small")
        legend = [
            label(word, "small", tone=tone)
            for word, tone in (
                ("❘ save", "good"),
                ("❘ evaluation", "info"),
                ("┆ resume", "warning"),
            )
        ]
        bar = QWidget()
        bar.setLayout(
            row(self._time, self._step, self._place, None, *legend, self._fit, self._live)
        )
        return bar

    def _build_graphs(self, *, has_gpu: bool) -> None:
        self._has_gpu = has_gpu
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
        self.set_compact(self._is_compact)
        for side in (0, 1):
            self._grid.setColumnStretch(side, 1)

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
        """The series has changed: draw soon."""
        if not self._frame.isActive() and self._can_be_seen():
            self._frame.start()

    def fit(self) -> None:
        """Show the whole run and follow it."""
        self._window = None
        self._set_following(True)

    def set_compact(self, is_compact: bool) -> None:
        """Leave the two small graphs out, where something else needs the room."""
        self._is_compact = is_compact
        for graph in self.graphs[SMALL_FROM:]:
            graph.setVisible(not is_compact)
        for line, share in enumerate((5, 4, 0 if is_compact else 3)):
            self._grid.setRowStretch(line, share)
        self.note_change()

    def set_axis(self, axis: Axis) -> None:
        """Show everything over time or over steps."""
        self.axis = axis
        (self._time if axis == "time" else self._step).setChecked(True)
        for graph in self.graphs:
            graph.set_axis(axis)
        self.fit()

    # ------------------------------------------------------------ drawing

    def _can_be_seen(self) -> bool:
        return self.isVisible() and not self.window().isMinimized()

    def _on_frame(self) -> None:
        if not self._can_be_seen():
            return
        if self._series.has_gpu != self._has_gpu and len(self._series.telemetry):
            self._build_graphs(has_gpu=self._series.has_gpu)
        self._follow()
        self._due = self.graphs[:SMALL_FROM] if self._is_compact else list(self.graphs)
        self._marks = self._places_of_events()
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
        self._follow()
        self._marks = self._places_of_events()
        for graph in self.graphs:
            self._draw(graph)
            graph.repaint()

    def _draw(self, graph: Graph) -> None:
        if graph.spec is CARD_MEMORY:
            total = self._series.telemetry.last("vram_total_bytes")
            graph.set_limit(total and total / GIB, f"card {words.size(total)}")
        graph.refresh(self._series, self.axis, self._x0, self._x1, self._marks)
        self._read_out(graph)

    def _places_of_events(self) -> Marks:
        series, axis = self._series, self.axis
        saves = [e for e in series.events if isinstance(e, CheckpointSaved)]
        return Marks(
            saves=[series.place(event, axis) for event in saves],
            evaluations=[(series.place(e, axis), e.eval_loss) for e in series.evaluations()],
            resumes=series.resumes(axis),
        )

    def _follow(self) -> None:
        if not self._is_following:
            return
        end = max(self._series.end(self.axis), 1.0)
        window = self._window or end
        margin = LIVE_MARGIN * window
        self._x1 = end + margin
        self._x0 = self._x1 - window - 2 * margin if self._window else -margin

    # ------------------------------------------------------------ moving and reading

    def _set_following(self, is_following: bool) -> None:
        self._is_following = is_following
        self._live.setChecked(is_following)
        self.note_change()

    def _on_live_clicked(self) -> None:
        self._set_following(self._live.isChecked())

    def _on_axis_chosen(self) -> None:
        self.set_axis("time" if self._time.isChecked() else "step")

    def _on_range_moved(self, x0: float, x1: float) -> None:
        self._x0, self._x1 = x0, x1
        end = self._series.end(self.axis)
        self._window = x1 - x0
        self._set_following(x0 <= end <= x1 and x1 - x0 < end)

    def _on_cursor_moved(self, x: float | None) -> None:
        self._cursor = x
        for graph in self.graphs:
            self._read_out(graph)
        if x is None:
            self._place.setText("")
        else:
            self._place.setText(self._place_word(x))

    def _place_word(self, x: float) -> str:
        if self.axis == "step":
            return f"step {words.count(x)}"
        step = self._series.value_at("step", "time", x)
        return f"{time_word(max(0.0, x))} · step {words.count(step)}"

    def _read_out(self, graph: Graph) -> None:
        x = self._cursor
        graph.set_cursor(x)
        if x is None:
            graph.show_readout(None)
            return
        names = [curve.name for curve in graph.spec.curves]
        graph.show_readout({name: self._series.value_at(name, self.axis, x) for name in names})

    def showEvent(self, event: QShowEvent) -> None:
        """Qt override: catch up with what came while nobody looked."""
        super().showEvent(event)
        self.window().installEventFilter(self)
        self.note_change()

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override."""
        super().hideEvent(event)
        self.window().removeEventFilter(self)
        self._frame.stop()
        self._due.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt override: the window is back from the task bar."""
        if event.type() == QEvent.Type.WindowStateChange:
            self.note_change()
        return super().eventFilter(watched, event)
