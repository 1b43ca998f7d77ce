"""Try it first: how far a rehearsal is, and then what was measured beside what was planned."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QProgressBar, QWidget

from app.rehearsal_words import TONES, PoolLine, figures, pool_lines
from app.widgets.parts import Card, button, label, row, set_look, set_tone
from engine.contract.messages import Refusal, Rehearsed

_COLUMNS = ("Memory", "Plan", "Measured", "Off by", "Limit")
_VERDICTS = {"fits": "It fits", "would_die": "It would have failed", "stopped": "Stopped"}


class RehearsalCard(Card):
    """Hidden until something is tried.

    Signals:
        stop_wanted: the rehearsal is to end.
        start_wanted: it fits, so start the run.
    """

    stop_wanted = Signal()
    start_wanted = Signal()

    def __init__(self) -> None:
        super().__init__("Try it first", " ")
        self.phase = label("", wrap=True)
        self.progress = QProgressBar(textVisible=False)
        self.progress.setAccessibleName("Progress of the rehearsal")
        self.verdict = label("", "headline")
        self.sentence = label("", wrap=True)
        self.figures = label("", "muted", wrap=True)
        self.remedy = label("", "muted", wrap=True)
        self.table = QWidget()
        self.cancel = button("Cancel")
        self.start = button("Start training", "primary")
        self.close_button = button("Close")
        for text in (self.sentence, self.figures, self.remedy):
            text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for part in (
            self.phase, self.progress, self.verdict, self.sentence, self.remedy, self.table,
            self.figures,
        ):  # fmt: skip
            self.column.addWidget(part)
        self.column.addLayout(row(self.cancel, self.start, self.close_button, None))
        self.cancel.clicked.connect(self.stop_wanted)
        self.cancel.clicked.connect(self._on_cancel)
        self.start.clicked.connect(self.start_wanted)
        self.close_button.clicked.connect(self.hide)
        self.hide()

    def show_begun(self) -> None:
        """A rehearsal begins."""
        set_look(self, "card", "true")
        self._show_parts(is_busy=True)
        self.cancel.setEnabled(True)
        self.aside.setText("throw-away worker, nothing is kept")
        self.show_progress("asking for a worker", 0, 0)
        self.show()

    def show_progress(self, phase: str, done: int, total: int) -> None:
        """It is at this."""
        self.phase.setText(f"{phase[:1].upper()}{phase[1:]} …")
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def show_end(self, found: Rehearsed) -> None:
        """It came to this."""
        self._show_parts(is_busy=False)
        set_look(self, "card", "danger" if found.verdict == "would_die" else "true")
        self.verdict.setText(_VERDICTS[found.verdict])
        set_tone(self.verdict, TONES[found.verdict])
        self.sentence.setText(found.sentence)
        last = found.findings[-1] if found.findings else None
        remedy = f"{last.cause} {last.remedy}".strip() if last else ""
        self._say(self.remedy, remedy if found.verdict == "would_die" else "")
        self._say(self.figures, figures(found))
        self._show_table(pool_lines(found))
        self.start.setVisible(found.verdict == "fits")

    def show_refusal(self, refusal: Refusal) -> None:
        """It was not tried at all."""
        self._show_parts(is_busy=False)
        set_look(self, "card", "warning")
        self.verdict.setText("Not tried")
        set_tone(self.verdict, "warning")
        self.sentence.setText(refusal.sentence)
        things = [f"{c.problem} {c.remedy}".strip() for c in refusal.complaints]
        self._say(self.remedy, "\n".join(things))
        self._say(self.figures, "")
        self._show_table([])
        self.start.hide()

    def _show_parts(self, *, is_busy: bool) -> None:
        for part in (self.phase, self.progress, self.cancel):
            part.setVisible(is_busy)
        self.table.setVisible(not is_busy)
        for text in (self.verdict, self.sentence, self.remedy, self.figures):
            text.setVisible(not is_busy)
        self.start.setVisible(not is_busy)
        self.close_button.setVisible(not is_busy)
        self.aside.setText("" if not is_busy else self.aside.text())

    def _say(self, place: QLabel, text: str) -> None:
        place.setText(text)
        place.setVisible(bool(text))

    def _show_table(self, lines: list[PoolLine]) -> None:
        old = self.table
        self.table = QWidget()
        grid = QGridLayout(self.table)
        grid.setContentsMargins(0, 4, 0, 4)
        grid.setHorizontalSpacing(18)
        grid.setVerticalSpacing(5)
        rows = [(*_COLUMNS, "label"), *(_cells(line) for line in lines)]
        for y, (*cells, look) in enumerate(rows if lines else []):
            for x, text in enumerate(cells):
                tone = look if y and x in (2, 3) else ""
                cell = label(text, "label" if y == 0 else "", tone=tone)
                side = Qt.AlignmentFlag.AlignLeft if x == 0 else Qt.AlignmentFlag.AlignRight
                grid.addWidget(cell, y, x, side)
        grid.setColumnStretch(0, 1)
        self.column.replaceWidget(old, self.table)
        old.hide()
        old.deleteLater()
        self.table.setVisible(bool(lines))

    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.phase.setText("Ending it …")


def _cells(line: PoolLine) -> tuple[str, ...]:
    return (line.name, line.planned, line.measured, line.difference, line.limit, line.tone)
