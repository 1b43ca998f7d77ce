"""Checks a spec: raw values in, a :class:`Spec` or *all* complaints out.

Pure. Each field is converted by itself, so that one mistake does not hide the next. What goes over
several fields is checked by :mod:`engine.contract.spec_rules`: every rule whose own fields are
sound, whatever the others are. A field is unsound, too, where a misspelt key may be meant for it:
what is mended first may settle it.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine.contract.dataset_rules import data_is_missing
from engine.contract.masking import masked
from engine.contract.messages import Complaint
from engine.contract.shape import choices_of, fields_of, item_choices_of, rows_of, table_of, touches
from engine.contract.spec import Spec, Table
from engine.contract.spec_rules import RULES
from engine.contract.unknown_keys import LONGEST_NAME, meant_by, unknown

_Kind = TypeVar("_Kind", bound=Table)
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = 3


class Examined(NamedTuple):
    """A spec as far as it can be read."""

    draft: Spec | None
    """With None for each field that is unsound; None where all of it is."""
    complaints: list[Complaint]
    unsound: frozenset[str]
    """Paths of the fields and tables that are wrong, or that may be what an unknown key means."""

    @property
    def spec(self) -> Spec | None:
        """The spec, if nothing is wrong with it."""
        return None if self.complaints else self.draft

    def has(self, *paths: str) -> bool:
        """Whether nothing is wrong with these settings, so that what they name can be looked at."""
        wrong = {complaint.field.partition("[")[0] for complaint in self.complaints}
        return self.draft is not None and not touches(paths, self.unsound | wrong)


def check(raw: object) -> tuple[Spec | None, list[Complaint]]:
    """The spec in ``raw`` (what a TOML file holds), or None and everything wrong with it."""
    examined = examine(raw)
    return examined.spec, examined.complaints


def examine(raw: object) -> Examined:
    """The same, and what of it is sound if not all is."""
    if not isinstance(raw, dict):
        problem = "This is not a table of settings."
        return Examined(None, [Complaint(field="spec", problem=problem)], frozenset())
    reading = _Reading()
    draft = reading.table(raw, Spec, "")
    for complaint in data_is_missing(raw):
        reading.complain(complaint)
    examined = Examined(draft, reading.complaints, frozenset(reading.unsound))
    for rule in RULES:
        if rule.suits(examined.unsound):
            examined.complaints.extend(rule.find(draft))
    return examined


class _Reading:
    """Converts values field by field, and notes what is wrong on the way."""

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []
        self.unsound: set[str] = set()

    def complain(self, complaint: Complaint) -> None:
        """Note that a field cannot be used. A list of tables is sound or not as a whole."""
        self.complaints.append(complaint)
        self.unsound.add(complaint.field.partition("[")[0])

    def table(self, raw: dict[str, Any], kind: type[_Kind], prefix: str) -> _Kind:
        """The table, with None for each field that there is a complaint about."""
        fields = fields_of(kind)
        for key in raw:
            if key not in fields:
                self._take_unknown(key, raw, kind, prefix)
        values: dict[str, Any] = {}
        for name, (hint, is_required) in fields.items():
            if name in raw:
                values[name] = self._value(raw[name], hint, prefix + name)
            elif is_required:
                values[name] = None
                self.complain(_missing(prefix + name, hint))
        return kind(**values)

    def _take_unknown(self, key: str, raw: dict[str, Any], kind: type[Table], prefix: str) -> None:
        self.complaints.append(unknown(key, kind, prefix))
        meant = meant_by(key, kind, prefix)
        paths = (
            [meant] if meant else [prefix + name for name in fields_of(kind).keys() - raw.keys()]
        )
        self.unsound.update(path.partition("[")[0] for path in paths)

    def _value(self, value: Any, hint: Any, path: str) -> Any:
        table = table_of(hint)
        if (rows := rows_of(hint)) is not None:
            return self._rows(value, rows, path)
        if table is None:
            try:
                return msgspec.convert(value, hint)
            except msgspec.ValidationError as error:
                self.complain(_wrong(path, value, hint, str(error)))
                return None
        if isinstance(value, dict):
            return self.table(value, table, f"{path}.")
        remedy = f"Write [{path}] with its settings below it."
        self.complain(Complaint(field=path, problem="This must be a table.", remedy=remedy))
        return None

    def _rows(self, value: Any, table: type[Table], path: str) -> list[Table] | None:
        """A list of tables; they are counted from 1."""
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            numbered = enumerate(value, start=1)
            return [self.table(row, table, f"{path}[{number}].") for number, row in numbered]
        remedy = f"Write [[{path}]] with its settings below it, once for each."
        problem = "This must be a list of tables."
        self.complain(Complaint(field=path, problem=problem, remedy=remedy))
        return None


def _missing(path: str, hint: Any) -> Complaint:
    if table_of(hint) is not None:
        return Complaint(
            field=path, problem="This table is missing.", remedy=f"Add [{path}] with its settings."
        )
    return Complaint(
        field=path,
        problem="This is missing.",
        remedy=_describe(hint),
    )


def _wrong(path: str, value: Any, hint: Any, error: str) -> Complaint:
    reason = re.sub(r" - at `.*`$", "", error)
    return Complaint(
        field=path,
        problem=f"{_shown(value)} does not fit: {in_plain_words(reason)}.",
        remedy=_remedy(value, hint),
    )


def _shown(value: Any) -> str:
    """What was written, cut; a token in the wrong place is not said again."""
    return masked(_SHOWN.repr(masked(value) if isinstance(value, str) else value))


def in_plain_words(reason: str) -> str:
    """What msgspec says of a value, without the names of types."""
    words = {
        "`int`": "a whole number",
        "`float`": "a number",
        "`str`": "text",
        "`bool`": "true or false",
        "`array`": "a list",
        "`object`": "a table",
        "`null`": "nothing",
    }
    # What was written is shown already, and may be long.
    reason = re.sub(r"(?s)Invalid enum value.*", "it is none of the choices", reason)
    for technical, plain in words.items():
        reason = reason.replace(technical, plain)
    return reason[:1].lower() + reason[1:]


def _remedy(value: Any, hint: Any) -> str:
    if choices := choices_of(hint):
        return f"{_guess([value], choices)}Write one of {', '.join(map(repr, choices))}."
    if choices := item_choices_of(hint):
        wrong = [each for each in value if each not in choices] if isinstance(value, list) else []
        return f"{_guess(wrong, choices)}Write a list of some of {', '.join(map(repr, choices))}."
    return _describe(hint)


def _guess(wrong: list[Any], choices: tuple[Any, ...]) -> str:
    """Which of the choices may have been meant, as a question; empty if none is near."""
    written = {str(choice): repr(choice) for choice in choices}
    close = [difflib.get_close_matches(str(each)[:LONGEST_NAME], written, n=1) for each in wrong]
    meant = dict.fromkeys(written[found[0]] for found in close if found)
    return f"Did you mean {' and '.join(meant)}? " if meant else ""


def _describe(hint: Any) -> str:
    return " ".join(str(meta.description) for meta in getattr(hint, "__metadata__", ()))
