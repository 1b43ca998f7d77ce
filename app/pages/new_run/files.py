"""The form as a file and as a command: import, export, copy."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget

from app.form import Draft, Form
from app.pages.run_command import file_name, train_command
from app.words import counted
from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.toml import absolute_paths, read_file, write

TOML_FILTER = "Run (*.toml)"


def load(path: Path) -> tuple[Draft | None, list[Complaint]]:
    """The draft in a TOML file, mistakes and all; or None and why it is no TOML at all.

    Relative paths in the file are read from its own folder.
    """
    raw, complaints = read_file(path)
    if complaints:
        return None, complaints
    return Draft.from_raw(absolute_paths(raw, path.resolve().parent)), []


class Exchange(QObject):
    """Brings runs into the form and out of it.

    Signals:
        imported: the form was filled from a file; what is wrong in it should be shown.
        said: a sentence for the person.
    """

    imported = Signal()
    said = Signal(str)

    def __init__(self, form: Form, window: QWidget) -> None:
        super().__init__(window)
        self._form = form
        self._window = window

    def ask_import(self) -> None:
        """Let the person choose a file, and import it."""
        path, _ = QFileDialog.getOpenFileName(
            self._window, "Import a run", str(Path.home()), TOML_FILTER
        )
        if path:
            self.import_file(Path(path))

    def import_file(self, path: Path) -> None:
        """Fill the form from a TOML file. If it is no TOML, the form stays as it is."""
        draft, complaints = load(path)
        if draft is None:
            self.said.emit(f"{complaints[0].problem} The form is as it was.")
            return
        self._form.seal()
        self._form.replace(draft)
        self.imported.emit()
        wrong = len(self._form.complaints)
        marked = f"{counted(wrong, 'thing')} in it to correct. " if wrong else ""
        self.said.emit(f"{path.name} is imported. {marked}Undo brings back what was here.")

    def ask_export(self) -> None:
        """Let the person choose a file, and write the run to it."""
        spec = self._sound_spec()
        if spec is None:
            return
        start = str(Path.home() / file_name(spec.name))
        path, _ = QFileDialog.getSaveFileName(self._window, "Export the run", start, TOML_FILTER)
        if path:
            self.export_file(spec, Path(path))

    def export_file(self, spec: Spec, path: Path) -> None:
        """Write the run, with each setting's meaning above it."""
        try:
            path.write_text(write(spec), encoding="utf-8")
        except OSError as error:
            self.said.emit(f"{path} cannot be written: {error.strerror}. Choose another folder.")
        else:
            self.said.emit(f"Exported to {path}. `fettle train` takes it too.")

    def copy_command(self) -> None:
        """Put a command on the clipboard that trains the same."""
        spec = self._sound_spec()
        if spec is not None:
            QApplication.clipboard().setText(train_command(spec))
            self.said.emit("Copied. Paste it into a terminal: it writes the spec and trains it.")

    def _sound_spec(self) -> Spec | None:
        if self._form.spec is None:
            self.said.emit("First set what is still missing; the list on the right names it.")
        return self._form.spec
