"""Known problems: data in ``resources/problems/*.toml``, read strictly. The README there has the
language; its conditions are those of :mod:`engine.planning.rules`.

Pure apart from reading those files.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from engine.contract.messages import MemoryPool
from engine.contract.shape import table_of
from engine.contract.spec import Spec
from engine.diagnosis.facts import is_fact
from engine.paths import RESOURCES
from engine.planning.rules import Condition, RuleError, names_in, parse

FOLDER = RESOURCES / "problems"


class ProblemError(ValueError):
    """A file of problems is not of the language; the text says where and why."""


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """A change to the spec that takes the problem away, where its conditions hold."""

    when: tuple[Condition, ...]
    does: str
    patch: dict[str, Any]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[problem]]``, its patterns and conditions read."""

    id: str
    pool: MemoryPool
    """Which memory it is that ran out."""
    code: str
    """What a Finding of it has as code; several problems of one kind may share it."""
    title: str
    patterns: tuple[re.Pattern[str], ...]
    also: re.Pattern[str] | None
    when: tuple[Condition, ...]
    likely: tuple[Condition, ...]
    weight: float
    is_printed: bool
    is_warning: bool
    why: str
    cause: str
    remedy: str
    fixes: tuple[Fix, ...]


class _WrittenFix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    when: list[str] = []
    does: str
    patch: dict[str, Any]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[problem]]`` as it is written."""

    id: str
    pool: MemoryPool = ""
    code: str = ""
    title: str
    pattern: list[str] = []
    like: str = ""
    fix_like: str = ""
    also: str = ""
    when: list[str] = []
    likely: list[str] = []
    weight: float = 1.0
    printed: bool = False
    warning: bool = False
    why: str = ""
    cause: str
    remedy: str
    fix: list[_WrittenFix] = []


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    problem: list[_Written]


@cache
def load() -> tuple[Problem, ...]:
    """All known problems."""
    return read([path.read_text("utf-8") for path in sorted(FOLDER.glob("*.toml"))])


def read(texts: list[str]) -> tuple[Problem, ...]:
    """The problems of some files. Raises :class:`ProblemError`, ``msgspec.ValidationError`` or
    ``tomllib.TOMLDecodeError``."""
    written = [p for text in texts for p in msgspec.convert(tomllib.loads(text), _File).problem]
    by_id = {each.id: each for each in written}
    if len(by_id) < len(written):
        twice = sorted({p.id for p in written if sum(o.id == p.id for o in written) > 1})
        raise ProblemError(f"Not unique: {', '.join(twice)}.")
    return tuple(_problem(each, by_id) for each in written)


def _problem(written: _Written, by_id: dict[str, _Written]) -> Problem:
    try:
        if complaints := list(_complaints(written, by_id)):
            raise ProblemError(f"Problem {written.id}: {' '.join(complaints)}")
        return Problem(
            id=written.id,
            pool=written.pool,
            code=written.code or written.id,
            title=written.title,
            patterns=tuple(map(re.compile, _patterns(written, by_id))),
            also=re.compile(written.also) if written.also else None,
            when=tuple(map(parse, written.when)),
            likely=tuple(map(parse, written.likely)),
            weight=written.weight,
            is_printed=written.printed,
            is_warning=written.warning,
            why=written.why,
            cause=written.cause,
            remedy=written.remedy,
            fixes=tuple(map(_fix, _written_fixes(written, by_id))),
        )
    except (re.error, RuleError) as error:
        raise ProblemError(f"Problem {written.id}: {error}") from error


def _patterns(written: _Written, by_id: dict[str, _Written]) -> list[str]:
    own = by_id[written.like].pattern if written.like else []
    return [*own, *written.pattern]


def _written_fixes(written: _Written, by_id: dict[str, _Written]) -> list[_WrittenFix]:
    """Its own, and then those of the problem that it shares them with."""
    return [*written.fix, *(by_id[written.fix_like].fix if written.fix_like else ())]


def _fix(written: _WrittenFix) -> Fix:
    return Fix(
        when=tuple(map(parse, written.when)),
        does=written.does,
        patch=written.patch,
    )


# ---------------------------------------------------------------- what is wrong with a file


def _complaints(written: _Written, by_id: dict[str, _Written]) -> Iterator[str]:
    if written.like and (written.like not in by_id or by_id[written.like].like):
        yield f"like = {written.like!r} names no problem with patterns of its own."
        return
    if written.fix_like and (written.fix_like not in by_id or by_id[written.fix_like].fix_like):
        yield f"fix_like = {written.fix_like!r} names no problem with remedies of its own."
        return
    if not written.id.isidentifier():
        yield "There is no id, or one with other signs than letters, digits and _."
    if not (written.pattern or written.like or written.when):
        yield "It has neither a pattern nor a condition."
    if not (written.pattern or written.like or written.why):
        yield "Without a pattern nothing says why it is thought so: write why."
    if not 0 < written.weight <= 2:
        yield "weight is from 0 to 2."
    for name in ("title", "cause", "remedy", "why"):
        text = getattr(written, name)
        if (text or name != "why") and not text.endswith((".", "…")):
            yield f"{name} is no sentence."
    yield from _unknown_facts(written, by_id)
    for fix in written.fix:
        yield from (f"There is no setting {f}." for f in fix.patch if not _is_setting(f))


def _unknown_facts(written: _Written, by_id: dict[str, _Written]) -> Iterator[str]:
    patterns = map(re.compile, _patterns(written, by_id))
    groups = {f"match.{name}" for pattern in patterns for name in pattern.groupindex}
    for name in _facts_named(written):
        if not (is_fact(name) or name in groups):
            yield f"There is no fact {name}."


def _facts_named(written: _Written) -> Iterator[str]:
    texts = [written.title, written.why, written.cause, written.remedy]
    conditions = [*written.when, *written.likely]
    for fix in written.fix:
        texts += [fix.does, *map(str, fix.patch.values())]
        conditions += fix.when
    for text in texts:
        yield from names_in(text)
    for condition in map(parse, conditions):
        yield condition.left
        if condition.right:
            yield condition.right


def _is_setting(field: str) -> bool:
    """Whether a spec has a field of this dotted name."""
    kind: Any = Spec
    for key in field.split("."):
        if kind is None or key not in kind.__struct_fields__:
            return False
        fields = {f.name: f for f in msgspec.structs.fields(kind)}
        kind = table_of(fields[key].type)
    return True
