"""A patch changes a spec after it was written: dotted field to its new value, None to remove it.

Remedies are patches: those of a complaint, a conflict, a plan and a diagnosis. A run keeps its spec
as it was started; what was changed since stands in its Decisions, and :func:`patched` joins the
two. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine.contract.validate import check

Patch = dict[str, Any]


def patched(spec: dict[str, Any], patches: Iterable[Patch]) -> dict[str, Any]:
    """The raw spec with all patches applied, the oldest first; ``spec`` itself stays as it is.

    Whatever the patches are, this gives a table; checking it says what they made wrong.
    """
    raw: dict[str, Any] = _copied(spec)
    for patch in patches:
        for field, value in patch.items():
            _set(raw, field, value)
    return raw


def _copied(value: Any) -> Any:
    """Of what TOML can hold, with no part in common; many times as quick as ``deepcopy``."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _set(raw: dict[str, Any], field: str, value: Any) -> None:
    *tables, name = field.split(".")
    table = raw
    for key in tables:
        if not isinstance(table.get(key), dict):
            if value is None:
                return
            table[key] = {}
        table = table[key]
    if value is None:
        table.pop(name, None)
    else:
        table[name] = _copied(value)


def changes(spec: dict[str, Any], patch: Patch) -> list[str]:
    """What a patch changes of a raw spec, such as ``training.max_length 1024 → 512``."""
    before, after = (_with_defaults(raw) for raw in (spec, patched(spec, [patch])))
    pairs = ((field, _shown(before, field), _shown(after, field)) for field in patch)
    return [f"{field} {old} → {new}" for field, old, new in pairs if old != new]


def undoes(spec: dict[str, Any], patches: list[Patch], patch: Patch) -> list[str]:
    """The fields that ``patch`` would bring back to a value that they had before one of
    ``patches``, the changes of ``spec`` until now, the oldest first."""
    states = [_with_defaults(patched(spec, patches[:n])) for n in range(len(patches) + 1)]
    after = _with_defaults(patched(spec, [*patches, patch]))
    return [field for field in patch if _returns([_shown(each, field) for each in states],
                                                 _shown(after, field))]  # fmt: skip


def _returns(values: list[str], new: str) -> bool:
    return new != values[-1] and new in values


def _with_defaults(raw: dict[str, Any]) -> Any:
    spec, _ = check(raw)
    return raw if spec is None else msgspec.to_builtins(spec)


def _shown(spec: Any, field: str) -> str:
    for key in field.split("."):
        spec = spec.get(key) if isinstance(spec, dict) else None
    return "none" if spec is None else msgspec.json.encode(spec).decode().strip('"')
