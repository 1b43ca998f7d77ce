"""The settings of a spec, as a form needs to know them, and what the texts in it mean. Pure."""

from __future__ import annotations

import re
import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from app.form_words import CHOICES
from app.words import GROUP, rate
from engine.contract.shape import choices_of, table_of
from engine.contract.spec import Spec, Table
from engine.contract.toml import describe

Kind = Literal["text", "int", "float", "bool", "choice", "names", "pairs"]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a spec, as a form needs to know it."""

    path: str
    """Dotted name, such as ``training.learning_rate``."""
    kind: Kind
    help: str
    """What it means, in plain words."""
    choices: tuple[Any, ...] = ()
    default: Any = None
    """None if it has none, or if None is the default."""
    required: bool = False


@cache
def fields() -> dict[str, Field]:
    """All settings of a spec by their dotted names, in the order of the contract."""
    return {field.path: field for field in _fields_of(Spec, "")}


def _fields_of(table: type[Table], prefix: str) -> list[Field]:
    hints = get_type_hints(table, include_extras=True)
    helps = describe(table)
    found: list[Field] = []
    for info in msgspec.structs.fields(table):
        hint = hints[info.name]
        inner = table_of(hint)
        if inner is not None:
            found += _fields_of(inner, f"{prefix}{info.name}.")
            continue
        found.append(
            Field(
                path=prefix + info.name,
                kind=_kind_of(hint),
                help=helps[info.name],
                choices=_in_reading_order(prefix + info.name, choices_of(hint)),
                default=_default_of(info),
                required=info.required or prefix + info.name in _ASKED_FOR,
            )
        )
    return found


def _default_of(info: msgspec.structs.FieldInfo) -> Any:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default in (msgspec.NODEFAULT, "") else info.default


OF_ONE_FILE = (
    "dataset.format", "dataset.columns", "dataset.roles", "dataset.skip_samples",
    "dataset.max_samples", "dataset.sources", "dataset.fixes",
)  # fmt: skip
"""What was said of one dataset and goes with another."""
_ASKED_FOR = ("dataset.path",)
"""Can be left out only where there are several datasets in its place."""


def _in_reading_order(path: str, choices: tuple[Any, ...]) -> tuple[Any, ...]:
    named = list(CHOICES.get(path, ()))
    return tuple(sorted(choices, key=lambda c: named.index(c) if c in named else len(named)))


def _kind_of(hint: Any) -> Kind:
    if choices_of(hint):
        return "choice"
    while hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(get_origin(option) is dict for option in options):
        return "pairs"
    if any(get_origin(option) is list for option in options):
        return "names"
    for option in options:
        while hasattr(option, "__metadata__"):
            option = get_args(option)[0]
        plain: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
        if option in plain:
            return plain[option]
    return "text"


# ---------------------------------------------------------------- text and values


def read_text(field: Field, text: str) -> Any:
    """The value that a text stands for; the text itself if it stands for none.

    Empty text is None: the setting is left out, which gives its default.
    """
    text = text.strip()
    if not text:
        return None
    if field.kind == "names":
        return _read_names(field, text)
    if field.kind == "pairs":
        found = [part.partition("=") for part in text.split(",")]
        return {name.strip(): theirs.strip() for name, _, theirs in found}
    if field.kind in ("int", "float"):
        return _read_number(field, re.sub(r"\s", "", text), text)
    return text


def _read_names(field: Field, text: str) -> list[str] | str:
    names = [name for name in re.split(r"[,\s]+", text) if name]
    return text if names == [field.default] else names


def _read_number(field: Field, digits: str, text: str) -> float | str:
    try:
        number = float(digits)
    except ValueError:
        return text
    whole = field.kind == "int" and number == number // 1 and abs(number) < 1e15
    return int(number) if whole else number


def show_value(field: Field, value: Any) -> str:
    """A value as the form shows it; :func:`read_text` gives it back."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {theirs}" for name, theirs in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if field.path.endswith("learning_rate") and 0 < value < 0.01:
        short = rate(value)
        return short if float(short) == value else repr(value)
    if value == value // 1 and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", GROUP) if abs(value) >= 1000 else str(int(value))
    return repr(value)
