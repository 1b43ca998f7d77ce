"""What a draft learns from: one dataset, or several with a weight each. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.form import Draft
from app.form_fields import fields
from app.words import count

Entry = dict[str, Any]
"""One dataset as ``[[dataset.sources]]`` has it: what differs from the defaults."""

_OF_ENTRY = ("path", "format", "columns", "roles", "skip_samples", "max_samples")
WEIGHT = 1.0
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000.0


class Rows(NamedTuple):
    """How many there are, as far as is known."""

    learnt: int | None = None
    """In an epoch, by the weights; None where nobody knows."""
    own: int | None = None
    """Each counted once, as they are held back."""
    is_counted: bool = False
    """Nothing of it is an estimate."""


class Key(NamedTuple):
    """What decides how the rows of a dataset are read."""

    path: str = ""
    format: str = "auto"
    columns: str = "{}"
    """As JSON."""
    roles: str = "{}"


def entries(draft: Draft) -> list[Entry]:
    """The datasets of a draft; one without a path where there is none yet."""
    sources = draft.get("dataset.sources")
    if isinstance(sources, list) and sources:
        return [dict(source) if isinstance(source, dict) else {} for source in sources]
    known = {name: draft.values.get(f"dataset.{name}") for name in _OF_ENTRY}
    return [{name: value for name, value in known.items() if value is not None}]


def is_mixture(draft: Draft) -> bool:
    """Whether there are several, or one that is written as if there were."""
    return bool(draft.get("dataset.sources"))


def patch_of(found: Sequence[Entry]) -> dict[str, Any]:
    """What makes a draft learn from these. A single one needs no list, unless it has a weight."""
    settings = {f"dataset.{name}": None for name in _OF_ENTRY}
    if len(found) > 1 or "weight" in (found[0] if found else {}):
        return {**settings, "dataset.sources": list(found)}
    only = found[0] if found else {}
    return {**{path: only.get(path[8:]) for path in settings}, "dataset.sources": None}


def without(draft: Draft, place: int) -> dict[str, Any]:
    """What leaves one dataset out of several. The last one is a dataset as any other: there is
    nothing that its weight could be compared with."""
    found = entries(draft)
    left = found[:place] + found[place + 1 :]
    return patch_of(left if len(left) > 1 else [changed(entry, "weight", None) for entry in left])


def changed(entry: Entry, name: str, value: Any) -> Entry:
    """The same with one setting changed; None, or the default, leaves it out."""
    left = {key: old for key, old in entry.items() if key != name}
    default = WEIGHT if name == "weight" else fields()[f"dataset.{name}"].default
    if value is not None and value != default:
        left[name] = value
    return left


def exchanged(found: Sequence[Entry], place: int, entry: Entry) -> list[Entry]:
    """The same with another one at ``place``."""
    return [*found[:place], entry, *found[place + 1 :]]


def key_of(entry: Entry) -> Key:
    """What is asked of the host to know it."""
    path, format = entry.get("path"), entry.get("format")
    is_known = format in fields()["dataset.format"].choices
    return Key(
        path if isinstance(path, str) else "", str(format) if is_known else "auto",
        *(_as_json(entry.get(kind)) for kind in ("columns", "roles")),
    )  # fmt: skip


def rows_of(found: Sequence[Entry], facts: Sequence[dict[str, Any]]) -> Rows:
    """``facts`` are the answers to PreviewDataset, in the same order."""
    learnt, own, is_counted = 0.0, 0.0, True
    for entry, known in zip(found, facts, strict=True):
        rows = known.get("row_count")
        if rows is None:
            rows, is_counted = known.get("row_estimate"), False
        if rows is None:
            return Rows()
        rows = max(0, rows - _number(entry.get("skip_samples"), 0))
        most = _number(entry.get("max_samples"), 0)
        used = min(rows, most) if most else rows
        own += used
        learnt += used * _number(entry.get("weight"), WEIGHT)
    return Rows(round(learnt), round(own), is_counted)


def limits_of(entry: Entry) -> list[str]:
    """What of it is left out, in words."""
    skipped = _number(entry.get("skip_samples"), 0)
    most = _number(entry.get("max_samples"), 0)
    parts = [f"without the first {count(int(skipped))}"] if skipped else []
    return [*parts, f"at most {count(int(most))}"] if most else parts


def _number(value: Any, otherwise: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else otherwise


def _as_json(names: object) -> str:
    return json.dumps(names if isinstance(names, dict) else {}, ensure_ascii=False)
