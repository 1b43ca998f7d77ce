"""How soon the window is there: first paint, and the whole dashboard, beside a ten-line window.

Each start is a process of its own. Times are from its spawn, in seconds.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from measure import PYTHON, ROOT, alternate, private_home

BARE = """
import sys, time
from PySide6.QtWidgets import QApplication, QLabel, QMainWindow
from PySide6.QtCore import QTimer
class Window(QMainWindow):
    def paintEvent(self, event):
        super().paintEvent(event); print(time.time(), flush=True); QTimer.singleShot(0, app.quit)
app = QApplication([]); window = Window(); window.setCentralWidget(QLabel("x"))
window.resize(1360, 860); window.show(); app.exec()
"""

OURS = """
import sys, time
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication
from app.main import App
class Watch(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and watched is app.window.centralWidget():
            print(time.time(), flush=True)
            app.window.centralWidget().removeEventFilter(self)
            QTimer.singleShot(0, then)
        return False
def then():
    if sys.argv[1] == "first":
        qt.quit(); return
    app.window.open_run("none")
    board = app.window.page("run").body.board
    for graph in board.graphs: graph.repaint()
    print(time.time(), flush=True)
    qt.quit()
qt = QApplication(["fettle"]); app = App(qt); watch = Watch()
app.window.show_page("runs"); app.window.centralWidget().installEventFilter(watch)
app.window.show(); qt.exec()
"""


def seconds_to(code: str, *arguments: str) -> float:
    """From spawn to the last time the script prints."""
    begun = time.time()
    done = subprocess.run(
        [PYTHON, "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1]) - begun


def bare() -> list[float]:
    return [seconds_to(BARE) for _ in range(3)]


def first() -> list[float]:
    return [seconds_to(OURS, "first") for _ in range(3)]


def dashboard() -> list[float]:
    return [seconds_to(OURS, "dashboard") for _ in range(3)]


def run() -> dict[str, Any]:
    with private_home():
        seconds_to(OURS, "dashboard")
        paint = alternate(bare, first, 4)
        full = alternate(bare, dashboard, 4)
    return {
        "first_paint": paint | {"limit_s": 0.35, "passed": paint["b_median"] <= 0.35},
        "dashboard": full | {"limit_s": 0.7, "passed": full["b_median"] <= 0.7},
    }
