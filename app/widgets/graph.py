"""One graph of a run: a card with a heading, its curves, a limit and the marks of events.

Only the raster engine paints: the window shares the card with the training, so no GL context is
made. Pens are one pixel wide and each curve has at most two points a pixel, whatever the run's
length.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QFont, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy

from app import words
from app.pyramid import MAX_POINTS, Floats
from app.series import Axis, RunSeries
from app.theme import SANS, Tokens
from app.widgets.axes import PlaceAxis, ValueAxis, dress, plain_word
from app.widgets.graph_marks import Marks
from app.widgets.parts import Card
from app.widgets.plot import PlaceBox, Plot

MARK_SHARE = 0.045
"""Height of a save's or an evaluation's mark, as a share of the graph."""
SMOOTH_BELOW = 1200
"""Curves with fewer points on the screen are drawn with soft edges; it costs too much for more."""
LEAST_HEIGHT = 96
WORD_PIXELS = 20
_TAG = re.compile("<[^>]*>")
KEY_PAN, KEY_ZOOM = 0.1, 1.25


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One curve of a graph."""

    name: str
    """Of the measurement in :class:`RunSeries`."""
    word: str
    """In the legend."""
    color: str
    """Name of a token."""
    fill: str = ""
    """Name of the token below the curve; empty leaves it open."""
    width: float = 1.0
    """Of the pen in pixels; more than 1 costs time and suits one curve at most."""
    unit: float = 1.0
    """What a value is divided by to be shown."""


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph shows."""

    title: str
    unit: str
    """At the right of the heading."""
    curves: tuple[Curve, ...]
    word: Callable[[float], str]
    """A value with its unit, for the readout."""
    axis_word: Callable[[float, float], str] = plain_word
    from_zero: bool = True
    top: float | None = None
    """The axis reaches at least this far."""


class Graph(Card):
    """A card with one graph.

    Signals:
        range_moved: the person moved or zoomed; the new ends of the axis.
        fit_wanted: the person wants to see everything.
        cursor_moved: place under the mouse, or None when it has left.
    """

    range_moved = Signal(float, float)
    fit_wanted = Signal()
    cursor_moved = Signal(object)

    def __init__(self, spec: GraphSpec, tokens: Tokens) -> None:
        super().__init__(spec.title, " ")
        self.spec = spec
        self._tokens = tokens
        self._limit_value: float | None = None
        self._aside_text = ""
        self.aside.setTextFormat(Qt.TextFormat.RichText)
        # A longer readout must not push the graphs about.
        self.aside.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.aside.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.top.setStretch(1, 0)
        self.top.setStretch(2, 1)
        self.column.setContentsMargins(16, 12, 14, 8)
        self.column.setSpacing(2)
        self._box = PlaceBox()
        self.places, self.values = PlaceAxis(), ValueAxis(spec.axis_word)
        self.plot = Plot(self._box, self.places, self.values)
        self.plot.setMinimumHeight(LEAST_HEIGHT)
        self.column.addWidget(self.plot, 1)
        self._build_items()
        self._listen()
        self.set_tokens(tokens)

    def _build_items(self) -> None:
        self.curves = {curve.name: pg.PlotCurveItem() for curve in self.spec.curves}
        self._saves, self._evaluations = pg.PlotCurveItem(), pg.PlotCurveItem()
        self._resumes = pg.PlotCurveItem()
        self._points = pg.ScatterPlotItem(size=6, pxMode=True)
        self._limit = pg.InfiniteLine(angle=0)
        self._limit_word = pg.TextItem(anchor=(0, 1))
        self._cursor = pg.InfiniteLine(angle=90)
        shown = (*self.curves.values(), self._saves, self._evaluations, self._resumes, self._points)
        self.blank_word = pg.TextItem(anchor=(0.5, 0.5))
        hidden = (self._limit, self._limit_word, self._cursor, self.blank_word)
        for shape in (*shown, *hidden):
            self._box.addItem(shape, ignoreBounds=True)
        for shape in hidden:
            shape.hide()

    def _listen(self) -> None:
        self.plot.setAccessibleName(f"Graph: {self.spec.title}")
        self.plot.setAccessibleDescription(
            "Left and right move, plus and minus zoom, Home shows everything."
        )
        self.plot.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._box.sigRangeChangedManually.connect(self._on_range_changed)
        self._box.fit_wanted.connect(self.fit_wanted)
        self.plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self.plot.installEventFilter(self)

    # ------------------------------------------------------------ look

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self.plot.setBackground(tokens.card)
        dress(self.places, tokens, grid=False)
        dress(self.values, tokens, grid=True)
        for curve in self.spec.curves:
            item = self.curves[curve.name]
            item.setPen(pg.mkPen(tokens.color(curve.color), width=curve.width))
            if curve.fill:
                item.setFillLevel(0)
                item.setBrush(tokens.color(curve.fill))
        self._saves.setPen(pg.mkPen(tokens.good))
        self._evaluations.setPen(pg.mkPen(tokens.info))
        self._resumes.setPen(pg.mkPen(tokens.warning, style=Qt.PenStyle.DashLine))
        self._points.setPen(pg.mkPen(tokens.card))
        self._points.setBrush(tokens.color("info"))
        self._limit.setPen(pg.mkPen(tokens.danger, style=Qt.PenStyle.DashLine))
        self._limit_word.setColor(tokens.color("danger"))
        font = QFont(SANS)
        font.setPixelSize(12)
        self._limit_word.setFont(font)
        self.blank_word.setFont(font)
        self.blank_word.setColor(tokens.color("muted"))
        self._cursor.setPen(pg.mkPen(tokens.faint))
        self.show_readout(None)

    def set_axis(self, axis: Axis) -> None:
        """Show time or steps below the graph."""
        self.places.is_time = axis == "time"
        self.places.picture = None
        self.places.update()

    def set_limit(self, value: float | None, word: str) -> None:
        """Draw a limit in, such as the size of the card; None draws none."""
        self._limit_value = value
        self._limit.setVisible(value is not None)
        self._limit_word.setVisible(value is not None)
        if value is not None:
            self._limit.setValue(value)
            self._limit_word.setText(word)

    # ------------------------------------------------------------ drawing

    def refresh(self, series: RunSeries, axis: Axis, x0: float, x1: float, marks: Marks) -> None:
        """Draw what the series holds between two places on the axis."""
        room = max(64, int(self._box.width()))
        heights: list[Floats] = []
        for curve in self.spec.curves:
            xs, ys = series.view(curve.name, axis, x0, x1, min(MAX_POINTS, 2 * room))
            ys = ys / curve.unit
            if axis == "time" and series.table_of(curve.name) is series.steps:
                xs, ys = _broken(xs, ys, marks.resumes)
            is_soft = len(xs) < SMOOTH_BELOW and curve.color != "raw" and not curve.fill
            self.curves[curve.name].setData(xs, ys, connect="finite", antialias=is_soft)
            heights.append(ys)
        if self._has_loss():
            heights.append(marks.losses)
        low, high = self._value_range(heights)
        self._show_blank(heights, series, (x0 + x1) / 2, (low + high) / 2)
        self._box.setRange(xRange=(x0, x1), yRange=(low, high), padding=0, disableAutoRange=False)
        self._draw_marks(marks, low, high)
        if self._limit_value is not None:
            self._limit_word.setPos(x0 + (x1 - x0) * 0.01, self._limit_value)

    def _show_blank(self, heights: list[Floats], series: RunSeries, x: float, y: float) -> None:
        """Say that there is nothing to draw, instead of a scale of no values."""
        is_blank = not any(np.isfinite(each).any() for each in heights)
        if is_blank != self.values.is_blank:
            self.values.is_blank = is_blank
            self.values.picture = None
            self.values.update()
            self.blank_word.setVisible(is_blank)
        if is_blank:
            has_steps = series.table_of(self.spec.curves[0].name) is series.steps
            self.blank_word.setText(_blank_word(series, has_steps=has_steps))
            self.blank_word.setPos(x, y)

    def _has_loss(self) -> bool:
        return "loss" in self.curves

    def _value_range(self, heights: list[Floats]) -> tuple[float, float]:
        known = np.concatenate([h[np.isfinite(h)] for h in heights] or [np.empty(0)])
        low = float(known.min()) if len(known) else 0.0
        high = float(known.max()) if len(known) else 1.0
        if self.spec.from_zero:
            low = min(0.0, low)
        high = max(high, self._limit_value or high, self.spec.top or high)
        room = (high - low) or abs(high) or 1.0
        # The word above the limit needs its room in pixels, whatever the height of the graph.
        words_share = WORD_PIXELS / max(WORD_PIXELS, self._box.height() - WORD_PIXELS)
        above = max(0.08, words_share if self._limit_value is not None else 0.0)
        return low if self.spec.from_zero else low - 0.06 * room, high + above * room * 1.1

    def _draw_marks(self, marks: Marks, low: float, high: float) -> None:
        tick = low + MARK_SHARE * (high - low)
        for item, places, top in (
            (self._saves, marks.saves, tick),
            (self._evaluations, marks.evaluations, tick),
            (self._resumes, np.array(marks.resumes), high),
        ):
            xs = np.repeat(places, 2)
            item.setData(xs, np.tile([low, top], len(places)), connect="pairs")
        if self._has_loss():
            self._points.setData(marks.evaluations, marks.losses)

    # ------------------------------------------------------------ reading values

    def set_cursor(self, x: float | None) -> None:
        """Put the hair line at a place, or away."""
        self._cursor.setVisible(x is not None)
        if x is not None:
            self._cursor.setValue(x)

    def show_readout(self, values: dict[str, float | None] | None) -> None:
        """Show the curves' values at the cursor; with None their legend."""
        if values is None:
            legend = [self._tinted(curve.word, curve) for curve in self.spec.curves if curve.word]
            self._show_aside(" · ".join([*legend, self.spec.unit] if self.spec.unit else legend))
            return
        parts = []
        for curve in self.spec.curves:
            value = values.get(curve.name)
            if value is not None:
                word = f"{curve.word} " if curve.word else ""
                parts.append(self._tinted(word + self.spec.word(value / curve.unit), curve))
        self._show_aside(" · ".join(parts) or words.NONE)

    def _show_aside(self, text: str) -> None:
        """Where there is no room for all of it: without colours, and with an ellipsis."""
        self._aside_text = text
        plain = _TAG.sub("", text)
        room, metrics = self.aside.width(), self.aside.fontMetrics()
        if metrics.horizontalAdvance(plain) > room:
            text = metrics.elidedText(plain, Qt.TextElideMode.ElideRight, room)
        self.aside.setText(text)
        self.aside.setToolTip(plain)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt override."""
        super().resizeEvent(event)
        self._show_aside(self._aside_text)

    def _tinted(self, text: str, curve: Curve) -> str:
        color = self._tokens.muted if curve.color == "raw" else getattr(self._tokens, curve.color)
        return f'<span style="color:{color}">{text}</span>'

    # ------------------------------------------------------------ mouse and keys

    def _on_range_changed(self, _enabled: object) -> None:
        (x0, x1), _ = self._box.viewRange()
        self.range_moved.emit(x0, x1)

    def _on_mouse_moved(self, place: QPointF) -> None:
        inside = self._box.sceneBoundingRect().contains(place)
        self.cursor_moved.emit(self._box.mapSceneToView(place).x() if inside else None)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt override: keys of the graph, and the mouse leaving it."""
        if event.type() == QEvent.Type.Leave:
            self.cursor_moved.emit(None)
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._on_key(event.key())
        return super().eventFilter(watched, event)

    def _on_key(self, key: int) -> bool:
        (x0, x1), _ = self._box.viewRange()
        span, middle = x1 - x0, (x0 + x1) / 2
        if key == Qt.Key.Key_Home:
            self.fit_wanted.emit()
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            shift = KEY_PAN * span * (1 if key == Qt.Key.Key_Right else -1)
            self.range_moved.emit(x0 + shift, x1 + shift)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            half = span / 2 * (KEY_ZOOM if key == Qt.Key.Key_Minus else 1 / KEY_ZOOM)
            self.range_moved.emit(middle - half, middle + half)
        else:
            return False
        return True


def _blank_word(series: RunSeries, *, has_steps: bool) -> str:
    if has_steps and not len(series.steps):
        return "No steps yet"
    return "Nothing was measured here"


def _broken(xs: Floats, ys: Floats, places: list[float]) -> tuple[Floats, Floats]:
    """The curve with a gap at each of the places: no line leads over what was undone."""
    where = np.searchsorted(xs, places)
    where = where[(where > 0) & (where < len(xs))]
    return np.insert(xs, where, xs[where]), np.insert(ys, where, np.nan)
