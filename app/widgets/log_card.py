"""The end of a run's log file, while it grows."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent, QShowEvent, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit

from app.widgets.parts import Card, button

TAIL_BYTES = 256 << 10
MOST_LINES = 5000
LOOK_MS = 500


class LogCard(Card):
    """Shows the end of a file and what is added to it, while it is visible."""

    def __init__(self) -> None:
        super().__init__("Log", " ")
        self.folder = ""
        """Run folder whose log is shown, as the host wrote it."""
        self._path: Path | None = None
        self._read_to = 0
        self.close_button = button("Hide", "quiet")
        self.top.addWidget(self.close_button)
        self.text = QPlainTextEdit(readOnly=True, maximumBlockCount=MOST_LINES)
        self.text.setProperty("role", "log")
        self.text.setAccessibleName("Log of the run")
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.column.addWidget(self.text, 1)
        self.setMinimumHeight(180)
        self._look = QTimer(self, interval=LOOK_MS)
        self._look.timeout.connect(self._on_look)

    def show_log_of(self, folder: str, *, is_here: bool) -> None:
        """Show the log in a run folder, or say where it is if that is on another machine."""
        self.folder = folder
        # The host's own way of writing it: a Linux path stays one in a window on Windows.
        slash = "\\" if "\\" in folder and "/" not in folder else "/"
        path = f"{folder}{slash}worker.log"
        self._path, self._read_to = Path(path) if is_here else None, 0
        self.text.setPlainText("")
        elsewhere = f"The log is on the engine's machine: {path}"
        self.text.setPlaceholderText("Nothing in the log yet." if is_here else elsewhere)
        self.aside.setText(path)
        self._on_look()

    def _on_look(self) -> None:
        if self._path is None or not self.isVisible():
            return
        try:
            new = self._read_new(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.text.setPlaceholderText(f"The log cannot be read: {error.strerror}.")
            return
        if new:
            self._append(new)

    def _read_new(self, path: Path) -> str:
        size = path.stat().st_size
        if size < self._read_to:
            self._read_to = 0
            self.text.setPlainText("")
        if size == self._read_to:
            return ""
        with path.open("rb") as file:
            file.seek(max(self._read_to, size - TAIL_BYTES))
            new = file.read(size - file.tell())
        self._read_to = size
        # A progress bar rewrites its line with carriage returns: each becomes a line here.
        return new.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")

    def _append(self, new: str) -> None:
        bar = self.text.verticalScrollBar()
        was_at_end = bar.value() >= bar.maximum() - 2
        cursor = QTextCursor(self.text.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(new)
        if was_at_end:
            bar.setValue(bar.maximum())

    def showEvent(self, event: QShowEvent) -> None:
        """Qt override."""
        super().showEvent(event)
        self._look.start()
        self._on_look()

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt override."""
        super().hideEvent(event)
        self._look.stop()
