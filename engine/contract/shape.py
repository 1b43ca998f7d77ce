"""What settings a spec has: its tables, their fields, and the paths that name them."""

from __future__ import annotations

import functools
import types
from collections.abc import Collection
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.contract.table import Table


@functools.cache
def fields_of(kind: type[Table]) -> dict[str, tuple[Any, bool]]:
    """Of each field what it holds and whether it is required; making this out takes longer than
    all the rest of a check, and a form checks at every key."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: (hints[f.name], f.required) for f in msgspec.structs.fields(kind)}


def table_of(hint: Any) -> type[Table] | None:
    """The table a field holds, None if it holds a plain value."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if isinstance(option, type) and issubclass(option, Table):
            return option
    return None


def rows_of(hint: Any) -> type[Table] | None:
    """The table that a list holds several of, None if the field is no such list."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return table_of(get_args(hint)[0]) if get_origin(hint) is list else None


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values of a field that takes one of a few; empty for any other field."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return get_args(hint) if get_origin(hint) is Literal else ()


def item_choices_of(hint: Any) -> tuple[Any, ...]:
    """The same of what a list holds several of."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return choices_of(get_args(hint)[0]) if get_origin(hint) is list else ()


def overlap(one: str, other: str) -> bool:
    """Whether two paths such as ``lora.r`` are one setting, or one is in the other's table."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def touches(paths: Collection[str], others: Collection[str]) -> bool:
    """Whether one of the paths overlaps with one of the others."""
    return any(overlap(path, other) for path in paths for other in others)
