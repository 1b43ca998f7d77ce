"""The right-hand card: what is still to do, whether it fits, and what could be changed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from app.form_words import LABELS, choice
from app.pages.new_run.budget_view import BudgetView
from app.pages.new_run.embeddings_view import WAYS, EmbeddingsView
from app.pages.new_run.forecaster import Forecast
from app.pages.new_run.ladder_view import LadderView
from app.pages.new_run.outlook import Line
from app.pages.new_run.todo import TodoList
from app.pages.new_run.todo_items import Todo, heading
from app.plan_words import brief, file, forecast, forecast_why, moments, parts, remarks, tone
from app.theme import Tokens
from app.widgets.budget_bar import BudgetBar
from app.widgets.folder import Explained, Folder, Pool
from app.widgets.growing_area import GrowingArea
from app.widgets.line_button import LineButton
from app.widgets.parts import Card, button, column, label, row, rule, set_tone
from app.words import counted, size
from engine.planning.embeddings import Option
from engine.planning.plan import Choice, Plan, Rung
from engine.planning.safe_mode import SafeMode

_AS_NEEDED = Qt.ScrollBarPolicy.ScrollBarAsNeeded
_SAFE = "safe_mode."
"""Of choices that have their place under the safe mode."""
_OLD = "This is the plan from before the last change"
_HINTS = {
    "empty": "Choose a model, and Fettle works out here what training it takes on {place} before "
    "anything is downloaded.",
    "waiting": "The plan comes once what is listed above is set.",
}


class BudgetCard(Card):
    """Shows a :class:`Forecast`.

    Signals:
        field_wanted: dotted name of the setting that a complaint is about.
        patch_wanted: changes (dict) to the spec, and a title for them.
        make_it_fit_wanted: the cheapest changes that keep the result are to be made.
        undo_wanted: the last change made here is to be taken back.
        retry_wanted: what failed is to be tried again.
        brief_changed: all of it in one line, and its tone, for where the card is out of view.
    """

    field_wanted = Signal(str)
    patch_wanted = Signal(object, str)
    make_it_fit_wanted = Signal()
    undo_wanted = Signal()
    retry_wanted = Signal()
    brief_changed = Signal(str, str)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__("VRAM budget", " ")
        self._tokens = tokens
        self._has_card = True
        self._plan: Plan | None = None
        self._make_parts()
        self._arrange()
        self._connect()

    @property
    def headline(self) -> str:
        """The large line on top."""
        return (self.budget.headline if self.budget.isVisibleTo(self) else self._title).text()

    # ------------------------------------------------------------ building

    def _make_parts(self) -> None:
        tokens = self._tokens
        self._title = label("", "headline", wrap=True)
        self.todo = TodoList(tokens)
        self._line = rule()
        self.hint = label("", "muted", wrap=True)
        self.retry = button("Try again")
        self.busy = QProgressBar(minimum=0, maximum=0, textVisible=False)
        self.busy.setAccessibleName("The model is being traced")
        self.budget = BudgetView(tokens)
        self.ladder = LadderView(tokens)
        self._choices: Pool[Explained] = Pool(self._make_line)
        self._advice = label("", "muted", wrap=True)
        self._moments: Pool[Explained] = Pool(self._make_line)
        self._safe: Pool[Explained] = Pool(self._make_line)
        self._facts: Pool[Explained] = Pool(self._make_line)
        self._ways = EmbeddingsView(tokens)
        self.embeddings = Folder("Embeddings", self._ways, tokens)
        self.choices = Folder("Chosen for you", self._choices, tokens)
        self.advice = Folder("Good to know", self._advice, tokens)
        self.safe = Folder("Safe mode", self._safe, tokens)
        self.moments = Folder("Other needs", self._moments, tokens)
        self.facts = Folder("This run", self._facts, tokens)
        self.time = label("", "muted", wrap=True)

    def _arrange(self) -> None:
        retry = QWidget()
        retry.setLayout(row(self.retry, None))
        self._retry_row = retry
        body = column(
            self._title, self.todo, self._line, self.busy, self.hint, retry, self.budget,
            self.ladder, self.embeddings, self.advice, self.choices, self.safe, self.moments,
            self.facts, spacing=10,
        )  # fmt: skip
        body.addStretch(1)
        self._body = body
        holder = QWidget()
        holder.setObjectName("body")
        holder.setLayout(body)
        area = GrowingArea(holder)
        self.area = area
        # The scroll bar stands in the card's margin, so that figures end where the bar above does.
        around = self.column.contentsMargins()
        self._margin = around.right()
        around.setRight(0)
        self.column.setContentsMargins(around)
        area.verticalScrollBar().rangeChanged.connect(self._on_range_changed)
        self._on_range_changed(0, 0)
        self.column.addWidget(area, 1)
        self.time.setContentsMargins(0, 4, self._margin, 0)
        self.column.addWidget(self.time)

    def _on_range_changed(self, _least: int, most: int) -> None:
        has_bar = most and self.area.verticalScrollBarPolicy() == _AS_NEEDED
        bar = self.area.verticalScrollBar().sizeHint().width() if has_bar else 0
        self._body.setContentsMargins(0, 0, self._margin - bar, 0)

    def _connect(self) -> None:
        self.todo.field_wanted.connect(self.field_wanted)
        self.todo.patch_wanted.connect(self.patch_wanted)
        self.budget.make_it_fit_wanted.connect(self.make_it_fit_wanted)
        self.ladder.rung_wanted.connect(self._on_change_wanted)
        self._ways.way_wanted.connect(self._on_change_wanted)
        self.ladder.undo_wanted.connect(self.undo_wanted)
        self.retry.clicked.connect(self.retry_wanted)

    def _make_line(self) -> Explained:
        return Explained(self._tokens)

    # ------------------------------------------------------------ showing

    def show_todos(self, found: Sequence[Todo], is_new: bool) -> None:
        """Show what keeps the run from starting. ``is_new``: nothing was filled in yet."""
        self._title.setText(heading(found, is_new=is_new))
        self._title.setVisible(bool(self._title.text()))
        self.todo.show_todos(found)
        self._line.setVisible(bool(found))
        self._tell_brief()

    def _tell_brief(self) -> None:
        parts = [self._title.text(), brief(self._plan) if self._plan is not None else ""]
        text = " · ".join(filter(None, parts))
        self.brief_changed.emit(text, tone(self._plan) if self._plan is not None else "info")

    def show_machine(self, *, has_card: bool) -> None:
        """What is planned for has a card, or its processor trains."""
        self._has_card = has_card
        self.heading.setText("VRAM budget" if has_card else "Memory budget")

    def show_facts(self, lines: Sequence[Line]) -> None:
        """Show what will run and where the result goes."""
        for row_, line in zip(self._facts.take(len(lines)), lines, strict=True):
            row_.line.show_line(line.name, line.value)
            row_.explain(line.how)
        self.facts.say(lines[0].value if lines else "")
        self.facts.setVisible(bool(lines))

    def show_forecast(self, found: Forecast, habits: Sequence[Choice]) -> None:
        """Show a plan, or why there is none; ``habits`` go with any plan."""
        plan = found.plan
        self._plan = plan
        self._show_state(found)
        for part in (self.budget, self.ladder, self.moments, self.time):
            part.setVisible(plan is not None)
        chosen = [c for c in (plan.choices if plan else ()) if not c.field.startswith(_SAFE)]
        choices = [*chosen, *habits]
        self._show_choices(choices)
        self.choices.setVisible(bool(choices) and found.stage != "empty")
        self._show_safe_mode(found.safe)
        self._ways.show_options(found.embeddings)
        self.embeddings.say("".join(WAYS[way.way] for way in found.embeddings if way.is_chosen))
        self.embeddings.setVisible(bool(found.embeddings))
        self.advice.setVisible(bool(plan and remarks(plan)))
        if plan is not None:
            self._show_plan(plan, found)
        self._tell_brief()

    def _show_state(self, found: Forecast) -> None:
        has_plan = found.plan is not None
        place = "this card" if self._has_card else "this machine"
        hint = found.sentence or _HINTS.get(found.stage, "").format(place=place)
        if found.stage == "tracing":
            hint = "Tracing the model, about 2 s; the first one also starts a worker."
        elif found.stage == "no_engine":
            hint = f"No plan without the engine. {hint}"
        elif found.stage == "failed":
            hint = f"The model could not be traced. {hint}"
        self.hint.setText(hint)
        is_quiet = found.stage == "planned" or (found.stage in ("waiting", "tracing") and has_plan)
        self.hint.setVisible(bool(hint) and not is_quiet)
        set_tone(self.hint, "danger" if found.stage == "failed" else "")
        self.busy.setVisible(found.stage == "tracing" and not has_plan)
        self._retry_row.setVisible(found.stage == "failed")

    def _show_plan(self, plan: Plan, found: Forecast) -> None:
        is_old = found.stage != "planned"
        note = "Tracing the model, about 2 s" if found.stage == "tracing" else _OLD
        note = note if is_old else ""
        self.budget.set_busy(found.stage == "tracing")
        self.budget.show_plan(plan, note=note, fit=found.fit)
        self.ladder.show_plan(plan)
        self.ladder.setEnabled(not is_old)
        advice = remarks(plan)
        self._advice.setText("\n\n".join(advice))
        self.advice.say(str(len(advice)))
        self._show_moments(plan)
        self.time.setText(forecast(plan.timing))
        self.time.setToolTip(forecast_why(plan.timing))
        self.time.setVisible(plan.timing is not None)

    def _show_choices(self, choices: Sequence[Choice]) -> None:
        for place, made in zip(self._choices.take(len(choices)), choices, strict=True):
            place.line.show_line(choice_name(made), choice(made.field, made.value))
            place.explain(f"{made.reason} {made.cost}".strip())
        self.choices.say(str(len(choices)))

    def _show_safe_mode(self, safe: SafeMode | None) -> None:
        lines = safe.lines if safe is not None else []
        for place, line in zip(self._safe.take(len(lines)), lines, strict=True):
            place.line.show_line(line.title, "")
            place.explain(f"{line.group}: {line.reason} {line.cost}".strip())
        self.safe.say(counted(len(lines), "line"))
        self.safe.setVisible(bool(lines))

    def _show_moments(self, plan: Plan) -> None:
        found = [(name, size(b.total_bytes), parts(b)) for name, b in moments(plan)]
        found.append(("RAM", size(plan.ram_bytes), "In the computer's memory."))
        self.moments.say(f"{found[0][0].lower()} {found[0][1]}")
        if plan.pinned_bytes:
            found.append(("Pinned RAM", size(plan.pinned_bytes), "RAM that may not be moved."))
        found.append(("Checkpoint on disk", file(plan.checkpoint_bytes), "Of each that is kept."))
        for place, (name, figure, how) in zip(self._moments.take(len(found)), found, strict=True):
            place.line.show_line(name, figure)
            place.explain(how)

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self._tokens = tokens
        for line in self.findChildren(LineButton):
            line.set_tokens(tokens)
        for bar in self.findChildren(BudgetBar):
            bar.set_tokens(tokens)
        self.budget.set_tokens(tokens)
        self.todo.set_tokens(tokens)

    # ------------------------------------------------------------ what people do

    def _on_change_wanted(self, made: Rung | Option) -> None:
        self.patch_wanted.emit(made.patch, made.title)


def choice_name(choice: Choice) -> str:
    """What was chosen, in the form's words."""
    if choice.field in LABELS:
        return LABELS[choice.field]
    name = choice.field.rpartition(".")[2].replace("_", " ")
    return name[:1].upper() + name[1:]
