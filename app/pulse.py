"""Notices a connection that has died without a word, as one through a network does.

A relay whose other machine was switched off, or whose network changed, stays open for ever. So
when nothing has come for a while, something is asked; if that is not answered either, it is over.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

PULSE_MS = 20_000
"""Silence of one to two pulses is asked about; of one more, it is the end."""


class Pulse(QObject):
    """Watches one connection.

    Signals:
        question_due: nothing came for a while; any answer will do.
        stopped: nothing came after that either.
    """

    question_due = Signal()
    stopped = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._silent_pulses = 0
        self._timer = QTimer(self, interval=PULSE_MS)
        self._timer.timeout.connect(self._on_timeout)

    def start(self) -> None:
        """A connection begins."""
        self._silent_pulses = 0
        self._timer.start()

    def stop(self) -> None:
        """The connection is over."""
        self._timer.stop()

    def beat(self) -> None:
        """Something came."""
        self._silent_pulses = 0

    def _on_timeout(self) -> None:
        self._silent_pulses += 1
        if self._silent_pulses == 2:
            self.question_due.emit()
        elif self._silent_pulses > 2:
            self._timer.stop()
            self.stopped.emit()
