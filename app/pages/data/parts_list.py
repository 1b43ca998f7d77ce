"""The datasets that are looked at together: what each is, and a way to take it out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from app import raw_words, words
from app.form import Draft
from app.mixture import Entry, entries, is_mixture, patch_of, without
from app.pages.data.part import Part, names_of, troubles_of
from app.widgets.parts import button, column, elided, label, row, scrolled, set_tone

_LINE_PX = 30
_LINES = 4
"""As many are seen at once: the samples below need the room."""


class PartsList(QWidget):
    """A line for each dataset, and one action to start over.

    Signals:
        patch_wanted: other datasets are to be looked at (dict).
    """

    patch_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Draft, list[Part]] | None = None
        self.heading = label("", "label")
        self.clear = button(
            "Start over", "small", tip="Takes all of them out, to begin with one file; they stay"
        )
        self.clear.clicked.connect(self._on_clear)
        self.removers: list[QPushButton] = []
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 8, 0)
        self._grid.setHorizontalSpacing(18)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(4, 1)
        body = QWidget()
        body.setLayout(self._grid)
        self._area = scrolled(body, sideways=False)
        self.setLayout(column(row(self.heading, None, self.clear), self._area, spacing=4))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_draft(self, draft: Draft, parts: Sequence[Part]) -> None:
        """Show the datasets of a draft, the first of which are known; nothing of a single one."""
        self.setVisible(is_mixture(draft))
        if self._shown == (draft, list(parts)):
            return
        self._shown = draft, list(parts)
        self._empty()
        found = entries(draft)
        self.heading.setText(f"{words.counted(len(found), 'dataset')}, learnt from together")
        if not is_mixture(draft):
            return
        names, troubles = names_of(draft), troubles_of(draft, parts)
        for place, (entry, part) in enumerate(zip(found, parts, strict=False)):
            self._add_line(place, names[place], entry, part, troubles.get(place, ""))
        more = len(found) - len(parts)
        if more > 0:
            told = f"and {words.counted(more, 'more dataset')}"
            self._grid.addWidget(label(told, "muted"), len(parts), 0)
        lines = len(parts) + (more > 0)
        self._area.setFixedHeight(_LINE_PX * max(1, min(lines, _LINES)))

    def _add_line(self, place: int, name: str, entry: Entry, part: Part, trouble: str) -> None:
        title = elided("text")
        title.setText(name)
        title.setToolTip(str(entry.get("path") or ""))
        shape, tone = _shape(part, str(entry.get("format") or "auto"), trouble)
        kind = label(shape, "small")
        set_tone(kind, tone)
        kind.setToolTip(trouble or str(part.facts.get("reason", "")))
        rows = label(raw_words.how_many(part.facts) if part.facts else "", "small")
        out = button("×", "quiet", tip=f"Take {name} out; the file stays")
        out.setAccessibleName(f"Take {name} out")
        out.setFixedSize(_LINE_PX - 2, _LINE_PX - 2)
        out.setStyleSheet("padding: 0;")
        out.clicked.connect(partial(self._on_out, place))
        self.removers.append(out)
        for at, widget in enumerate((title, kind, rows, out)):
            self._grid.addWidget(widget, place, at, Qt.AlignmentFlag.AlignVCenter)

    def _empty(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.removers = []

    def _on_out(self, place: int, _is_checked: bool = False) -> None:
        if self._shown is not None:
            self.patch_wanted.emit(without(self._shown[0], place))

    def _on_clear(self) -> None:
        self.patch_wanted.emit(patch_of([]))


def _shape(part: Part, chosen: str, trouble: str) -> tuple[str, str]:
    """What shape its rows have, and in which colour that is said."""
    if part.refusal is not None:
        return "cannot be read", "danger"
    if not part.facts:
        return "reading …", ""
    word, tone = raw_words.format_of(part.facts, chosen)
    return word, "warning" if trouble and tone == "good" else tone
