"""The right-hand card: what is still to do, and what will come of it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from app.form_words import label as setting_name
from app.pages.new_run.outlook import Choice, Line, Steps
from app.widgets.parts import Card, column, label, row
from app.words import counted
from engine.contract.messages import Complaint

_LINK_STYLE = (
    "QPushButton { background: transparent; border: none; padding: 0; text-align: left; }"
    "QPushButton:hover, QPushButton:focus { text-decoration: underline; }"
)


class OutlookCard(Card):
    """Shows what a run will be, or what keeps it from starting.

    Signals:
        field_wanted: dotted name of the setting that a complaint is about.
    """

    field_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__("What will run")
        self._headline = label("", "headline")
        self._explanation = label("", "muted", wrap=True)
        self._footer = label("", "muted", wrap=True)
        self._footer.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._body = QVBoxLayout()
        self._body.setContentsMargins(0, 0, 0, 0)
        self._body.setSpacing(6)
        holder = QWidget()
        holder.setObjectName("body")
        inner = column(self._body)
        inner.addStretch(1)
        holder.setLayout(inner)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(holder)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for part in (self._headline, self._explanation):
            self.column.addWidget(part)
        self.column.addSpacing(6)
        self.column.addWidget(area, 1)
        self.column.addWidget(self._footer)
        self._shown: object = None

    @property
    def headline(self) -> str:
        """The large line on top."""
        return self._headline.text()

    def show_complaints(self, complaints: Sequence[Complaint], is_new: bool) -> None:
        """Show what keeps the run from starting. ``is_new``: nothing was filled in yet."""
        if self._is_shown(("complaints", tuple(map(str, complaints)), is_new)):
            return
        self._headline.setText(
            "Choose a model and data" if is_new else f"{counted(len(complaints), 'thing')} to do"
        )
        self._explanation.setText(
            "Nothing starts before all of these are set."
            if not is_new
            else "Everything else has a sound value already."
        )
        self._footer.setText("")
        self._clear()
        for complaint in complaints:
            self._body.addWidget(self._complaint(complaint))

    def show_run(
        self, steps: Steps, lines: Sequence[Line], choices: Sequence[Choice], footer: str
    ) -> None:
        """Show what will run."""
        if self._is_shown((steps, tuple(lines), tuple(choices), footer)):
            return
        self._headline.setText(steps.headline)
        self._explanation.setText(steps.explanation)
        self._footer.setText(footer)
        self._clear()
        for line in lines:
            self._body.addWidget(_fact(line))
        if choices:
            self._body.addSpacing(8)
            self._body.addWidget(label("Chosen for you", "heading"))
        for made in choices:
            self._body.addWidget(_choice(made))

    def _is_shown(self, what: object) -> bool:
        same = what == self._shown
        self._shown = what
        return same

    def _clear(self) -> None:
        while (item := self._body.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()

    def _complaint(self, complaint: Complaint) -> QWidget:
        name = QPushButton(setting_name(complaint.field))
        name.setProperty("field", complaint.field)
        name.setCursor(Qt.CursorShape.PointingHandCursor)
        name.setAccessibleName(f"Go to {setting_name(complaint.field)}")
        name.setToolTip(f"Go to this setting ({complaint.field})")
        name.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        name.setStyleSheet(_LINK_STYLE)
        name.clicked.connect(self._on_complaint_clicked)
        holder = QWidget()
        text = label(f"{complaint.problem} {complaint.remedy}".strip(), "muted", wrap=True)
        holder.setLayout(column(name, text, margins=(0, 0, 0, 6), spacing=4))
        return holder

    def _on_complaint_clicked(self) -> None:
        self.field_wanted.emit(self.sender().property("field"))


def _fact(line: Line) -> QWidget:
    holder = QWidget()
    value = label(line.value, "muted")
    value.setAlignment(Qt.AlignmentFlag.AlignRight)
    value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    value.setToolTip(line.value)
    layout = row(label(line.name), value)
    layout.setStretch(1, 1)
    holder.setLayout(layout)
    return holder


def _choice(made: Choice) -> QWidget:
    holder = QWidget()
    holder.setLayout(column(label(made.title), label(made.reason, "label", wrap=True), spacing=2))
    return holder
