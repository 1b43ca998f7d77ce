"""The widgets of one setting: its name, its editor, and below it what is wrong with it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeySequence, QWheelEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from app.form_fields import Field, read_text, show_value
from app.form_words import choice, label
from engine.contract.template_names import AUTO, BUNDLED


class FormLine(QLineEdit):
    """A line edit that leaves undo and redo to the form, so that there is one past, not two.

    Signals:
        left: the keyboard went elsewhere.
    """

    left = Signal()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride:
            undoes = any(
                event.matches(key)  # type: ignore[attr-defined]
                for key in (QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo)
            )
            if undoes:
                event.ignore()
                return False
        if event.type() == QEvent.Type.FocusOut:
            self.left.emit()
        return super().event(event)


class FormCombo(QComboBox):
    """A drop-down list that a scrolled page does not change."""

    def __init__(self) -> None:
        super().__init__()
        # By Qt's default a wheel gives it the keyboard.
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Qt override: not even where it has the keyboard, which it keeps when the pointer has
        long been elsewhere."""
        event.ignore()


class FormSpin(QDoubleSpinBox):
    """A number that a scrolled page does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        # The style sheet's padding does not reach the text of a spin box.
        self.lineEdit().setTextMargins(10, 0, 0, 0)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Qt override: as of a list."""
        event.ignore()


class Editor(QWidget):
    """Base of the editors.

    Signals:
        edited: dotted name of the setting, and its new value (None: left out).
        left: the keyboard went elsewhere, or a choice is made: one step to undo is complete.
    """

    edited = Signal(str, object)
    left = Signal()

    def __init__(self, field: Field, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self._title = QLabel(label(field.path))
        self._title.setProperty("role", "label")
        # Plain: what was typed is quoted in it, and may look like markup.
        self._problem = QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self._problem.hide()
        self._problem.setProperty("role", "small")
        self._problem.setProperty("tone", "danger")
        self.control = self._make_control()
        self.control.setAccessibleName(label(field.path))
        self.control.setObjectName(field.path)
        self._title.setBuddy(self.control)
        self._explain()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for part in (self._title, self.control, self._problem):
            column.addWidget(part)
        column.addStretch(1)

    def show_value(self, value: Any) -> None:
        """Show this value; None shows an empty or default one."""
        raise NotImplementedError

    @property
    def problem(self) -> str:
        """What is said to be wrong, empty if nothing is."""
        return self._problem.text()

    def hide_title(self) -> None:
        """Leave the name away, where the place on the page says it."""
        self._title.hide()

    def complain(self, text: str) -> None:
        """Say what is wrong with the setting; empty if nothing is."""
        if text == self._problem.text():
            return
        self._problem.setText(text)
        self._problem.setVisible(bool(text))
        self.control.setProperty("state", "wrong" if text else "")
        self.control.style().unpolish(self.control)
        self.control.style().polish(self.control)
        self.control.setAccessibleDescription(text or self.field.help)

    def _make_control(self) -> QWidget:
        raise NotImplementedError

    def _explain(self) -> None:
        shown = show_value(self.field, self.field.default)
        default = f", normally {shown}" if shown and not self.field.required else ""
        self.setToolTip(
            f"<p>{self.field.help}</p><p style='font-size:11px'>{self.field.path}{default}</p>"
        )
        self.control.setAccessibleDescription(self.field.help)


class TextEditor(Editor):
    """A line of text, a number, or names with commas between them."""

    def _make_control(self) -> QWidget:
        self._line = FormLine()
        if not self.field.required and self.field.default in (None, []):
            self._line.setPlaceholderText("not set")
        self._line.textEdited.connect(self._on_text_edited)
        self._line.left.connect(self._on_left)
        self._value: Any = None
        return self._line

    def show_value(self, value: Any) -> None:
        self._value = value
        # What is being typed stays as it is: 1e- is on its way to 1e-4.
        if not (self._line.hasFocus() and self._reads_as(value)):
            self._rewrite()

    def _reads_as(self, value: Any) -> bool:
        typed = read_text(self.field, self._line.text())
        return bool(typed == value) or (typed is None and value == self.field.default)

    def _rewrite(self) -> None:
        text = show_value(self.field, self._value)
        if text != self._line.text():
            self._line.setText(text)
            self._line.setCursorPosition(0)

    def _on_text_edited(self, text: str) -> None:
        self.edited.emit(self.field.path, read_text(self.field, text))

    def _on_left(self) -> None:
        self._rewrite()
        self.left.emit()


class TemplateEditor(TextEditor):
    """A name or a path; the names are offered."""

    def _make_control(self) -> QWidget:
        line = super()._make_control()
        completer = QCompleter([AUTO, *BUNDLED], line)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.activated.connect(self._on_text_edited)
        self._line.setCompleter(completer)
        return line


class ChoiceEditor(Editor):
    """One of a few values."""

    def _make_control(self) -> QWidget:
        self._combo = FormCombo()
        for value in self.field.choices:
            self._combo.addItem(choice(self.field.path, value), value)
        self._combo.activated.connect(self._on_activated)
        return self._combo

    def show_value(self, value: Any) -> None:
        known = list(self.field.choices)
        while self._combo.count() > len(known):
            self._combo.removeItem(self._combo.count() - 1)
        if value in known:
            self._combo.setCurrentIndex(known.index(value))
        else:  # From a file: shown as it is, with its complaint below.
            self._combo.addItem(str(value), value)
            self._combo.setCurrentIndex(len(known))

    def _on_activated(self, index: int) -> None:
        self.edited.emit(self.field.path, self._combo.itemData(index))
        self.left.emit()


class SwitchEditor(Editor):
    """On or off."""

    def _make_control(self) -> QWidget:
        self._box = QCheckBox("On")
        self._box.setMinimumHeight(34)
        self._box.clicked.connect(self._on_clicked)
        return self._box

    def show_value(self, value: Any) -> None:
        self._box.setChecked(value is True)

    def _on_clicked(self, checked: bool) -> None:
        self.edited.emit(self.field.path, checked)
        self.left.emit()


def make_editor(field: Field, parent: QWidget | None = None) -> Editor:
    """The editor that suits a setting."""
    if field.path == "dataset.chat_template":
        return TemplateEditor(field, parent)
    kinds: dict[str, type[Editor]] = {"choice": ChoiceEditor, "bool": SwitchEditor}
    return kinds.get(field.kind, TextEditor)(field, parent)


def focus(widget: QObject) -> None:
    """Take the keyboard to a widget, as if a person had tabbed there."""
    if isinstance(widget, QWidget):
        widget.setFocus(Qt.FocusReason.ShortcutFocusReason)
