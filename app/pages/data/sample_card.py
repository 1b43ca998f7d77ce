"""Which sample is looked at, and the sample."""

from __future__ import annotations

import random
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QPushButton, QWidget

from app import sample_words, words
from app.pages.data.sample_view import SampleView
from app.sample_words import Likeness
from app.theme import Tokens
from app.widgets.flow import Flow
from app.widgets.parts import Card, button, elided, row
from engine.contract.dataset_report import DatasetReport
from engine.store.encoded_view import SHOWN_TOKENS, Sample

PICKS = (
    ("random", "Random", "Any sample (R)"),
    ("longest", "Longest", "From the longest on"),
    ("shortest", "Shortest", "From the shortest on"),
    ("most_cut", "Most cut", "From the one that loses most of its answer on"),
    ("untaught", "Nothing trained", "Samples without a token to learn within the cut"),
)
_FAR = "Of a row so far behind only its tokens are kept."
_RAW_HEIGHT = 130
_SEARCH_WIDTH = 150


class SampleCard(Card):
    """Goes through samples.

    Signals:
        place_wanted: place of a sample to show, and its first token.
        row_wanted: a row of the dataset to show; the first is 0.
        search_wanted: words to look for.
    """

    place_wanted = Signal(int, int)
    row_wanted = Signal(int)
    search_wanted = Signal(str)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__("What the model will see")
        self._report: DatasetReport | None = None
        self._places: list[int] = []
        """What *next* goes through; empty for chance."""
        self._at = 0
        self.sample: Sample | None = None
        self._build(tokens)

    def _build(self, tokens: Tokens) -> None:
        self.where = elided("aside")
        self.where.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.top.setStretch(1, 0)
        self.top.addWidget(self.where, 1)
        self.picks: dict[str, QPushButton] = {}
        for name, text, tip in PICKS:
            pick = self.picks[name] = button(text, "small", tip=tip)
            pick.clicked.connect(partial(self.pick, name))
        self.before = button("‹", "small", tip="The one before (Alt+Left)")
        self.after = button("›", "small", tip="The next one (Alt+Right)")
        self.before.setAccessibleName("The one before")
        self.after.setAccessibleName("The next one")
        self.search = QLineEdit(placeholderText="Search, or #row")
        self.search.setAccessibleName("Search the samples")
        self.search.setClearButtonEnabled(True)
        self.search.setProperty("kind", "small")
        self.search.setFixedWidth(_SEARCH_WIDTH)
        self.raw_button = button("Raw row", "small", tip="The row as it stands in the file")
        self.raw_button.setCheckable(True)
        self.view = SampleView(tokens)
        self._build_raw()
        self.like = button("", "small", tip="Show that row, and back again")
        self.like.hide()
        self._like_row = 0
        """The row that :attr:`like` leads to."""
        self.more = button("More tokens", "small")
        self.more.hide()
        self._arrange()
        self._connect()

    def _build_raw(self) -> None:
        self.raw = QPlainTextEdit(readOnly=True)
        self.raw.setProperty("role", "log")
        self.raw.setFixedHeight(_RAW_HEIGHT)
        self.raw.setAccessibleName("The row as it stands in the file")
        self.raw.hide()

    def _arrange(self) -> None:
        steps = QWidget()
        steps.setLayout(row(self.before, self.after))
        choose = (*self.picks.values(), steps, self.raw_button, self.search)
        foot = elided("small")
        foot.setText(
            "Green is what the loss counts: the very labels of the run. Hover a token for its id."
        )
        last = row(foot, self.more)
        last.setStretch(0, 1)
        self.column.addLayout(Flow(*choose, self.like))
        self.column.addWidget(self.view, 1)
        self.column.addWidget(self.raw)
        self.column.addLayout(last)

    def _connect(self) -> None:
        self.before.clicked.connect(partial(self._step, -1))
        self.after.clicked.connect(partial(self._step, 1))
        self.search.returnPressed.connect(self._on_search)
        self.raw_button.toggled.connect(self.raw.setVisible)
        self.like.clicked.connect(self._on_like)
        self.more.clicked.connect(self._on_more)
        for keys, target in (("Alt+Left", self.before), ("Alt+Right", self.after)):
            QShortcut(QKeySequence(keys), self).activated.connect(target.click)

    # ------------------------------------------------------------ what is gone through

    def show_report(self, report: DatasetReport) -> None:
        """Look at samples of this data from now on."""
        before, self._report = self._report, report
        for name, pick in self.picks.items():
            pick.setEnabled(bool(report.samples if name == "random" else report.picks.get(name)))
        if self.sample is not None and before is not None and _is_same(before, report):
            # The same data in another way: what is looked at stays.
            self.go_through([self.sample.row])
            return
        self.search.clear()
        if report.samples:
            self.pick("random")

    def pick(self, name: str) -> None:
        """Begin to go through such samples."""
        if self._report is None:
            return
        self._places = [] if name == "random" else self._report.picks.get(name, [])
        self._at = 0
        self._ask()

    def go_through(self, rows: list[int]) -> None:
        """Begin to go through these rows of the dataset."""
        self._places, self._at = [-1 - row for row in rows], 0
        self._ask()

    def show_found(self, places: list[int]) -> None:
        """Begin to go through what a search found."""
        if not places:
            self.where.setText("Nothing has these words")
            return
        self._places, self._at = places, 0
        self._ask()

    def show_none(self, why: str) -> None:
        """There is nothing to show of what was asked for."""
        self.where.setText("")
        self.view.setPlainText(why)
        self.raw.clear()
        self.more.hide()
        self.like.hide()

    def _step(self, by: int) -> None:
        self._at = (self._at + by) % len(self._places) if self._places else 0
        self._ask()

    def _ask(self) -> None:
        if self._report is None or not self._report.samples:
            return
        if not self._places:
            self.place_wanted.emit(random.choice(self._report.kept_places), 0)
        elif (place := self._places[self._at]) >= 0:
            self.place_wanted.emit(place, 0)
        else:
            self.row_wanted.emit(-1 - place)

    def _on_search(self) -> None:
        text = self.search.text().strip()
        row = sample_words.row_called(text, self._report) if self._report else None
        missing = sample_words.row_missing(text, self._report) if self._report else ""
        if row is not None:
            self._places, self._at = [-1 - row], 0
            self._ask()
        elif missing:
            self.show_none(missing)
        elif text:
            self.search_wanted.emit(text)

    def _on_like(self) -> None:
        """To the row that this one is like; what is gone through stays, where that is among it."""
        if -1 - self._like_row in self._places:
            self._at = self._places.index(-1 - self._like_row)
        else:
            self._places, self._at = [-1 - self._like_row], 0
        self._ask()

    def _on_more(self) -> None:
        if self.sample is not None:
            first = self.sample.first_token + SHOWN_TOKENS
            self.place_wanted.emit(self.sample.place, 0 if first >= self.sample.length else first)

    # ------------------------------------------------------------ showing

    def show_preview(self, sample: Sample) -> None:
        """Show the sample as another template would write it; it is not what is gone through."""
        self.where.setText(f"preview · {words.counted(sample.length, 'token')}")
        # Plain text has no template, so whatever is written with one is cut.
        self.view.show_sample(sample, self._report.max_length if self._report else None)
        self.more.hide()

    def show_sample(self, sample: Sample) -> None:
        """Show this one."""
        if self._report is None:
            return
        self.sample = sample
        many = len(self._places)
        which = f"{self._at + 1} of {many} · " if many > 1 else ""
        self.where.setText(which + sample_words.place_of(sample, self._report))
        cut = None if self._report.method == "pretrain" else self._report.max_length
        self.view.show_sample(sample, cut)
        self.raw.setPlainText(_FAR if sample.is_of_tokens else sample.raw)
        self._show_likeness(sample_words.likeness_of(sample.row, self._report))
        last = sample.first_token + len(sample.tokens)
        self.more.setVisible(sample.is_shown and sample.length > SHOWN_TOKENS)
        self.more.setText("More tokens" if last < sample.length else "Back to its begin")

    def _show_likeness(self, like: Likeness | None) -> None:
        self.like.setVisible(like is not None)
        if like is not None:
            self._like_row = like.row
            self.like.setText(f"{like.text} ›")


def _is_same(before: DatasetReport, report: DatasetReport) -> bool:
    """Whether both are of the same rows."""
    return (before.files, before.rows) == (report.files, report.rows)
