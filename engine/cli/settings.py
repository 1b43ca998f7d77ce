"""The spec of ``fettle train`` and others: a file, changed by ``--set``, checked here first."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from engine.client import Refused
from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.toml import absolute_paths, read_file
from engine.contract.validate import check

Use = Literal["run", "look", "plan"]
"""What a spec is read for. A run needs a name and all that it names; for a look at the data it may
go without a name, and the data may be such that a run would be wasted on it; a plan needs neither
name nor data."""


def load(path: Path, changes: list[str], use: Use = "run") -> tuple[dict[str, Any], Spec]:
    """The raw spec with absolute paths, and as a struct. Raises :class:`Refused` with all
    complaints."""
    raw, complaints = read_file(path)
    if not complaints:
        if use != "run":
            raw.setdefault("name", "unnamed")
        complaints = [found for change in changes for found in apply(raw, change)]
    if complaints:
        raise refusal(complaints)
    raw = absolute_paths(raw, path.absolute().parent)
    spec, complaints = check(raw)
    if spec is None:
        raise refusal(complaints if use == "plan" else _with_files(raw, use))
    return raw, spec


def _with_files(raw: dict[str, Any], use: Use) -> list[Complaint]:
    """All that is wrong is told at once: of a spec that is not sound the host is not asked, so its
    files are looked at here."""
    from engine.host.checks import complaints_about  # Heavy beside the other words of commands.

    return complaints_about(raw, is_for_run=use == "run")[1]


def refusal(complaints: list[Complaint]) -> Refused:
    """All that is wrong with a spec, as one exception."""
    count = "one thing is" if len(complaints) == 1 else f"{len(complaints)} things are"
    return Refused(f"This cannot be trained: {count} wrong.", complaints)


def apply(raw: dict[str, Any], change: str) -> list[Complaint]:
    """Put ``table.key=value`` into ``raw``; returns what hinders it."""
    name, equals, text = change.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not equals or not all(keys):
        return [
            Complaint(
                field="--set",
                problem=f"{change!r} sets nothing.",
                remedy="Write a setting and its value, such as training.max_steps=100.",
            )
        ]
    table = raw
    for depth, key in enumerate(keys[:-1]):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            problem = f"This is not a table, so {name} cannot be set."
            return [Complaint(field=".".join(keys[: depth + 1]), problem=problem)]
    table[keys[-1]] = parse_value(text.strip())
    return []


def parse_value(text: str) -> Any:
    """The value as TOML reads it; a bare word is text."""
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line feed in the text could smuggle in a second setting.
    return values["value"] if len(values) == 1 else text
