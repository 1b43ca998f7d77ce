"""Settings that cannot work together, or not here: found before torch is imported.

The rules are data, in ``resources/conflicts/*.toml`` (see the README there); their language is
:mod:`engine.planning.rules`, what they can speak of :mod:`engine.planning.conflict_facts`. Pure
apart from reading those files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.unknown_keys import LONGEST_NAME
from engine.paths import RESOURCES
from engine.planning import hardware
from engine.planning.conflict_facts import Known, MachineLike, facts_of, is_fact
from engine.planning.rules import (
    Condition,
    Facts,
    RuleError,
    filled,
    filled_value,
    holds,
    names_in,
    parse,
)

FOLDER = RESOURCES / "conflicts"
RECIPES = "recipe"
"""Name of the file whose rules are about recipes of other programs; a spec is not held to them."""

Severity = Literal["problem", "warning"]
"""A ``problem`` is certain to end the run; with a ``warning`` it runs, but not as it was meant."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fired."""

    id: str
    severity: Severity
    field: str
    """Dotted name in the spec of the setting that is best changed."""
    title: str
    """What is wrong, in one line."""
    reason: str
    remedy: str
    """What to do; where there is a ``patch``, the words on its button."""
    patch: dict[str, Any] = {}
    """Dotted field of the spec to its new value, None to remove it; empty if it takes more."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[rule]]`` of a file, its conditions read."""

    id: str
    severity: Severity
    field: str
    when: tuple[Condition, ...]
    title: str
    reason: str
    remedy: str
    patch: dict[str, Any]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[rule]]`` as it is written."""

    id: str
    severity: Severity
    field: str
    when: list[str]
    title: str
    reason: str
    remedy: str
    patch: dict[str, Any] = {}
    remove: list[str] = []


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: list[_Written]


def check(
    spec: Spec,
    facts: MachineLike = None,
    config: dict[str, Any] | None = None,
    packages: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> list[Conflict]:
    """Everything that does not go together, problems first.

    ``facts`` is a MachineFacts, its dict, or a Machine to plan for; ``config`` the model's config;
    ``packages`` what is installed, if not what ``facts`` says; ``known`` what else is known. What
    is left out is unknown, and an unknown fact lets no rule fire.
    """
    flat = facts_of(spec, facts, config, packages, known or Known())
    rules = (rule for name, rules in load().items() if name != RECIPES for rule in rules)
    return [*_unknown_profile(spec), *fired(flat, rules)]


def _unknown_profile(spec: Spec) -> Iterator[Conflict]:
    """Users may have profile files of their own, so this is no matter of the spec alone."""
    name = spec.hardware.profile
    if name == hardware.AUTO or hardware.find(name) is not None:
        return
    unknown = hardware.UnknownProfile(name)
    yield Conflict(
        id="profile_unknown",
        severity="problem",
        field="hardware.profile",
        title=f"There is no hardware profile {name[:LONGEST_NAME]!r}.",
        reason="The names are those of the files in resources/hardware and of your own.",
        remedy=f"Plan for {unknown.nearest or 'the machine that is there'}",
        patch={"hardware.profile": unknown.nearest or hardware.AUTO},
    )


def fired(facts: Facts, rules: Iterable[Rule]) -> list[Conflict]:
    """The rules that hold of these facts, problems first."""
    found = [_conflict(r, facts) for r in rules if all(holds(c, facts) is True for c in r.when)]
    return sorted(found, key=lambda conflict: conflict.severity != "problem")


def _conflict(rule: Rule, facts: Facts) -> Conflict:
    return Conflict(
        id=rule.id,
        severity=rule.severity,
        field=rule.field,
        title=filled(rule.title, facts),
        reason=filled(rule.reason, facts),
        remedy=filled(rule.remedy, facts),
        patch={name: filled_value(value, facts) for name, value in rule.patch.items()},
    )


@cache
def load() -> dict[str, tuple[Rule, ...]]:
    """All rules by the name of their file."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.toml"))}


def read(path: Path) -> tuple[Rule, ...]:
    """The rules of one file. Raises ``RuleError``, ``msgspec.ValidationError`` or
    ``tomllib.TOMLDecodeError``."""
    written = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).rule
    return tuple(_rule(each) for each in written)


def _rule(written: _Written) -> Rule:
    conditions = tuple(parse(text) for text in written.when)
    patch = {**written.patch, **dict.fromkeys(written.remove)}
    texts = [written.title, written.reason, written.remedy, *map(str, patch.values())]
    names = {name for text in texts for name in names_in(text)}
    names |= {c.left for c in conditions} | {c.right for c in conditions if c.right}
    if unknown := sorted(name for name in names if not is_fact(name)):
        raise RuleError(f"Rule {written.id}: there is no fact {', '.join(unknown)}.")
    if not conditions:
        raise RuleError(f"Rule {written.id} has no condition.")
    return Rule(
        id=written.id,
        severity=written.severity,
        field=written.field,
        when=conditions,
        title=written.title,
        reason=written.reason,
        remedy=written.remedy,
        patch=patch,
    )


# ---------------------------------------------------------------- for those who show them


def complaint_of(conflict: Conflict) -> Complaint:
    """A problem as what a host refuses a spec with."""
    return Complaint(
        field=conflict.field,
        problem=f"{conflict.title} {conflict.reason}",
        remedy=asked(conflict),
        patch=conflict.patch,
    )


def lines(conflicts: Iterable[Conflict]) -> list[str]:
    """What a command line prints, a line each."""
    return [
        f"{conflict.severity.capitalize()}: {conflict.title} {conflict.reason} {asked(conflict)}"
        for conflict in conflicts
    ]


def asked(conflict: Conflict) -> str:
    """The remedy as a sentence, with what to write where a patch does it."""
    changes = ", ".join(_change(name, value) for name, value in conflict.patch.items())
    return f"{conflict.remedy}: {changes}." if changes else f"{conflict.remedy}."


def _change(name: str, value: Any) -> str:
    if value is None:
        return f"remove {name}"
    if value == {}:
        return f"add [{name}]"
    return f"{name} = {msgspec.json.encode(value).decode()}"
