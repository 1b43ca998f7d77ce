"""What a recipe of another program is taken apart with: its options, and what becomes of each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from engine.contract.messages import Complaint
from engine.contract.shape import table_of
from engine.contract.spec import Spec
from engine.paths import RESOURCES

OPTIONS = RESOURCES / "recipes" / "options.toml"
LONGEST_BYTES = 1 << 20
"""Of a recipe; a longer file is something else."""
_KEPT_WHOLE = frozenset({
    "quantization_config", "dataset", "datasets", "test_datasets", "rope_scaling", "deepspeed",
    "gradient_checkpointing_kwargs", "fsdp_config", "special_tokens", "dataset_kwargs",
    "lr_scheduler_kwargs",
})  # fmt: skip
_MISSING = object()

Kind = Literal["renamed", "changed", "left_out", "lost", "unknown", "added"]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an option, for people."""

    kind: Kind
    option: str
    """As the recipe calls it; of what was ``added`` the setting's own name."""
    text: str
    field: str = ""
    """The setting that it became, if it became one."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``options.toml`` holds."""

    fields: dict[str, list[str]]
    new_names: dict[str, str]
    own: dict[str, str]
    lost: dict[str, str]
    defaults: dict[str, dict[str, Any]]


@cache
def table() -> Table:
    """The bundled table of options."""
    return msgspec.convert(tomllib.loads(OPTIONS.read_text("utf-8")), Table)


def read_recipe(path: Path) -> tuple[dict[str, Any], list[Complaint]]:
    """The options in a JSON or TOML file, or ``{}`` and why it cannot be read. Never raises."""
    try:
        data = path.read_bytes()
        if len(data) > LONGEST_BYTES:
            return {}, [_unreadable(f"{path} is too long for a recipe.")]
        found = _decoded(path, data.decode("utf-8-sig"))
    except OSError as error:
        return {}, [_unreadable(f"{path} cannot be read: {error.strerror}.")]
    except (ValueError, RecursionError) as error:
        return {}, [_unreadable(f"{path} is not what its name says: {error}.")]
    if not isinstance(found, dict):
        return {}, [_unreadable(f"{path} holds no options.")]
    return found, []


def _decoded(path: Path, text: str) -> Any:
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ValueError("YAML is not read; convert it to JSON or TOML first")
    return tomllib.loads(text) if path.suffix.lower() == ".toml" else msgspec.json.decode(text)


def _unreadable(problem: str) -> Complaint:
    return Complaint(
        field="recipe", problem=problem, remedy="Give a JSON or TOML file with the options by name."
    )


class Draft:
    """A spec in the making. Each option is taken once; what is left at the end is not known."""

    def __init__(self, recipe: dict[str, Any]) -> None:
        self._left: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        """Dotted fields of the spec that the recipe sets."""
        self.notes: list[Note] = []
        self.facts: dict[str, Any] = {}
        """What rules about recipes can speak of, without ``recipe.``."""
        for name, value in _flat(recipe):
            if name in self._left and self._left[name] != value:
                self.note("changed", name, "It is there more than once; the last one counts.")
            self._left[name] = value
        self._given = frozenset(self._left)

    def names(self) -> list[str]:
        """Options that nobody has taken yet."""
        return list(self._left)

    def has(self, *names: str) -> bool:
        """Whether the recipe has one of the options, taken or not yet."""
        return any(name in self._given for name in names)

    def look(self, name: str, default: Any = None) -> Any:
        """An option's value; it stays where it is."""
        return self._left.get(name, default)

    def take(self, name: str, default: Any = None) -> Any:
        """An option's value, which is dealt with by that."""
        return self._left.pop(name, default)

    def note(self, kind: Kind, option: str, text: str, field: str = "") -> None:
        """Keep what became of an option."""
        self.notes.append(Note(kind=kind, option=option, text=text, field=field))

    def set(self, field: str, value: Any, option: str, why: str = "") -> bool:
        """Put a value into the spec if it can be one; ``why`` is a note on it."""
        try:
            self.values[field] = msgspec.convert(value, hint_of(field), strict=False)
        except msgspec.ValidationError:
            shown = repr(value)[:60]
            self.note("left_out", option, f"{shown} cannot be {field}; it is left as it is.", field)
            return False
        if why:
            self.note("changed", option, why, field)
        return True

    def take_first(self, field: str, names: list[str]) -> None:
        """Set a field from the first of the options that is there; say so if it has a new name."""
        there = [name for name in names if self._left.get(name, _MISSING) is not _MISSING]
        for name in there[1:]:
            other = self.take(name) != self._left[there[0]]
            said = "something else" if other else "the same"
            self.note("left_out", name, f"{there[0]} says {said}, and that counts.", field)
        for name in there[:1]:
            value = self.take(name)
            if value is not None and self.set(field, value, name):
                self._say_new_name(name, field)

    def _say_new_name(self, name: str, field: str) -> None:
        setting = field.rpartition(".")[2]
        new = table().new_names.get(name)
        if new is not None and new != setting:
            self.note("renamed", name, f"Now called {new}; here it is {field}.", field)
        elif name != setting:
            self.note("renamed", name, f"Here it is called {field}.", field)


def _flat(recipe: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All options by their own names, whatever tables they are in."""
    for name, value in recipe.items():
        if isinstance(value, dict) and name not in _KEPT_WHOLE and depth < 6:
            yield from _flat(value, depth + 1)
        else:
            yield str(name), value


@cache
def hint_of(field: str) -> Any:
    """The type of a dotted field of a spec. Raises KeyError if there is none."""
    kind: Any = Spec
    for name in field.split("."):
        kind = get_type_hints(table_of(kind) or kind, include_extras=True)[name]
    return kind


def first_of(draft: Draft, *names: str) -> Any:
    """The value of the first option that is there; all of them are dealt with by that."""
    found = None
    for name in names:
        value = draft.take(name)
        found = value if found is None else found
    return found


def is_yes(value: Any) -> bool:
    """``auto`` in Axolotl means: where it can be."""
    return value is True or str(value).lower() in ("true", "yes", "1", "on")
