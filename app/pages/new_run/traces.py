"""Traces of models, asked of the host and kept: what a plan is evaluated from."""

from __future__ import annotations

from typing import Any

import msgspec
from PySide6.QtCore import QObject, Signal

from app.link import HostLink
from app.pages.new_run.starter import as_the_engine_reads
from engine.contract.messages import Refusal, Trace
from engine.contract.spec import Spec
from engine.planning.form import DeviceKind, Form, Precision
from engine.planning.model_config import layout_key

KEPT = 64


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a trace depends on: equal keys have the same form, but that one of rows within a sliding
    window does not serve for longer ones."""

    layout: str
    device: str
    precision: str


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """What the host answered."""

    form: Form
    config: dict[str, Any]
    source: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no trace."""

    sentence: str
    code: str = ""

    @property
    def is_busy(self) -> bool:
        """The engine trains, and traces when it has nothing else to do."""
        return self.code == "busy"


def key_of(spec: Spec, device: DeviceKind, precision: Precision) -> Key:
    """The key of a spec's trace: without the sizes that a form is evaluated at."""
    layout = layout_key(spec, device, precision)
    return Key(layout=layout, device=device, precision=precision)


class Traces(QObject):
    """Forms by key, and those that are being asked for.

    Signals:
        arrived: the :class:`Key` that has a form or a failure now.
    """

    arrived = Signal(object)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._found: dict[Key, Traced | Failure] = {}
        self._failed: dict[Key, Failure] = {}
        """Where rows longer than those of the form that is there were asked for."""
        self._asked: set[Key] = set()
        link.connected.connect(self._on_connected)
        link.moved.connect(self.forget)

    def get(self, key: Key, length: int = 0) -> Traced | Failure | None:
        """What is known of rows of up to so many tokens; None if nothing is yet."""
        found = self._found.get(key)
        if isinstance(found, Traced) and not found.form.holds_for(length):
            return self._failed.get(key)
        return found

    def is_asked(self, key: Key) -> bool:
        """An answer is awaited."""
        return key in self._asked

    def ask(self, key: Key, spec: Spec) -> None:
        """Have the host trace it, unless it did so for such rows, or does."""
        if key in self._asked or self.get(key, spec.training.max_length) is not None:
            return
        self._asked.add(key)
        raw = as_the_engine_reads(msgspec.to_builtins(spec), self._link.place)
        pending = self._link.ask(Trace, spec=raw, device=key.device, precision=key.precision)
        pending.setProperty("key", key)
        pending.replied.connect(self._on_replied)
        pending.refused.connect(self._on_refused)

    def forget(self) -> None:
        """Other models lie at another place."""
        self._found.clear()
        self._failed.clear()

    def forget_failures(self) -> None:
        """What failed may do better now."""
        self._found = {k: found for k, found in self._found.items() if isinstance(found, Traced)}
        self._failed.clear()

    def forget_busy(self) -> None:
        """What the engine had no time for is asked for anew."""
        for known in (self._found, self._failed):
            busy = [k for k, found in known.items() if isinstance(found, Failure) and found.is_busy]
            for key in busy:
                del known[key]

    def _on_connected(self, _data: object) -> None:
        self.forget_failures()

    def _on_replied(self, data: dict[str, Any]) -> None:
        try:
            self._keep(msgspec.convert(data, Traced))
        except msgspec.ValidationError as error:
            self._keep(Failure(sentence=f"The engine's trace cannot be read: {error}."))

    def _on_refused(self, refusal: Refusal) -> None:
        said = " ".join(str(c.problem + " " + c.remedy).strip() for c in refusal.complaints)
        self._keep(Failure(sentence=said or refusal.sentence, code=refusal.code))

    def _keep(self, found: Traced | Failure) -> None:
        key: Key = self.sender().property("key")
        self._asked.discard(key)
        if isinstance(found, Failure) and isinstance(self._found.get(key), Traced):
            # That of shorter rows still serves them.
            self._failed[key] = found
        else:
            self._failed.pop(key, None)
            self._found.pop(key, None)
            self._found[key] = found
        while len(self._found) > KEPT:
            self._found.pop(next(iter(self._found)))
        self.arrived.emit(key)
