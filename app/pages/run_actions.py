"""What can be done to a run from any page: asked of the host, confirmed where it is final."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QWidget

from app import words
from app.failure_words import Failure, settings_of
from app.link import HostLink
from app.pages.run_command import train_command
from app.widgets.confirm import Confirm
from engine.contract.lifecycle import State
from engine.contract.messages import (
    Pause,
    Refusal,
    Remove,
    Request,
    Resume,
    RunSummary,
    SaveCheckpoint,
    Show,
    Stop,
    VerifySaves,
)
from engine.contract.validate import check
from engine.store.soundness import SaveChecked, in_words, is_well


class RunActions(QObject):
    """The verbs of a run.

    Signals:
        said: a sentence about what was done or why not, and its tone (``good`` or ``danger``).
    """

    said = Signal(str, str)

    def __init__(self, link: HostLink, window: QWidget) -> None:
        super().__init__(window)
        self._link = link
        self._window = window

    def do(self, verb: str, summary: RunSummary) -> None:
        """Do what a button says. Raises KeyError for an unknown verb."""
        verbs = {
            "stop": self.stop,
            "save_now": self.save_now,
            "check_saves": self.check_saves,
            "resume": self.resume,
            "leave_be": self.leave_be,
            "pause": self.pause,
            "stop_at_once": self.stop_at_once,
            "remove": self.remove,
            "open_folder": self.open_folder,
            "copy_command": self.copy_command,
        }
        verbs[verb](summary)

    def stop(self, summary: RunSummary) -> None:
        """Stop at the next step boundary, saved."""
        self._ask(Stop, f"{summary.name} saves and stops after this step.", run=summary.run)

    def save_now(self, summary: RunSummary) -> None:
        """Save at the next step boundary."""
        self._ask(SaveCheckpoint, f"{summary.name} saves after this step.", run=summary.run)

    def check_saves(self, summary: RunSummary) -> None:
        """Have every byte of the saves read again."""
        self.said.emit("Every byte of the saves is read again. That takes a moment.", "good")
        pending = self._link.ask(VerifySaves, run=summary.run)
        pending.replied.connect(self._on_saves_checked)
        pending.refused.connect(self._on_refused)

    def resume(self, summary: RunSummary) -> None:
        """Go on from the newest save."""
        self._resume(summary)

    def pause(self, summary: RunSummary) -> None:
        """Save, and give the card back until the run is told to go on."""
        self._ask(Pause, f"{summary.name} saves and frees the card after this step.",
                  run=summary.run)  # fmt: skip

    def leave_be(self, summary: RunSummary) -> None:
        """Do not let a recovering run go on."""
        self._ask(Stop, f"{summary.name} is left as it is.", run=summary.run)

    def fix(self, summary: RunSummary, failure: Failure) -> None:
        """Go on with what mends the failure; asks first where that changes the result."""
        finding = failure.finding
        resume = partial(self._resume, summary, finding.patch)
        if not finding.changes_result:
            resume()
            return
        question = Confirm(
            self._window,
            title=f"Go on with other settings for {summary.name}?",
            text=f"This sets {settings_of(finding.patch)}. The run ends with another result than "
            "it would have had. What you wrote stays in its folder, and the change beside it.",
            verb="Fix and resume",
            kind="primary",
        )
        question.confirmed.connect(resume)
        question.open()

    def stop_at_once(self, summary: RunSummary) -> None:
        """End the worker, after a question."""
        question = Confirm(
            self._window,
            title=f"Stop {summary.name} at once?",
            text="The worker is ended without saving. What came after the last save is lost; "
            "Resume goes on from that save.",
            verb="Stop at once",
        )
        question.confirmed.connect(partial(self._ask, Stop, "", run=summary.run, now=True))
        question.open()

    def remove(self, summary: RunSummary) -> None:
        """Delete the run's folder, after a question."""
        question = Confirm(
            self._window,
            title=f"Remove {summary.name}?",
            text=f"This deletes the folder {summary.folder} with its "
            f"{words.counted(summary.checkpoints, 'save')} ({words.size(summary.bytes)}), graphs "
            "and results. It cannot be undone.",
            verb="Remove",
        )
        question.confirmed.connect(partial(self._ask, Remove, "", run=summary.run))
        question.open()

    def open_folder(self, summary: RunSummary) -> None:
        """Show the run's folder, or copy its path where it lies on another machine."""
        if self._link.place.kind == "this" and Path(summary.folder).is_dir():
            QDesktopServices.openUrl(QUrl.fromLocalFile(summary.folder))
            return
        QApplication.clipboard().setText(summary.folder)
        where = self._link.place.label()
        self.said.emit(f"The folder is on {where}. Its path was copied: {summary.folder}", "good")

    def copy_command(self, summary: RunSummary) -> None:
        """Put the run as a ``fettle train`` command on the clipboard."""
        pending = self._link.ask(Show, run=summary.run)
        pending.replied.connect(self._on_shown)
        pending.refused.connect(self._on_refused)

    def _ask(self, kind: type[Request], sentence: str, **fields: Any) -> None:
        pending = self._link.ask(kind, **fields)
        pending.refused.connect(self._on_refused)
        if sentence:
            pending.replied.connect(partial(self._on_done, sentence))

    def _resume(self, summary: RunSummary, patch: dict[str, Any] | None = None) -> None:
        pending = self._link.ask(Resume, run=summary.run, patch=patch or {})
        pending.refused.connect(self._on_refused)
        pending.replied.connect(self._on_resumed)

    def _on_resumed(self, data: dict[str, Any]) -> None:
        if data.get("passed_over"):
            self.said.emit(data["passed_over"], "danger")

    def _on_done(self, sentence: str, _data: object) -> None:
        self.said.emit(sentence, "good")

    def _on_saves_checked(self, data: dict[str, Any]) -> None:
        saves = msgspec.convert(data["saves"], list[SaveChecked])
        sentence = in_words(saves, is_finished=data.get("state") == State.FINISHED)
        self.said.emit(sentence, "good" if is_well(saves) else "danger")

    def _on_shown(self, data: dict[str, Any]) -> None:
        spec, complaints = check(data.get("spec", {}))
        if spec is None:
            self.said.emit(f"The run's settings cannot be read. {complaints[0]}", "danger")
            return
        QApplication.clipboard().setText(train_command(spec))
        self.said.emit("Copied: paste it into a terminal to train the same run again.", "good")

    def _on_refused(self, refusal: Refusal) -> None:
        self.said.emit(refusal.sentence, "danger")
