"""Whether runs go on by themselves after a crash: kept where the engine lives, for all windows."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QCheckBox

from app.form_editors import FormSpin
from app.link import HostLink
from app.widgets.parts import Card, label, row, set_tone
from engine.contract.messages import ChangeOptions, ReadOptions, Refusal

_MOST_TRIES = 100


class ComebackCard(Card):
    """Two switches and a number, as the host has them."""

    def __init__(self, link: HostLink) -> None:
        super().__init__("When a run ends before its time", "kept with the engine, for all windows")
        self._link = link
        self.resume = QCheckBox("Resume automatically from the last save")
        self.resume.setToolTip("After a crash, a stall or a power cut; never where you stopped it")
        self.tries = FormSpin()
        self.tries.setDecimals(0)
        self.tries.setMaximum(_MOST_TRIES)
        self.tries.setAccessibleName("Times in a row")
        self.tries.setSuffix(" times in a row without a newer save")
        self.remember = QCheckBox("Begin with what an earlier run needed for want of memory")
        self.remember.setToolTip(
            "Where the same recipe ran out of memory on this machine. What is taken is told on the "
            "run's page, and what it does to the result"
        )
        self.said = label("", "muted", wrap=True)
        self.said.hide()
        self.column.addWidget(self.resume)
        self.column.addLayout(row(label("At most"), self.tries, None))
        self.column.addWidget(self.remember)
        self.column.addWidget(self.said)
        self._set_known(is_known=False)
        self.resume.clicked.connect(self._on_chosen)
        self.remember.clicked.connect(self._on_chosen)
        self.tries.editingFinished.connect(self._on_chosen)
        link.connected.connect(self._on_connected)
        link.disconnected.connect(self._on_disconnected)
        if link.is_connected:
            self._on_connected()

    def _set_known(self, *, is_known: bool) -> None:
        self.resume.setEnabled(is_known)
        self.remember.setEnabled(is_known)
        self.tries.setEnabled(is_known and self.resume.isChecked())

    def _on_connected(self, _hello: object = None) -> None:
        self._link.ask(ReadOptions).replied.connect(self._on_told)

    def _on_disconnected(self, _sentence: str) -> None:
        self._set_known(is_known=False)

    def _on_told(self, data: dict[str, Any]) -> None:
        found = data.get("options")
        if not isinstance(found, dict):
            return
        self.resume.setChecked(bool(found.get("resume_automatically", True)))
        self.tries.setValue(int(found.get("resume_tries", 0)))
        self.remember.setChecked(bool(found.get("remember_memory", True)))
        self._set_known(is_known=True)
        self.said.hide()

    def _on_chosen(self) -> None:
        chosen = {
            "resume_automatically": self.resume.isChecked(),
            "resume_tries": int(self.tries.value()),
            "remember_memory": self.remember.isChecked(),
        }
        pending = self._link.ask(ChangeOptions, options=chosen)
        pending.replied.connect(self._on_told)
        pending.refused.connect(self._on_refused)

    def _on_refused(self, refusal: Refusal) -> None:
        self.said.setText(refusal.sentence)
        set_tone(self.said, "danger")
        self.said.show()
        self._on_connected()
