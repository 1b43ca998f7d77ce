"""What could be traded: each change with its memory, speed and effect; a click makes it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.plan_words import price, split
from app.theme import Tokens
from app.widgets.folder import Pool
from app.widgets.line_button import LineButton
from app.widgets.parts import button, column, label, row
from app.words import size
from engine.planning.plan import Plan, Rung

SHOWN_RUNGS = 5
"""Of each kind; the rest are behind a button."""


class LadderView(QWidget):
    """The ladder of a plan.

    Signals:
        rung_wanted: the :class:`Rung` that was pressed.
        undo_wanted: the last change that was made here is to be taken back.
    """

    rung_wanted = Signal(object)
    undo_wanted = Signal()

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens
        self._plan: Plan | None = None
        self.undo = button("Undo", "quiet", tip="Take this change back (Ctrl+Z)")
        self.undo.hide()
        self.more = button("Show all", "quiet")
        self.more.setCheckable(True)
        self._title = label("What you could trade", "heading")
        self._keeping_title = label("Learns exactly the same", "label")
        self._changing_title = label("Changes what is learnt", "label")
        self.keeping: Pool[RungLine] = Pool(self._make_line)
        self.changing: Pool[RungLine] = Pool(self._make_line)
        self.setLayout(
            column(
                row(self._title, None, self.undo),
                self._keeping_title, self.keeping, self._changing_title, self.changing,
                row(self.more, None), spacing=3,
            )
        )  # fmt: skip
        self.undo.clicked.connect(self.undo_wanted)
        self.more.toggled.connect(self._on_more)

    def show_plan(self, plan: Plan) -> None:
        """Show its ladder."""
        self._plan = plan
        fits = plan.verdict in ("fits", "unknown")
        self._title.setText("What you could trade" if fits else "What would make room")
        parts = split(plan.ladder)
        self._fill(self.keeping, self._keeping_title, parts.keeping)
        self._fill(self.changing, self._changing_title, parts.changing)
        most = max(len(parts.keeping), len(parts.changing))
        self.more.setVisible(most > SHOWN_RUNGS)
        self.setVisible(bool(plan.ladder))

    def offer_undo(self, title: str) -> None:
        """Offer to take a change back; empty if there is none."""
        self.undo.setVisible(bool(title))
        self.undo.setText(f"Undo “{title}”" if title and len(title) < 28 else "Undo")
        self.undo.setAccessibleName(f"Undo {title}")

    def _fill(self, pool: Pool[RungLine], title: QLabel, rungs: list[Rung]) -> None:
        shown = rungs if self.more.isChecked() else rungs[:SHOWN_RUNGS]
        title.setVisible(bool(shown))
        for line, rung in zip(pool.take(len(shown)), shown, strict=True):
            line.show_rung(rung)

    def _make_line(self) -> RungLine:
        line = RungLine(self._tokens)
        line.wanted.connect(self.rung_wanted)
        return line

    def _on_more(self, is_all: bool) -> None:
        self.more.setText("Show fewer" if is_all else "Show all")
        if self._plan is not None:
            self.show_plan(self._plan)


class RungLine(QWidget):
    """One change.

    Signals:
        wanted: its :class:`Rung`, when it was pressed.
    """

    wanted = Signal(object)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._rung: Rung | None = None
        self.line = LineButton(tokens)
        self.line.set_small_figure()
        self._effect = label("", "small", wrap=True)
        self.setLayout(column(self.line, self._effect, spacing=0))
        self.line.clicked.connect(self._on_clicked)

    def show_rung(self, rung: Rung) -> None:
        """Show this one."""
        self._rung = rung
        self.line.show_line(
            rung.title, price(rung), tone="" if rung.fits or rung.saves_bytes > 0 else "danger"
        )
        self.line.setToolTip(f"Make this change: {size(rung.total_bytes)} then. Undo takes it back")
        self.line.setAccessibleDescription(rung.effect)
        self._effect.setText(rung.effect)
        self._effect.setVisible(bool(rung.effect))

    def _on_clicked(self) -> None:
        self.wanted.emit(self._rung)
