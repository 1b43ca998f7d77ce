"""What a person has filled in so far: a spec in the making, with every mistake in it kept.

Pure values, no widgets. A :class:`Draft` holds what was typed, sound or not; checking it is the
contract's work, so the form never knows a rule of its own. :class:`Form` adds undo, and tells the
page when something changed.
"""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal

import msgspec
from PySide6.QtCore import QObject, Signal

from app.form_fields import fields
from engine.contract.messages import Complaint, Refusal
from engine.contract.spec import Spec
from engine.contract.validate import check

Tuning = Literal["lora4", "lora8", "lora16", "full"]

OPTIONAL_TABLES = ("quantization", "lora")
RATES: dict[Tuning, float] = {"lora4": 2e-4, "lora8": 2e-4, "lora16": 2e-4, "full": 2e-5}
"""Learning rates that go with a way of tuning, until the person writes one."""

_RATE = "training.learning_rate"
_HISTORY = 200


# ---------------------------------------------------------------- the draft


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A spec in the making."""

    values: dict[str, Any] = {}
    """Dotted name to what was given, right or wrong. What is not here has its default."""
    tables: frozenset[str] = frozenset(OPTIONAL_TABLES)
    """The optional tables that are wanted. Values of the others are kept, and not sent."""
    unknown: dict[str, Any] = {}
    """Settings of an imported file that do not exist, so that they can be complained about."""

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> Draft:
        """The draft of what a TOML file holds, whatever is wrong with it."""
        values: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        for key, value in raw.items():
            inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
            for path, item in (inner if isinstance(value, dict) else {key: value}).items():
                (values if path in fields() else unknown)[path] = item
        tables = frozenset(name for name in OPTIONAL_TABLES if name in raw)
        return cls(values=values, tables=tables, unknown=unknown)

    def raw(self) -> dict[str, Any]:
        """What a TOML file of this would hold."""
        raw: dict[str, Any] = {"name": self.name} if self.name else {}
        raw |= {"model": {}, "dataset": {}}
        raw |= {table: {} for table in OPTIONAL_TABLES if table in self.tables}
        for path, value in {**self.values, **self.unknown}.items():
            table, _, name = path.rpartition(".")
            if not table:
                raw[name] = value
            elif table not in OPTIONAL_TABLES or table in self.tables:
                raw.setdefault(table, {})[name] = value
        return raw

    def get(self, path: str) -> Any:
        """The value of a setting, or its default."""
        return self.values.get(path, fields()[path].default)

    @property
    def name(self) -> str:
        """What was given, or else a name made from model and data."""
        given = self.values.get("name")
        return given if isinstance(given, str) and given.strip() else self.suggested_name()

    def suggested_name(self) -> str:
        """A name made from model and data, empty if there is neither."""
        parts = [self.values.get("model.path"), *_paths(self)]
        stems = [_stem(part) for part in parts[:2] if isinstance(part, str) and part.strip()]
        more = f" and {len(parts) - 2} more" if len(parts) > 2 else ""
        return " · ".join(stem for stem in stems if stem)[: 80 - len(more)] + more

    @property
    def tuning(self) -> Tuning:
        """How the weights are changed."""
        if "lora" not in self.tables:
            return "full"
        bits = self.get("quantization.bits") if "quantization" in self.tables else 16
        return {4: "lora4", 8: "lora8"}.get(bits, "lora16")  # type: ignore[return-value]

    def with_value(self, path: str, value: Any) -> Draft:
        """The same with one setting changed; None leaves it out."""
        values = {key: old for key, old in self.values.items() if key != path}
        if value is not None:
            values[path] = value
        return msgspec.structs.replace(self, values=values)

    def with_tuning(self, tuning: Tuning) -> Draft:
        """The same, tuned another way. A learning rate that was never written follows along."""
        tables = frozenset() if tuning == "full" else frozenset({"lora"})
        draft = msgspec.structs.replace(self, tables=tables)
        if tuning in ("lora4", "lora8"):
            draft = msgspec.structs.replace(draft, tables=frozenset(OPTIONAL_TABLES))
            draft = draft.with_value("quantization.bits", 4 if tuning == "lora4" else 8)
        if self.get(_RATE) in RATES.values():
            wanted = RATES[tuning]
            unwritten = wanted == fields()[_RATE].default
            draft = draft.with_value(_RATE, None if unwritten else wanted)
        return draft

    def with_patch(self, patch: dict[str, Any]) -> Draft:
        """The same with several settings changed at once, as remedies and trades want it.

        Keys are dotted names; None gives a setting its default, or takes a whole table out.
        """
        draft = self
        for path, value in patch.items():
            draft = draft._patched(path, value)
        return draft

    def _patched(self, path: str, value: Any) -> Draft:
        if path in self.unknown:
            return self.without_unknown(path)
        if path in OPTIONAL_TABLES:
            tables = self.tables - {path} if value is None else self.tables | {path}
            draft = msgspec.structs.replace(self, tables=tables)
            given = value if isinstance(value, dict) else {}
            return draft.with_patch({f"{path}.{name}": item for name, item in given.items()})
        if path not in fields():
            return self
        table = path.partition(".")[0]
        draft = self.with_value(path, None if value == fields()[path].default else value)
        if table in OPTIONAL_TABLES and value is not None:
            draft = msgspec.structs.replace(draft, tables=draft.tables | {table})
        return draft

    def without_unknown(self, path: str) -> Draft:
        """The same without a setting that does not exist."""
        left = {key: value for key, value in self.unknown.items() if key != path}
        return msgspec.structs.replace(self, unknown=left)


def _paths(draft: Draft) -> list[Any]:
    """Of the datasets."""
    sources = draft.values.get("dataset.sources")
    if not isinstance(sources, list) or not sources:
        return [draft.values.get("dataset.path")]
    return [source.get("path") for source in sources if isinstance(source, dict)]


def _stem(path: str) -> str:
    windows = "\\" in path
    pure = PureWindowsPath(path) if windows else PurePosixPath(path)
    known = {".json", ".jsonl", ".csv", ".parquet", ".txt", ".md"}
    return pure.stem if pure.suffix.lower() in known else pure.name


# ---------------------------------------------------------------- the form


class Form(QObject):
    """A draft with its complaints and its past.

    Signals:
        changed: the draft, its complaints, or what can be undone is new.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._draft = Draft()
        self._undo: list[tuple[str, Draft]] = []
        self._redo: list[Draft] = []
        self._sealed = False
        self._refused: dict[str, Complaint] = {}
        self._check()

    @property
    def draft(self) -> Draft:
        """What is filled in now."""
        return self._draft

    @property
    def spec(self) -> Spec | None:
        """The spec, if nothing is wrong with it. What the host refused may still be in it."""
        return self._spec

    @property
    def complaints(self) -> list[Complaint]:
        """Everything that is wrong, as far as this side and the host have said."""
        fresh = {complaint.field for complaint in self._found}
        return self._found + [c for f, c in self._refused.items() if f not in fresh]

    @property
    def can_undo(self) -> bool:
        """There is something to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Something was taken back."""
        return bool(self._redo)

    def set_value(self, path: str, value: Any) -> None:
        """Change one setting; None leaves it out. Typing on in one field is one step to undo."""
        if value == fields()[path].default:
            value = None
        draft = self._draft.with_value(path, value)
        if draft != self._draft:
            # What was said of no setting in particular may be mended by any change.
            self._refused = {f: c for f, c in self._refused.items() if _outlives(f, path)}
            self._put(draft, path)

    def set_tuning(self, tuning: Tuning) -> None:
        """Choose how the weights are changed."""
        draft = self._draft.with_tuning(tuning)
        if draft != self._draft:
            self._put(draft, "tuning")

    def replace(self, draft: Draft) -> None:
        """Put another draft in place, as one step to undo."""
        self._refused.clear()
        self._put(draft, "")

    def apply(self, patch: dict[str, Any]) -> bool:
        """Change several settings, as one step to undo; False if they are like that already."""
        draft = self._draft.with_patch(patch)
        if draft == self._draft:
            return False
        self.seal()
        self.replace(draft)
        return True

    def restore(self, draft: Draft) -> None:
        """Put a remembered draft in place, with nothing to undo."""
        self._undo.clear()
        self._redo.clear()
        self._become(draft)

    def seal(self) -> None:
        """What was typed so far is one step; the next change begins another."""
        self._sealed = True

    def undo(self) -> None:
        """Take the last step back."""
        if self._undo:
            _, draft = self._undo.pop()
            self._redo.append(self._draft)
            self._become(draft)

    def redo(self) -> None:
        """Do again what was taken back."""
        if self._redo:
            self._undo.append(("", self._draft))
            self._become(self._redo.pop())

    def refuse(self, complaints: list[Complaint]) -> None:
        """The host found these; each stands until its setting is changed."""
        self._refused |= {complaint.field: complaint for complaint in complaints}
        self.changed.emit()

    def accept(self, path: str) -> None:
        """What the host said against this setting no longer holds."""
        self._refused.pop(path, None)

    def _put(self, draft: Draft, key: str) -> None:
        goes_on = self._undo and key and self._undo[-1][0] == key and not self._sealed
        if not goes_on:
            self._undo.append((key, self._draft))
            del self._undo[:-_HISTORY]
        self._redo.clear()
        self._become(draft)
        self._sealed = False

    def _become(self, draft: Draft) -> None:
        self._draft = draft
        self._sealed = True
        self._check()
        self.changed.emit()

    def _check(self) -> None:
        self._spec, self._found = check(self._draft.raw())


def _outlives(field: str, changed: str) -> bool:
    """Whether what was said of a setting still holds when another one is changed."""
    table, bracket, _ = field.partition("[")
    return (table if bracket else field) in fields() and changed not in (field, table)


def complaints_of(refusal: Refusal, field: str) -> list[Complaint]:
    """What a host refused, as complaints; ``field`` is what a mere sentence is about."""
    return refusal.complaints or [Complaint(field=field, problem=refusal.sentence)]
