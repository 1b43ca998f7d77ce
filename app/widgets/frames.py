"""When to draw: what a person does at once, what was measured every now and then."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, QTimer, Signal

FRAME_MS = 34
LIVE_FRAME_MS = 500
"""Between two frames that nobody but the run asked for."""
LIVE_FRAME_ON_CPU_MS = 3000
"""The same where the run itself needs the processor, and what is drawn is taken from its steps."""


class Frames(QObject):
    """Gathers wishes to draw.

    Signals:
        due: draw now.
    """

    due = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.is_on_cpu = True
        self._drawn_at = 0.0
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._on_timeout)

    @property
    def is_waiting(self) -> bool:
        """A frame is to come."""
        return self._timer.isActive()

    def want_soon(self) -> None:
        """Somebody did something."""
        if not 0 <= self._timer.remainingTime() <= FRAME_MS:
            self._timer.start(FRAME_MS)

    def want_in_time(self) -> None:
        """Something was measured."""
        if not self.is_waiting:
            gap = LIVE_FRAME_ON_CPU_MS if self.is_on_cpu else LIVE_FRAME_MS
            since = int(1000 * (time.monotonic() - self._drawn_at))
            self._timer.start(max(FRAME_MS, gap - since))

    def stop(self) -> None:
        """Nobody looks any more."""
        self._timer.stop()

    def _on_timeout(self) -> None:
        self._drawn_at = time.monotonic()
        self.due.emit()
