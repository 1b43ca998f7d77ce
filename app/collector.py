"""Python's cycle collector, run between two events and never inside one.

WORKAROUND(PySide 6.11): left to itself the collector runs wherever something is allocated, also in
a slot or an override that Qt calls while it goes over a list of widgets or holds the lock of its
connections. A Qt object that goes away there takes the process down (``QApplication.setStyleSheet``
still has it on its list) or stops it for good (``QObject.disconnect`` waits for its own lock).
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

LOOK_MS = 500


class Collector(QObject):
    """Takes the collector over from Python, for as long as it lives."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        # What is there by now stays: it need not be looked through again and again.
        gc.freeze()
        self._look = QTimer(self, interval=LOOK_MS)
        self._look.timeout.connect(self._on_look)
        self._look.start()

    def _on_look(self) -> None:
        collect_what_is_due()


def collect_what_is_due() -> None:
    """Collect the oldest generation that Python itself would collect by now, if any."""
    for generation in (2, 1, 0):
        if gc.get_count()[generation] > gc.get_threshold()[generation]:
            gc.collect(generation)
            return
