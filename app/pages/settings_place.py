"""Where the engine lives: chosen, tried, and then used."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QLineEdit, QPushButton, QWidget

from app.endpoint import DEFAULT_PYTHON, Kind, Place
from app.link import HostLink
from app.preferences import Preferences
from app.probe import Probe
from app.widgets.choice import Choice
from app.widgets.parts import Card, button, column, label, row, set_tone
from app.words import size

KINDS: dict[Kind, str] = {
    "this": "This machine",
    "wsl": "WSL distribution",
    "ssh": "Another machine over SSH",
}
_HELP: dict[Kind, str] = {
    "this": "The engine runs beside this window and uses the GPU of this machine.",
    "wsl": "The engine runs inside a Linux distribution on this Windows machine. It has to be "
    "installed there with `python3 packaging/bootstrap.py install`.",
    "ssh": "The engine runs on another machine that your own `ssh` reaches with a key. It has to "
    "be installed there with `python3 packaging/bootstrap.py install`.",
}


def found_lines(hello: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """What a place turned out to be, a line each."""
    lines = [f"Fettle's engine {hello.get('version', '')}"]
    python = facts.get("python")
    lines += [f"Python {python}"] if python else []
    gpus = [gpu for gpu in facts.get("gpus") or [] if isinstance(gpu, dict)]
    lines += [_gpu_line(gpu) for gpu in gpus] or ["No GPU found: training uses the processor"]
    return lines


def _gpu_line(gpu: dict[str, Any]) -> str:
    memory = gpu.get("vram_total_bytes")
    return f"{gpu.get('name') or 'GPU'}" + (f" · {size(memory)}" if memory else "")


class PlaceCard(Card):
    """Chooses where the engine lives."""

    def __init__(self, link: HostLink, preferences: Preferences) -> None:
        super().__init__("Where the engine lives")
        self._link = link
        self._preferences = preferences
        self._probe: Probe | None = None
        self._names: dict[Kind, str] = {}
        """What was typed for each kind of place: a machine is no distribution."""
        self._shown_kind: Kind = "this"
        self._had_focus = False
        self._build()
        self._show_place(preferences.place)

    def _build(self) -> None:
        self.kinds: dict[Kind, QPushButton] = {}
        for kind, title in KINDS.items():
            self.kinds[kind] = button(title, "choice")
        self._choice = Choice(self, *self.kinds.values())
        self._choice.chosen.connect(self._on_edited)
        self._help = label("", "muted", wrap=True)
        self.name = QLineEdit()
        self.python = QLineEdit()
        self.python.setAccessibleName("Python there")
        self._name_title = label("Name", "label")
        self._fields = QWidget()
        self._fields.setLayout(
            row(
                column(self._name_title, self.name, spacing=5),
                column(label("Python there", "label"), self.python, spacing=5),
                spacing=14,
            )
        )
        for line in (self.name, self.python):
            line.textEdited.connect(self._on_edited)
            line.returnPressed.connect(self.test)
        self.try_it = button("Test", tip="Connect there and say what is found")
        self.try_it.clicked.connect(self.test)
        self.use = button("Use this", "primary", tip="Let the engine live there from now on")
        self.use.clicked.connect(self._on_use)
        self.result = label("", wrap=True)
        self.column.addLayout(row(*self.kinds.values(), None))
        for part in (self._help, self._fields):
            self.column.addWidget(part)
        self.column.addLayout(row(self.try_it, self.use, None))
        self.column.addWidget(self.result)

    # ------------------------------------------------------------ what is filled in

    @property
    def kind(self) -> Kind:
        """The kind of place that is chosen."""
        return next(kind for kind, chip in self.kinds.items() if chip.isChecked())

    @property
    def place(self) -> Place:
        """The place as it is filled in."""
        if self.kind == "this":
            return Place()
        python = self.python.text().strip() or DEFAULT_PYTHON
        return Place(kind=self.kind, name=self.name.text().strip(), python=python)

    def _show_place(self, place: Place) -> None:
        self.kinds[place.kind].setChecked(True)
        self._shown_kind = place.kind
        self.name.setText(place.name)
        self.python.setText(place.python)
        self._on_edited()

    def _on_edited(self, _what: object = None) -> None:
        self._stop_probe()
        kind = self.kind
        if kind != self._shown_kind:
            self._names[self._shown_kind] = self.name.text()
            self.name.setText(self._names.get(kind, ""))
            self._shown_kind = kind
        self._help.setText(_HELP[kind])
        self._fields.setVisible(kind != "this")
        title = "Distribution" if kind == "wsl" else "Machine"
        self._name_title.setText(title)
        self.name.setAccessibleName(title)
        self.name.setPlaceholderText("Ubuntu" if kind == "wsl" else "me@workstation")
        is_named = kind == "this" or bool(self.place.name)
        self.use.setEnabled(is_named and self.place != self._preferences.place)
        self._say("", "")

    # ------------------------------------------------------------ trying and using

    def test(self) -> None:
        """Try the place, and say what is there."""
        if not self.try_it.isEnabled():
            return
        self._stop_probe()
        self._say("Connecting …", "")
        # Before it is switched off, or the keyboard would go on to what makes the change.
        self._had_focus = self.try_it.hasFocus()
        self.try_it.setEnabled(False)
        self._probe = Probe(self.place, self)
        self._probe.succeeded.connect(self._on_succeeded)
        self._probe.failed.connect(self._on_failed)
        self._probe.begin()

    def _end_test(self) -> None:
        self.try_it.setEnabled(True)
        if self._had_focus:
            self.try_it.setFocus()

    def _stop_probe(self) -> None:
        self.try_it.setEnabled(True)
        if self._probe is not None:
            self._probe.succeeded.disconnect(self._on_succeeded)
            self._probe.failed.disconnect(self._on_failed)
            self._probe.cancel()
            self._probe = None

    def _on_succeeded(self, hello: dict[str, Any], facts: dict[str, Any]) -> None:
        self._end_test()
        self._say("Found: " + "\n".join(found_lines(hello, facts)), "good")

    def _on_failed(self, sentence: str) -> None:
        self._end_test()
        self._say(sentence, "danger")

    def _on_use(self) -> None:
        place = self.place
        problem = place.problem()
        if problem:
            self._say(problem, "danger")
            return
        self._preferences.set_place(place)
        self._link.move_to(place)
        self.use.setEnabled(False)
        self._say(f"From now on the engine lives on {place.label()}.", "good")

    def _say(self, text: str, tone: str) -> None:
        self.result.setText(text)
        self.result.setVisible(bool(text))
        set_tone(self.result, tone)
