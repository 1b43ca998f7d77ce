"""A native notification when a run ends, by whatever the desktop has for it.

On Linux ``notify-send`` is asked (the desktop's own), elsewhere and where that fails the tray icon
is. Where neither is there, ``fell_back`` lets the window say it in its own way.
"""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject, QProcess, QStandardPaths, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon

from app.link import HostLink
from app.words import SPACE, loss, span
from engine.contract.lifecycle import RESTING, State
from engine.contract.messages import RunSummary

_SHOWN_MS = 10_000
_TITLES = {
    State.FINISHED: "Finished",
    State.STOPPED: "Stopped and saved",
    State.FAILED: "Failed",
    State.INTERRUPTED: "Interrupted",
}


TONES = {
    State.FINISHED: "good",
    State.STOPPED: "info",
    State.FAILED: "danger",
    State.INTERRUPTED: "warning",
}
"""Of the sentence where the window says it itself."""


def title_of(summary: RunSummary) -> str:
    """What happened, in a few words."""
    return f"{_TITLES[summary.state]}: {summary.name}"


def text_of(summary: RunSummary) -> str:
    """How it went, in a line."""
    if summary.state in (State.FAILED, State.INTERRUPTED):
        return summary.sentence or "The run's page says why, and what to do."
    steps = f"{summary.step} of {summary.max_steps}" if summary.max_steps else str(summary.step)
    parts = [f"Step{SPACE}{steps}"]
    parts += [f"loss{SPACE}{loss(summary.loss)}"] if summary.loss is not None else []
    parts += [span(summary.train_seconds)] if summary.train_seconds else []
    return " · ".join(parts)


class Notifier(QObject):
    """Tells when a run that was seen alive comes to rest.

    Signals:
        fell_back: title, text and tone of what the desktop did not take.
        told: name of the run that was told of, in any way.
    """

    fell_back = Signal(str, str, str)
    told = Signal(str)

    def __init__(self, link: HostLink, icon: QIcon, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon
        self._tray: QSystemTrayIcon | None = None
        self._states: dict[str, State] = {}
        link.run_changed.connect(self._on_run_changed)
        link.run_removed.connect(self._on_run_removed)

    def _on_run_changed(self, summary: RunSummary) -> None:
        before = self._states.get(summary.run)
        self._states[summary.run] = summary.state
        # A run first seen at rest ended before this window was there: no news.
        if before is not None and before not in RESTING and summary.state in RESTING:
            self._tell(title_of(summary), text_of(summary), TONES[summary.state])
            self.told.emit(summary.run)

    def _on_run_removed(self, run: str) -> None:
        self._states.pop(run, None)

    def _tell(self, title: str, text: str, tone: str) -> None:
        command = notify_send() if sys.platform.startswith("linux") else ""
        if command:
            said = (title, text, tone)
            _Sender(command, said, self).failed.connect(self._tell_without_command)
        else:
            self._tell_without_command(title, text, tone)

    def _tell_without_command(self, title: str, text: str, tone: str) -> None:
        if not self._over_tray(title, text):
            self.fell_back.emit(title, text, tone)

    def _over_tray(self, title: str, text: str) -> bool:
        available = QSystemTrayIcon.isSystemTrayAvailable()
        if not (available and QSystemTrayIcon.supportsMessages()):
            return False
        if self._tray is None:
            self._tray = QSystemTrayIcon(self._icon, self)
            self._tray.show()
        self._tray.showMessage(title, text, self._icon, _SHOWN_MS)
        return True


class _Sender(QObject):
    """One call of ``notify-send``.

    Signals:
        failed: title, text and tone that it did not take; there may be no desktop to show them.
    """

    failed = Signal(str, str, str)

    def __init__(self, command: str, said: tuple[str, str, str], parent: QObject) -> None:
        super().__init__(parent)
        self._said = said
        title, text, _ = said
        self._process = QProcess(self)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._process.start(command, ["--app-name=Fettle", "--", title, text])

    def _on_finished(self, exit_code: int, _status: QProcess.ExitStatus) -> None:
        if exit_code != 0:
            self.failed.emit(*self._said)
        self.deleteLater()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self.failed.emit(*self._said)
            self.deleteLater()


def notify_send() -> str:
    """Path of the desktop's ``notify-send``, empty if there is none."""
    return QStandardPaths.findExecutable("notify-send")
