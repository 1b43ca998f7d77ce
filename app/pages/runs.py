"""The page of all runs: what is under way on top, what was before below."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QStackedWidget, QWidget

from app import words
from app.form_editors import FormCombo
from app.link import HostLink
from app.pages.run_actions import RunActions
from app.pages.runs_empty import NoRuns
from app.pages.runs_feed import RunsFeed
from app.pages.runs_model import ORDERS, RunsGroup, RunsModel
from app.pages.runs_view import RunsView
from app.theme import Theme, Tokens
from app.theme_icons import icon
from app.widgets.notice import Notice
from app.widgets.parts import Card, button, column, label, row
from engine.contract.messages import RunSummary

MOST_NOW = 5
"""Rows of the upper list before it scrolls."""
AGES_MS = 20_000


class RunsPage(QWidget):
    """The list of runs.

    Signals:
        run_opened: name of the run to show, and the :class:`RunSummary` that is known of it.
        new_run_wanted: the person wants to start one.
    """

    run_opened = Signal(str, object)
    new_run_wanted = Signal()

    def __init__(self, link: HostLink, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.model = RunsModel(self)
        self.feed = RunsFeed(link, self.model, self)
        self.now = RunsGroup(self.model, now=True, parent=self)
        self.earlier = RunsGroup(self.model, now=False, parent=self)
        self.verbs = RunActions(link, self)
        self.notice = Notice()
        self._build_top(theme.tokens)
        self._build_lists(theme.tokens)
        self._arrange()
        self._connect_parts()
        theme.changed.connect(self._on_theme_changed)
        self._ages = QTimer(self, interval=AGES_MS)
        self._ages.timeout.connect(self._on_ages_due)
        self._show_what_there_is()
        if link.is_connected:
            self.feed.ask()

    # ------------------------------------------------------------ building

    def _build_top(self, tokens: Tokens) -> None:
        self.search = QLineEdit(placeholderText="Search name, model, data", clearButtonEnabled=True)
        self.search.setFixedWidth(248)
        self.search.setAccessibleName("Search runs")
        self._search_icon = self.search.addAction(
            icon("search", tokens.muted), QLineEdit.ActionPosition.LeadingPosition
        )
        self.order = FormCombo()
        self.order.addItems(list(ORDERS))
        self.order.setAccessibleName("Sort earlier runs")
        self.order.setToolTip("Order of earlier runs")
        self.order.setFixedWidth(146)
        self.new_run = button("New run", "primary")

    def _build_lists(self, tokens: Tokens) -> None:
        self.now_view = RunsView(self.now, tokens, "Runs under way")
        self.earlier_view = RunsView(self.earlier, tokens, "Earlier runs")
        self.now_card, self.earlier_card = Card("Now"), Card("Earlier", " ")
        for card, view in ((self.now_card, self.now_view), (self.earlier_card, self.earlier_view)):
            # Rows reach to the card's edge; its heading keeps the usual margin.
            card.column.setContentsMargins(0, 14, 0, 8)
            card.top.setContentsMargins(16, 0, 16, 0)
            card.column.addWidget(view)
        self.now_card.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.nothing = label("", "empty")
        self.earlier_card.column.addWidget(self.nothing, 1, Qt.AlignmentFlag.AlignCenter)

    def _arrange(self) -> None:
        lists, cards = QWidget(), column(self.now_card, self.earlier_card, spacing=14)
        cards.setStretch(1, 1)
        lists.setLayout(cards)
        self._stack = QStackedWidget()
        self.empty = NoRuns()
        self._stack.addWidget(lists)
        self._stack.addWidget(self.empty)
        top = row(label("Runs", "title"), None, self.search, self.order, self.new_run, spacing=12)
        page = column(top, self.notice, self._stack, margins=(24, 18, 24, 20), spacing=14)
        page.setStretch(2, 1)
        self.setLayout(page)

    def _connect_parts(self) -> None:
        self.feed.changed.connect(self._show_what_there_is)
        self.feed.refused.connect(self._on_refused)
        self.search.textChanged.connect(self._on_search_changed)
        self.order.currentTextChanged.connect(self.earlier.order_by)
        self.new_run.clicked.connect(self.new_run_wanted)
        self.empty.new_run.clicked.connect(self.new_run_wanted)
        self.verbs.said.connect(self.notice.say)
        for view in (self.now_view, self.earlier_view):
            view.wanted.connect(self._on_wanted)
        for group in (self.now, self.earlier):
            group.rowsInserted.connect(self._on_rows_moved)
            group.rowsRemoved.connect(self._on_rows_moved)
            group.layoutChanged.connect(self._on_rows_moved)
        self.now_view.left_below.connect(self._on_now_left)
        self.earlier_view.left_above.connect(self._on_earlier_left)

    # ------------------------------------------------------------ showing it

    def _on_refused(self, sentence: str) -> None:
        self.notice.say(sentence, "danger")

    def _show_what_there_is(self) -> None:
        has_runs = self.model.rowCount() > 0
        self._stack.setCurrentIndex(0 if has_runs else 1)
        if not has_runs:
            self.empty.explain(is_loaded=self.feed.is_loaded, trouble=self.feed.trouble)
            return
        self.now_card.setVisible(self.now.rowCount() > 0)
        self.now_view.setFixedHeight(self.now_view.height_of_rows(MOST_NOW))
        resting = self.earlier.summaries()
        saves = words.size(sum(summary.bytes for summary in resting))
        self.earlier_card.aside.setText(f"{words.counted(len(resting), 'run')} · {saves} of saves")
        found = self.search.text().strip()
        self.nothing.setText(f"No earlier run has “{found}”." if found else "None yet.")
        self.nothing.setVisible(not resting)
        self.earlier_view.setVisible(bool(resting))

    def _on_search_changed(self, text: str) -> None:
        self.now.search(text)
        self.earlier.search(text)
        self._show_what_there_is()

    def _on_wanted(self, verb: str, summary: RunSummary) -> None:
        if verb == "open":
            self.run_opened.emit(summary.run, summary)
        else:
            self.verbs.do(verb, summary)

    def _on_rows_moved(self) -> None:
        # Both, since the lower list moves as a whole when the upper one grows or shrinks.
        for view in (self.now_view, self.earlier_view):
            view.note_move()

    def _on_now_left(self) -> None:
        self.earlier_view.choose(0)

    def _on_earlier_left(self) -> None:
        self.now_view.choose(-1)

    def _on_ages_due(self) -> None:
        self.earlier_view.viewport().update()

    def _on_theme_changed(self, tokens: Tokens) -> None:
        self._search_icon.setIcon(icon("search", tokens.muted))
        self.now_view.set_tokens(tokens)
        self.earlier_view.set_tokens(tokens)

    def focus_search(self) -> None:
        """Put the cursor into the search field."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def showEvent(self, event: QShowEvent) -> None:
        """Qt override."""
        super().showEvent(event)
        self._ages.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override."""
        super().hideEvent(event)
        self._ages.stop()
