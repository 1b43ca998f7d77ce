"""One row of the list of runs: what it says, where its parts lie, how they are painted."""

from __future__ import annotations

import time

import msgspec
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app import words
from app.pages.runs_model import SUMMARY
from app.run_words import chip_of
from app.theme import SANS, Tokens
from app.theme_icons import pixmap
from engine.contract.lifecycle import LIVE, RESTING, RESUMABLE, State
from engine.contract.messages import RunSummary

ROW_HEIGHT = 48
SIDE = 16
_BUTTON_HEIGHT = 30
_GAP = 8
_LEAST_NAME = 150


class Widths(msgspec.Struct, frozen=True, kw_only=True):
    """How much room the parts of a row get, in pixels, their gap included."""

    actions: int = 214
    curve: int = 112
    loss: int = 72
    when: int = 126
    progress: int = 112
    chip: int = 120
    button: int = 30
    """What a button is wider than its word."""
    gap: int = 14

    def with_name(self) -> int:
        """Of a row whose name has just room enough."""
        parts = (self.actions, self.curve, self.loss, self.when, self.progress, self.chip)
        return 2 * SIDE + _LEAST_NAME + sum(parts)


ROOMY = Widths()
TIGHT = Widths(actions=170, curve=0, loss=64, when=112, progress=86, chip=94, button=18, gap=8)
"""For narrow windows: the curve lies below the loss."""
NARROWEST = msgspec.structs.replace(TIGHT, when=0)


def widths_in(row_width: int) -> Widths:
    """The widths for a row."""
    if row_width >= ROOMY.with_name():
        return ROOMY
    return TIGHT if row_width >= TIGHT.with_name() else NARROWEST


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """A button in a row."""

    name: str
    """Of :meth:`app.pages.run_actions.RunActions.do`, or ``open``."""
    text: str
    is_primary: bool = False


def verbs_of(summary: RunSummary) -> list[Verb]:
    """What can be done to a run from the list."""
    verbs = [Verb(name="open", text="Open")]
    if summary.state in RESUMABLE:
        main = summary.state in (State.INTERRUPTED, State.PAUSED)
        text = "Continue" if summary.state is State.PAUSED else "Resume"
        verbs.append(Verb(name="resume", text=text, is_primary=main))
    if summary.state in (LIVE | {State.QUEUED, State.RECOVERING, State.PAUSED}) - {State.STOPPING}:
        verbs.append(Verb(name="stop", text="Stop"))
    if summary.state in RESTING:
        verbs.append(Verb(name="remove", text=""))
    return verbs


def when_of(summary: RunSummary, now: float) -> tuple[str, str]:
    """What the list says about a run's time, in one or two lines."""
    if summary.state is State.QUEUED:
        return "waits its turn", ""
    if summary.state is State.RECOVERING:
        return "goes on by itself", ""
    if summary.state is State.PAUSED:
        return "until you continue", ""
    if summary.state in RESTING:
        ended = words.dated(summary.ended_at or summary.created_at, now)
        return ended, f"took {words.taken(summary.train_seconds)}"
    if summary.eta_seconds is not None:
        return f"{words.span(summary.eta_seconds)} left", ""
    return summary.phase.value, ""


def progress_of(summary: RunSummary) -> str:
    """What the list says about a run's steps."""
    if not summary.step:
        return words.NONE
    if summary.state is State.FINISHED or not summary.max_steps:
        return words.count(summary.step)
    return f"{words.count(summary.step)} / {words.count(summary.max_steps)}"


def about_of(summary: RunSummary) -> str:
    """What a run trains, and on what."""
    return f"{summary.model} · {summary.kind} · {summary.dataset}"


def why_of(summary: RunSummary) -> str:
    """Why a run ended before its time; empty where it did not."""
    is_bad = summary.state in (State.FAILED, State.INTERRUPTED)
    return " ".join(summary.sentence.split()) if is_bad else ""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a row lie. Only in the narrowest windows is the time left out."""

    name: QRect
    chip: QRect
    progress: QRect
    when: QRect
    loss: QRect
    curve: QRect


def places_in(row: QRect) -> Places:
    """The parts of a row, from right to left, the name taking what is left."""
    widths = widths_in(row.width())
    right = row.right() - SIDE - widths.actions
    rects: dict[str, QRect] = {}
    for name in ("curve", "loss", "when", "progress", "chip"):
        width = getattr(widths, name)
        right -= width
        rects[name] = QRect(right, row.top(), max(0, width - widths.gap), row.height())
    if not widths.curve:
        rects["loss"], rects["curve"] = _two_lines(rects["loss"])
    left = row.left() + SIDE
    return Places(name=QRect(left, row.top(), right - left - widths.gap, row.height()), **rects)


class RunDelegate(QStyledItemDelegate):
    """Paints rows; the view tells which button the mouse is over."""

    def __init__(self, tokens: Tokens, parent: QWidget) -> None:
        super().__init__(parent)
        self.tokens = tokens
        self.hovered: tuple[str, str] = ("", "")
        """Run and verb under the mouse."""
        self._fonts = {
            name: _font(pixels, weight)
            for name, pixels, weight in (
                ("name", 13, QFont.Weight.DemiBold),
                ("small", 12, QFont.Weight.Normal),
                ("chip", 12, QFont.Weight.DemiBold),
                ("text", 13, QFont.Weight.Normal),
                ("button", 13, QFont.Weight.Medium),
                ("primary", 13, QFont.Weight.DemiBold),
            )
        }

    def sizeHint(
        self, _option: QStyleOptionViewItem, _index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        """Qt override."""
        return QSize(400, ROW_HEIGHT)

    def buttons(self, row: QRect, summary: RunSummary) -> list[tuple[Verb, QRect]]:
        """The row's buttons and where they lie, from the left."""
        right = row.right() - SIDE
        top = row.top() + (row.height() - _BUTTON_HEIGHT) // 2
        found = []
        metrics = QFontMetrics(self._fonts["button"])
        more = widths_in(row.width()).button
        for verb in reversed(verbs_of(summary)):
            width = metrics.horizontalAdvance(verb.text) + more if verb.text else _BUTTON_HEIGHT + 4
            right -= width
            found.append((verb, QRect(right, top, width, _BUTTON_HEIGHT)))
            right -= _GAP
        return found[::-1]

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Qt override."""
        summary: RunSummary = index.data(SUMMARY)
        row = option.rect
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_choice(painter, option)
        places = places_in(row)
        self._paint_name(painter, places.name, summary)
        self._paint_chip(painter, places.chip, summary)
        self._paint_progress(painter, places.progress, summary)
        self._paint_when(painter, places.when, summary)
        loss = words.loss(summary.loss)
        self._text(painter, places.loss, loss, "text", self.tokens.text)
        self._paint_curve(painter, places.curve, summary)
        for verb, rect in self.buttons(row, summary):
            self._paint_button(painter, rect, verb, self.hovered == (summary.run, verb.name))
        painter.restore()

    # ------------------------------------------------------------ parts

    def _paint_choice(self, painter: QPainter, option: QStyleOptionViewItem) -> None:
        state = option.state
        if not state & QStyle.StateFlag.State_Selected:
            return
        box = QRectF(option.rect).adjusted(6.5, 1.5, -6.5, -1.5)
        painter.setBrush(self.tokens.color("control"))
        has_focus = bool(state & QStyle.StateFlag.State_HasFocus)
        painter.setPen(QPen(self.tokens.color("focus")) if has_focus else Qt.PenStyle.NoPen)
        painter.drawRoundedRect(box, 6, 6)

    def _paint_when(self, painter: QPainter, place: QRect, summary: RunSummary) -> None:
        first, second = when_of(summary, time.time())
        upper, lower = _two_lines(place) if second else (place, QRect())
        self._text(painter, upper, first, "text", self.tokens.muted)
        if second:
            self._text(painter, lower, second, "small", self.tokens.muted)

    def _paint_name(self, painter: QPainter, place: QRect, summary: RunSummary) -> None:
        upper, lower = _two_lines(place)
        self._text(painter, upper, summary.name, "name", self.tokens.text)
        why = why_of(summary)
        color = getattr(self.tokens, chip_of(summary)[1]) if why else self.tokens.muted
        self._text(painter, lower, why or about_of(summary), "small", color)

    def _paint_chip(self, painter: QPainter, place: QRect, summary: RunSummary) -> None:
        word, tone = chip_of(summary)
        box = QRectF(place).adjusted(0.5, 8, -0.5, -8)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.tokens.color("control"))
        painter.drawRoundedRect(box, 8, 8)
        color = getattr(self.tokens, tone) if tone else self.tokens.muted
        self._text(painter, box.toRect(), word, "chip", color, Qt.AlignmentFlag.AlignCenter)

    def _paint_progress(self, painter: QPainter, place: QRect, summary: RunSummary) -> None:
        is_live = summary.state in LIVE and summary.max_steps
        text_place = place.adjusted(0, 0, 0, -6) if is_live else place
        self._text(painter, text_place, progress_of(summary), "text", self.tokens.text)
        if not is_live:
            return
        track = QRectF(place.left(), place.bottom() - 12, place.width() - 14, 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.tokens.color("border"))
        painter.drawRoundedRect(track, 1.5, 1.5)
        track.setWidth(track.width() * min(1.0, summary.step / summary.max_steps))
        painter.setBrush(self.tokens.color("accent"))
        painter.drawRoundedRect(track, 1.5, 1.5)

    def _paint_curve(self, painter: QPainter, place: QRect, summary: RunSummary) -> None:
        values = [value for value in summary.loss_curve if value == value]
        if len(values) < 2:
            return
        margin = 14 if place.height() > ROW_HEIGHT // 2 else 3
        box = QRectF(place).adjusted(0, margin, -4, -margin)
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        points = [
            QPointF(
                box.left() + box.width() * n / (len(values) - 1),
                box.bottom() - box.height() * (value - low) / span,
            )
            for n, value in enumerate(values)
        ]
        painter.setPen(QPen(self.tokens.color("good"), 1.2))
        painter.drawPolyline(QPolygonF(points))

    def _paint_button(self, painter: QPainter, place: QRect, verb: Verb, is_hovered: bool) -> None:
        fill = "accent" if verb.is_primary else "control"
        painter.setBrush(self.tokens.color(f"{fill}_hover" if is_hovered else fill))
        border = self.tokens.accent if verb.is_primary else self.tokens.border
        painter.setPen(QPen(QColor(border)))
        painter.drawRoundedRect(QRectF(place).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        if verb.text:
            color = self.tokens.accent_text if verb.is_primary else self.tokens.text
            font = "primary" if verb.is_primary else "button"
            self._text(painter, place, verb.text, font, color, Qt.AlignmentFlag.AlignCenter)
            return
        color = self.tokens.danger if is_hovered else self.tokens.muted
        image = pixmap("trash-2", color, 16, painter.device().devicePixelRatioF())
        painter.drawPixmap(place.center().x() - 7, place.center().y() - 7, image)

    def _text(
        self,
        painter: QPainter,
        place: QRect,
        text: str,
        font: str,
        color: str,
        alignment: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignVCenter,
    ) -> None:
        painter.setFont(self._fonts[font])
        painter.setPen(QColor(color))
        metrics = painter.fontMetrics()
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(place, int(alignment | Qt.AlignmentFlag.AlignVCenter), shown)


def _two_lines(place: QRect) -> tuple[QRect, QRect]:
    middle = place.height() // 2
    return place.adjusted(0, 5, 0, 2 - middle), place.adjusted(0, middle - 1, 0, -6)


def _font(pixels: int, weight: QFont.Weight) -> QFont:
    font = QFont(SANS)
    font.setPixelSize(pixels)
    font.setWeight(weight)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font
