"""The memory of a card as one bar: what takes it, where it ends, and how sure that is."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.plan_words import SMALL_PART, gib, lines
from app.theme import Tokens
from app.words import size
from engine.planning.plan import Item, Plan

BAR_PX = 30
_ABOVE_PX = 4
_ROUND_PX = 5.0
_GAP_PX = 1.5

_COLORS: dict[str, tuple[str, float]] = {
    "weights": ("info", 1.0),
    "trained_weights": ("info", 0.6),
    "adapter": ("good", 1.0),
    "gradients": ("good", 0.55),
    "optimizer": ("violet", 1.0),
    "activations": ("warning", 1.0),
    "recompute": ("warning", 0.6),
    "logits": ("orange", 1.0),
    "transient": ("orange", 0.6),
    "inputs": ("orange", 0.35),
    "offload": ("violet", 0.55),
    "rounding": ("muted", 0.4),
    "context": ("muted", 0.85),
    "workspace": ("muted", 0.7),
    "reserve": ("muted", 0.55),
    SMALL_PART: ("muted", 0.3),
}
"""Part of a budget to a colour of the theme, and how much of the card's colour shows through."""


def part_color(part: str, tokens: Tokens) -> QColor:
    """The colour of a part of a budget."""
    name, share = _COLORS.get(part, ("muted", 0.65))
    top, below = tokens.color(name), tokens.color("card")
    mixed = [
        round(share * a + (1 - share) * b)
        for a, b in zip(top.getRgb()[:3], below.getRgb()[:3], strict=True)  # type: ignore[index]
    ]
    return QColor(*mixed)


class BudgetBar(QWidget):
    """A stacked bar. The line is where the memory for a run ends, the bracket what may be off."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._items: list[Item] = []
        self._total = self._error = self._scale = 0
        self._limit: int | None = None
        self._is_old = False
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(BAR_PX + 2 * _ABOVE_PX)

    def show_plan(self, plan: Plan) -> None:
        """Show what training takes at its peak."""
        budget = plan.budgets[0]
        self._items = lines(budget)
        self._total, self._error = budget.total_bytes, budget.error_bytes
        self._limit = plan.available_bytes
        room = max(plan.card_bytes or 0, plan.available_bytes or 0)
        self._scale = max(round(1.02 * (self._total + self._error)) if room else 0, room) or (
            self._total + self._error
        )
        self._describe(plan)
        self.update()

    def set_old(self, is_old: bool) -> None:
        """Pale, while a newer plan is being made."""
        if is_old != self._is_old:
            self._is_old = is_old
            self.update()

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self.update()

    def sizeHint(self) -> QSize:
        """Qt override."""
        return QSize(120, self.height())

    def _describe(self, plan: Plan) -> None:
        shares = "; ".join(f"{item.label} {gib(item.size_bytes)}" for item in self._items)
        self.setAccessibleName(f"Memory at the peak of training: {shares}")
        limit = f"The line is what a run may use: {size(self._limit)}" if self._limit else ""
        if self._limit and plan.card_bytes and plan.card_bytes > self._limit:
            limit += f"; desktop and driver hold the other {size(plan.card_bytes - self._limit)}"
        off = f"The bracket is how far off the total may be: ± {size(self._error)}"
        self.setToolTip("\n".join(f"{t}." for t in (limit, off if self._error else "") if t))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt override."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        bar = QRectF(0, _ABOVE_PX, self.width(), BAR_PX)
        outline = QPainterPath()
        outline.addRoundedRect(bar, _ROUND_PX, _ROUND_PX)
        painter.fillPath(outline, self._tokens.color("control"))
        if self._scale:
            painter.save()
            painter.setClipPath(outline)
            painter.setOpacity(0.35 if self._is_old else 1.0)
            self._paint_items(painter, bar)
            painter.restore()
            painter.setOpacity(0.35 if self._is_old else 1.0)
            self._paint_limit(painter, bar)
            self._paint_error(painter, bar)
        painter.end()

    def _x(self, size_bytes: float) -> float:
        return self.width() * min(1.0, size_bytes / self._scale)

    def _paint_items(self, painter: QPainter, bar: QRectF) -> None:
        begin = 0
        for item in self._items:
            left, right = self._x(begin), self._x(begin + item.size_bytes)
            gap = _GAP_PX if right - left > 3 * _GAP_PX else 0.0
            block = QRectF(left, bar.top(), max(1.0, right - left - gap), bar.height())
            painter.fillRect(block, part_color(item.part, self._tokens))
            begin += item.size_bytes

    def _paint_limit(self, painter: QPainter, bar: QRectF) -> None:
        """Where the memory for a run ends; what goes beyond it is hatched."""
        if not self._limit:
            return
        x = self._x(self._limit)
        if self._total > self._limit:
            beyond = QRectF(x, bar.top(), self._x(self._total) - x, bar.height())
            painter.fillRect(beyond, QBrush(self._tokens.color("card"), Qt.BrushStyle.BDiagPattern))
        if x < self.width() - 2:
            color = "danger" if self._total > self._limit else "text"
            painter.setPen(QPen(self._tokens.color(color), 1.5))
            painter.drawLine(round(x), 0, round(x), self.height())

    def _paint_error(self, painter: QPainter, bar: QRectF) -> None:
        if not self._error:
            return
        left, right = self._x(self._total - self._error), self._x(self._total + self._error)
        if right - left < 3:
            return
        painter.setPen(QPen(self._tokens.color("text"), 1.2))
        middle = bar.center().y()
        painter.drawLine(round(left), round(middle), round(right), round(middle))
        for x in (left, right):
            painter.drawLine(round(x), round(middle - 5), round(x), round(middle + 5))
