"""The window: a rail, the page that is looked at, and the keys to get around. It only navigates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QCloseEvent, QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QMainWindow, QStackedWidget, QWidget

from app.link import HostLink
from app.preferences import Preferences
from app.theme import Theme, Tokens
from app.theme_icons import window_icon
from app.widgets.notice import Notice
from app.widgets.parts import column, row
from app.widgets.rail import Rail
from engine.contract.messages import RunSummary

_GEOMETRY = "window/geometry"
FIRST_SIZE = (1360, 860)
LEAST_SIZE = (860, 480)
TITLE_HEIGHT = 40
"""Room left for the title bar, whose height is not known before the window is shown."""

KEYS = {
    "Ctrl+1": "new_run", "Ctrl+N": "new_run", "Ctrl+2": "runs", "Ctrl+3": "data",
    "Ctrl+4": "doctor", "Ctrl+5": "settings",
}  # fmt: skip


class ShowsRuns(Protocol):
    """The page of one run."""

    def show_run(self, run: str, summary: RunSummary | None = None) -> None:
        """Look at a run."""


class Searches(Protocol):
    """The page of all runs."""

    def focus_search(self) -> None:
        """Put the cursor into the search field."""


class Window(QMainWindow):
    """Holds the pages; each is made when it is first looked at."""

    def __init__(self, link: HostLink, theme: Theme, preferences: Preferences) -> None:
        super().__init__()
        self.setWindowTitle("Fettle")
        self.setWindowIcon(window_icon())
        self._preferences = preferences
        self._makers: dict[str, Callable[[], QWidget]] = {}
        self._pages: dict[str, QWidget] = {}
        self.rail = Rail(link, theme.tokens)
        self.stack = QStackedWidget()
        self.stack.setObjectName("pages")
        self.notice = Notice()
        self._arrange()
        self._bind_keys()
        self.rail.chosen.connect(self.show_page)
        theme.changed.connect(self._on_theme_changed)

    def _arrange(self) -> None:
        pages = column(self.stack, self.notice, spacing=0)
        pages.setStretch(0, 1)
        whole = row(self.rail, pages, spacing=0)
        whole.setStretch(1, 1)
        body = QWidget()
        body.setLayout(whole)
        self.setCentralWidget(body)
        self.resize(*FIRST_SIZE)
        is_placed = self.restoreGeometry(self._preferences.blob(_GEOMETRY))
        self._fit_to_screen(is_placed=is_placed)

    def _fit_to_screen(self, *, is_placed: bool) -> None:
        """No larger than the screen, whose logical size a scale factor divides, and within it."""
        middle = self.geometry().center()
        screen = (QGuiApplication.screenAt(middle) if is_placed else None) or self.screen()
        room = screen.availableGeometry().adjusted(0, TITLE_HEIGHT, 0, 0)
        self.setMinimumSize(QSize(*LEAST_SIZE).boundedTo(room.size()))
        if self.isMaximized() or self.isFullScreen():
            return
        fitting = QRect(self.pos(), self.size().boundedTo(room.size()))
        self.resize(fitting.size())
        if is_placed:
            fitting.moveRight(min(fitting.right(), room.right()))
            fitting.moveBottom(min(fitting.bottom(), room.bottom()))
            fitting.moveTo(max(fitting.x(), room.x()), max(fitting.y(), room.y() - TITLE_HEIGHT))
            self.move(fitting.topLeft())

    def _bind_keys(self) -> None:
        for keys in KEYS:
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.activated.connect(self._on_page_key)
        QShortcut(QKeySequence.StandardKey.Find, self).activated.connect(self._on_find)
        QShortcut(QKeySequence("Escape"), self).activated.connect(self._on_escape)

    # ------------------------------------------------------------ going somewhere

    def add_page(self, name: str, maker: Callable[[], QWidget]) -> None:
        """Make a page known; ``maker`` is called when it is first wanted."""
        self._makers[name] = maker

    def page(self, name: str) -> QWidget:
        """The page, made now if it was not yet. Raises KeyError for an unknown one."""
        if name not in self._pages:
            self._pages[name] = self._makers[name]()
            self.stack.addWidget(self._pages[name])
        return self._pages[name]

    @property
    def shown(self) -> str:
        """Name of the page that is looked at."""
        current = self.stack.currentWidget()
        return next((name for name, page in self._pages.items() if page is current), "")

    def show_page(self, name: str) -> None:
        """Go to a page."""
        page = self.page(name)
        self.stack.setCurrentWidget(page)
        self.rail.mark("runs" if name == "run" else name)
        page.setFocus()

    def open_run(self, run: str, summary: RunSummary | None = None) -> None:
        """Go to a run."""
        cast(ShowsRuns, self.page("run")).show_run(run, summary)
        self.show_page("run")

    def open_new_run(self) -> None:
        """Go to where runs are made."""
        self.show_page("new_run")

    def leave_run(self, sentence: str = "") -> None:
        """Go back to the list of runs, and say why."""
        if self.shown == "run":
            self.show_page("runs")
        if "run" in self._pages:
            cast(ShowsRuns, self._pages["run"]).show_run("")
        if sentence:
            self.notice.say(sentence, "info")

    def say(self, sentence: str, tone: str = "info") -> None:
        """Show a sentence for a while, in the colour of its tone."""
        self.notice.say(sentence, tone)

    def _on_page_key(self) -> None:
        shortcut = cast(QShortcut, self.sender())
        self.show_page(KEYS[shortcut.key().toString(QKeySequence.SequenceFormat.PortableText)])

    def _on_find(self) -> None:
        self.show_page("runs")
        cast(Searches, self.page("runs")).focus_search()

    def _on_escape(self) -> None:
        if self.shown == "run":
            self.show_page("runs")

    def _on_theme_changed(self, tokens: Tokens) -> None:
        self.rail.set_tokens(tokens)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Qt override: remembers where the window was. Runs go on without it."""
        self._preferences.set_blob(_GEOMETRY, self.saveGeometry())
        super().closeEvent(event)
