"""A page that files can be dropped on."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget


class DropPage(QWidget):
    """Takes files and folders of this machine.

    Signals:
        model_dropped: a folder with a model (str).
        files_dropped: everything else, in the order of the drop (list of str).
    """

    model_dropped = Signal(str)
    files_dropped = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Qt override."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Qt override."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        models = [path for path in paths if path.is_dir() and (path / "config.json").exists()]
        for path in models:
            self.model_dropped.emit(str(path))
        if files := [str(path) for path in paths if path not in models]:
            self.files_dropped.emit(files)
        event.acceptProposedAction()
