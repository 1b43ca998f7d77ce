"""The line on top of a run: its name, its state, and what can be done to it now."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QButtonGroup, QMenu, QPushButton, QWidget

from app.run_words import chip_of
from app.theme import Tokens
from app.theme_icons import icon
from app.widgets.parts import Chip, ElidedLabel, button, row, set_icon, set_look
from engine.contract.lifecycle import LIVE, RESTING, RESUMABLE, State
from engine.contract.messages import RunSummary


class RunHeader(QWidget):
    """Title, state and actions.

    Signals:
        wanted: a button or menu entry was chosen: a verb of
            :class:`app.pages.run_actions.RunActions`.
    """

    wanted = Signal(str)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.title = ElidedLabel()
        self.title.setProperty("role", "title")
        self.chip = Chip()
        self.save = button("Save now", tip="Save at the end of this step and go on (Ctrl+S)")
        self.stop = button("Stop", tip="Save at the end of this step, then stop. Nothing is lost.")
        self.pause = button(
            "Pause",
            tip="Save, and give all of the card's memory back, as for a game. Nothing is lost.",
        )
        self.go_on = button("Continue", "primary", tip="Go exactly on from where it was paused")
        self.folder = button("Open folder", tip="Show the files of this run")
        self.resume = button("Resume", "primary", tip="Go on from the newest save (Ctrl+R)")
        self.more = button("", tip="More")
        self.more.setAccessibleName("More")
        self.save.setShortcut("Ctrl+S")
        self.resume.setShortcut("Ctrl+R")
        self._build_menu()
        names = row(self.title, self.chip, None, spacing=16)
        first = (self.save, self.pause, self.stop, self.folder, self.more)
        buttons = (*first, self.resume, self.go_on)
        line = row(names, *buttons, spacing=10)
        line.setStretch(0, 1)
        self.setLayout(line)
        self.setFixedHeight(36)
        self._gather_buttons()
        self.set_tokens(tokens)

    def _build_menu(self) -> None:
        menu = QMenu(self.more)
        self.copy_action = _action(menu, "Copy as fettle train command", "copy_command")
        self.verify_action = _action(menu, "Check saves", "check_saves")
        menu.addSeparator()
        self.at_once_action = _action(menu, "Stop at once, without saving…", "stop_at_once")
        self.remove_action = _action(menu, "Remove…", "remove")
        menu.triggered.connect(self._on_action_triggered)
        self.more.setMenu(menu)

    def _gather_buttons(self) -> None:
        self._verbs = {
            self.save: "save_now",
            self.pause: "pause",
            self.go_on: "resume",
            self.stop: "stop",
            self.folder: "open_folder",
            self.resume: "resume",
        }
        group = QButtonGroup(self)
        group.setExclusive(False)
        for each in self._verbs:
            group.addButton(each)
        group.buttonClicked.connect(self._on_button_clicked)

    def _on_button_clicked(self, pressed: QPushButton) -> None:
        self.wanted.emit(self._verbs[pressed])

    def _on_action_triggered(self, action: QAction) -> None:
        self.wanted.emit(action.data())

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        set_icon(self.more, "ellipsis", tokens.text)
        self.copy_action.setIcon(icon("terminal", tokens.muted))
        self.verify_action.setIcon(icon("circle-check", tokens.muted))
        self.at_once_action.setIcon(icon("octagon-x", tokens.danger))
        self.remove_action.setIcon(icon("trash-2", tokens.danger))

    def set_resume_is_primary(self, is_primary: bool) -> None:
        """Whether to resume as it is is the thing to do."""
        set_look(self.resume, "kind", "primary" if is_primary else "")

    def show_summary(self, summary: RunSummary) -> None:
        """Show what a run is and what can be done to it now."""
        self.title.setText(f"{summary.name} · {summary.model} {summary.kind}")
        self.chip.show_word(*chip_of(summary))
        state = summary.state
        self.save.setVisible(state is State.TRAINING)
        self.pause.setVisible(state in LIVE - {State.STOPPING})
        self.go_on.setVisible(state is State.PAUSED)
        self.stop.setVisible(state in LIVE | {State.QUEUED, State.PAUSED})
        self.stop.setEnabled(state is not State.STOPPING)
        # Of a recovering run the banner below has the buttons.
        self.resume.setVisible(state in RESUMABLE - {State.RECOVERING, State.PAUSED})
        self.verify_action.setEnabled(summary.checkpoints > 0)
        self.at_once_action.setEnabled(state in LIVE)
        self.remove_action.setEnabled(state in RESTING)


def _action(menu: QMenu, text: str, verb: str) -> QAction:
    made = QAction(text, menu)
    made.setData(verb)
    menu.addAction(made)
    return made
