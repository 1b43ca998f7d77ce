"""The figures of a plan: the large number, the bar, its lines, and the verdict."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from app.pages.new_run.todo_items import patch_words
from app.plan_words import gib, headline, lines, story, tone
from app.theme import Tokens
from app.widgets.budget_bar import BudgetBar, part_color
from app.widgets.folder import Explained, Pool
from app.widgets.parts import button, column, label, row, set_tone
from app.words import size
from engine.planning.plan import Item, Plan

_BUSY_PX = 3


class BudgetView(QWidget):
    """What training takes on the card.

    Signals:
        make_it_fit_wanted: the cheapest changes that keep the result are to be made.
    """

    make_it_fit_wanted = Signal()

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._items: list[Item] = []
        self.headline = label("", "headline")
        self.bar = BudgetBar(tokens)
        self.legend: Pool[Explained] = Pool(self._make_line)
        self.busy = busy_line()
        self.verdict = label("", "verdict", wrap=True)
        self.story = label("", "muted", wrap=True)
        self.story.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.fit = button("Make it fit", "primary")
        self.fit.setToolTip("The cheapest changes that keep the result. Undo takes them back.")
        self._fit_words = label("", "small", wrap=True)
        self._fit_row = QWidget()
        line = row(self.fit, self._fit_words, spacing=12)
        line.setStretch(1, 1)
        line.setContentsMargins(0, 4, 0, 0)
        self._fit_row.setLayout(line)
        self._no_fit = label(
            "Nothing that keeps the result makes it fit; some of what changes it does.",
            "muted",
            wrap=True,
        )
        self.verdict.setContentsMargins(0, 6, 0, 0)
        self.setLayout(
            column(
                self.headline, self.bar, self.busy, self.legend, self.verdict, self.story,
                self._fit_row, self._no_fit, spacing=4,
            )
        )  # fmt: skip
        self.fit.clicked.connect(self.make_it_fit_wanted)

    def show_plan(self, plan: Plan, *, note: str, fit: dict[str, Any] | None) -> None:
        """Show a plan; pale if a newer one is being made, which ``note`` then says in place of the
        verdict. ``fit``: see :class:`app.pages.new_run.forecaster.Forecast`."""
        is_old = bool(note)
        self.headline.setText(headline(plan))
        self.headline.setToolTip(_off(plan))
        self.bar.show_plan(plan)
        self.bar.set_old(is_old)
        self._show_items(lines(plan.budgets[0]))
        self.verdict.setText(note or plan.sentence)
        set_tone(self.verdict, "" if is_old else tone(plan))
        self.legend.setEnabled(not is_old)
        self.story.setText(story(plan))
        self._fit_row.setVisible(bool(fit) and not is_old)
        self._fit_words.setText(patch_words(fit or {}))
        self._no_fit.setVisible(fit is None and plan.verdict == "does_not_fit")
        for part in (self.headline, self.story):
            part.setEnabled(not is_old)

    def set_busy(self, is_busy: bool) -> None:
        """A newer plan is on its way."""
        self.busy.setVisible(is_busy)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        self._show_items(self._items)

    def _show_items(self, items: list[Item]) -> None:
        self._items = items
        for place, item in zip(self.legend.take(len(items)), items, strict=True):
            color = part_color(item.part, self._tokens)
            place.line.show_line(item.label, gib(item.size_bytes), swatch=color)
            place.explain(item.how)

    def _make_line(self) -> Explained:
        return Explained(self._tokens)


def busy_line() -> QProgressBar:
    """A thin moving line, whose room is kept while it is not there."""
    made = QProgressBar(minimum=0, maximum=0, textVisible=False)
    made.setAccessibleName("The model is being traced")
    made.setFixedHeight(_BUSY_PX)
    policy = made.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    made.setSizePolicy(policy)
    made.hide()
    return made


def _off(plan: Plan) -> str:
    error = plan.budgets[0].error_bytes
    off = f" May be off by {size(error)} either way." if error else ""
    return f"The most that training takes at once on {plan.machine}.{off}"
