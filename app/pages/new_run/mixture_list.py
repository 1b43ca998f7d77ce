"""The datasets of a mixture: which one is shown, how much each counts, and which one goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QDoubleSpinBox, QGridLayout, QPushButton, QWidget

from app.form_editors import FormLine, FormSpin
from app.mixture import LEAST_WEIGHT, MOST_WEIGHT, WEIGHT, Entry
from app.widgets.parts import button, label

_WEIGHT_TIP = "How often a row is learnt in each epoch: 2 is twice, 0.5 half of the rows"


class MixtureList(QWidget):
    """A line for each dataset.

    Signals:
        picked: the place of the dataset that is to be shown, from 0.
        weighed: a place, and how often its rows are learnt in each epoch.
        removed: a place.
    """

    picked = Signal(int)
    weighed = Signal(int, float)
    removed = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.names: list[QPushButton] = []
        self.weights: list[QDoubleSpinBox] = []
        self.removers: list[QPushButton] = []
        self._said: list[Any] = []
        self._group = QButtonGroup(self)
        self._group.idClicked.connect(self.picked)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 4)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        self.hide()

    def show_entries(self, entries: Sequence[Entry], place: int, said: Sequence[str]) -> None:
        """Show datasets, of which that at ``place`` is looked at, and a few words of each."""
        if len(entries) != len(self.names):
            self._fill(len(entries))
        titles = _titles([str(entry.get("path") or "") for entry in entries])
        for number, (entry, words) in enumerate(zip(entries, said, strict=True)):
            path = str(entry.get("path") or "")
            title = titles[number]
            name, weight = self.names[number], self.weights[number]
            name.setText((title if len(title) <= 40 else f"{title[:39]}…").replace("&", "&&"))
            name.setToolTip(path)
            name.setAccessibleName(f"Show {title}")
            name.setChecked(number == place)
            self._said[number].setText(words)
            weight.setAccessibleName(f"Weight of {title}")
            self.removers[number].setAccessibleName(f"Remove {title}")
            _show_weight(weight, entry.get("weight", WEIGHT))

    def _on_remove(self, place: int, _is_checked: bool = False) -> None:
        self.removed.emit(place)

    def _fill(self, count: int) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for old in self._group.buttons():
            self._group.removeButton(old)
        self.names, self.weights, self.removers, self._said = [], [], [], []
        for number in range(count):
            self._add_line(number)

    def _add_line(self, number: int) -> None:
        name = button("", "small")
        name.setCheckable(True)
        said = label("", "muted")
        weight = _Weight()
        weight.valueChanged.connect(partial(self.weighed.emit, number))
        remove = button("Remove", "small", tip="Learn nothing from it; the file stays")
        remove.clicked.connect(partial(self._on_remove, number))
        self._group.addButton(name, number)
        self._grid.addWidget(name, number, 0, Qt.AlignmentFlag.AlignLeft)
        for at, widget in enumerate((said, weight, remove), start=1):
            self._grid.addWidget(widget, number, at)
        self.names.append(name)
        self._said.append(said)
        self.weights.append(weight)
        self.removers.append(remove)


class _Weight(FormSpin):
    """How often a row is learnt in each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.setPrefix("× ")
        self.setRange(LEAST_WEIGHT, MOST_WEIGHT)
        self.setSingleStep(0.5)
        self.setKeyboardTracking(False)
        self.setToolTip(_WEIGHT_TIP)
        self.setLineEdit(FormLine())
        # The style sheet's padding does not reach the text of a spin box.
        self.lineEdit().setTextMargins(10, 0, 0, 0)


def _titles(paths: Sequence[str]) -> list[str]:
    """The names of files; with the folder before it where two have the same."""
    pure = [PurePath(path.replace("\\", "/")) for path in paths]
    names = [path.name for path in pure]
    return [
        (f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name)
        or "no file yet"
        for path in pure
    ]


def _show_weight(target: QDoubleSpinBox, weight: Any) -> None:
    """A weight that makes no sense is complained of elsewhere, and stays as it is."""
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if is_number and target.value() != weight:
        target.blockSignals(True)
        target.setDecimals(2 if round(weight, 2) == weight else 4)
        target.setValue(weight)
        target.blockSignals(False)
