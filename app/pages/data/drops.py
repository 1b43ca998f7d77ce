"""A page that files can be dropped on."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

from app.link import HostLink
from app.widgets.notice import Notice


class DropPage(QWidget):
    """Takes files and folders of this machine, and says where the engine cannot read them.

    Signals:
        dropped: a folder with a model (str, empty if there is none), and everything else, in the
            order of the drop (list of str).
    """

    dropped = Signal(str, object)

    def __init__(self, link: HostLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.notice = Notice()
        self.setAcceptDrops(True)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Qt override."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Qt override."""
        event.acceptProposedAction()
        if not self._link.place.shares_files:
            self.notice.say(_not_there(self._link.place.name), "warning")
            return
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        models = [path for path in paths if path.is_dir() and (path / "config.json").exists()]
        files = [str(path) for path in paths if path not in models]
        if paths:
            self.dropped.emit(str(models[-1]) if models else "", files)


def _not_there(name: str) -> str:
    return (
        f"The engine is on {name}, over SSH, and reads no files of this machine. Copy them there, "
        "and write their path here."
    )
