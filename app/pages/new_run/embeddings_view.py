"""The ways of training the embeddings: what each costs and can do; a click takes one."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.plan_words import change, file
from app.theme import Tokens
from app.widgets.folder import Pool
from app.widgets.line_button import LineButton
from app.widgets.parts import column, label
from engine.planning.embeddings import Option

WAYS = {
    "none": "not trained",
    "tokens": "new tokens only",
    "head": "lm_head",
    "input": "embed_tokens",
    "both": "both trained",
}


class EmbeddingsView(Pool["WayLine"]):
    """The ways below each other.

    Signals:
        way_wanted: the :class:`Option` that was pressed.
    """

    way_wanted = Signal(object)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__(self._make_line)
        self._tokens = tokens

    def show_options(self, options: Sequence[Option]) -> None:
        """Show these."""
        for line, option in zip(self.take(len(options)), options, strict=True):
            line.show_option(option)

    def _make_line(self) -> WayLine:
        line = WayLine(self._tokens)
        line.wanted.connect(self.way_wanted)
        return line


class WayLine(QWidget):
    """One way.

    Signals:
        wanted: its :class:`Option`, when it was pressed.
    """

    wanted = Signal(object)

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._option: Option | None = None
        self.line = LineButton(tokens)
        self.line.set_small_figure()
        self._effect = label("", "small", wrap=True)
        self.setLayout(column(self.line, self._effect, margins=(0, 0, 0, 4), spacing=0))
        self.line.clicked.connect(self._on_clicked)

    def show_option(self, option: Option) -> None:
        """Show this one."""
        self._option = option
        tone = "good" if option.is_chosen else ""
        self.line.show_line(option.title, price(option), tone=tone)
        self.line.setToolTip("As it is now" if option.is_chosen else "Train them this way")
        self.line.setAccessibleDescription(option.effect)
        self._effect.setText(option.effect)

    def _on_clicked(self) -> None:
        if self._option is not None and not self._option.is_chosen:
            self.wanted.emit(self._option)


def price(option: Option) -> str:
    """What a way costs: ``+4.2 GiB · file 2.1 GiB``; of the chosen one that it is."""
    cost = option.cost.total_bytes
    parts = ["as now"] if option.is_chosen else []
    parts += [change(cost)] if cost else ["no more memory"]
    parts += [f"file {file(option.file_bytes)}"] if option.file_bytes is not None else []
    return " · ".join(parts)
