"""Weighs what is known to go wrong against the evidence, best first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from engine.contract import effects
from engine.contract.messages import MemoryPool
from engine.diagnosis import places, problems
from engine.diagnosis.crash import library_of
from engine.diagnosis.evidence import Evidence
from engine.diagnosis.facts import facts_of
from engine.diagnosis.places import Place, Seen, Text
from engine.diagnosis.problems import Fix, Problem
from engine.planning.rules import Facts, filled, filled_value, holds, names_in

LEAST = 0.25
"""What scores less is no diagnosis."""
_HELD, _UNKNOWN, _LIKELY, _UNLIKELY = 0.15, -0.2, 0.2, -0.35
_CONDITIONS_ONLY = 0.5
"""Worth of a problem that no text speaks of."""
_LONGEST_QUOTE = 160

_SAID: dict[Place, str] = {
    "error": "The last error says “{quote}”.",
    "cause": "The error came from another, “{quote}”.",
    "context": "It came up while another error was handled, “{quote}”.",
    "printed": "The end of the log says “{quote}”.",
    "earlier": "The log says “{quote}”.",
    "warning": "The log warns “{quote}”.",
}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What may have gone wrong, and what helps."""

    id: str
    """Of the known problem."""
    code: str
    """Of a :class:`engine.contract.messages.Finding` of it."""
    pool: MemoryPool = ""
    """Which memory ran out, if it was that."""
    title: str
    why: str
    """Why it is thought so: the words and facts that fit."""
    cause: str
    remedy: str
    """What helps, the words of the patch first."""
    does: str = ""
    """What the patch does, and to the result; empty without one."""
    patch: dict[str, Any] = {}
    """What does it at one click: dotted field of the spec to its new value."""
    changes_result: bool = False
    """Whether a run with the patch gives another result than it would have given."""
    effect: str = ""
    """What the patch does to the result, as a sentence."""
    score: float = 0.0


class _Match(msgspec.Struct, frozen=True, kw_only=True):
    """A problem and the text that names it; None where only conditions do."""

    text: Text | None
    found: re.Match[str] | None

    @property
    def worth(self) -> float:
        return places.WORTH[self.text.place] if self.text else _CONDITIONS_ONLY

    @property
    def length(self) -> int:
        return len(self.found[0]) if self.found else 0


def diagnose(
    evidence: Evidence, known: Sequence[Problem] | None = None, *, least: float = LEAST
) -> list[Diagnosis]:
    """What the evidence speaks for, the most likely first; empty if nothing known fits."""
    seen = places.look(evidence)
    facts = facts_of(evidence)
    if seen.has_error:
        facts["end.how"] = "exception"
    if library := library_of(seen):
        facts["crash.library"] = library
    ranked = []
    for problem in problems.load() if known is None else known:
        match = _best(problem, seen)
        score = _score(problem, match, facts) if match else 0.0
        if match and score >= least:
            told = _told(problem, match, facts, evidence.spec)
            ranked.append((score, match.length, msgspec.structs.replace(told, score=score)))
    ranked.sort(key=lambda each: each[:2], reverse=True)
    return [diagnosis for _, _, diagnosis in ranked]


# ---------------------------------------------------------------- texts


def _best(problem: Problem, seen: Seen) -> _Match | None:
    """The weightiest text that names the problem."""
    if not problem.patterns:
        return _Match(text=None, found=None)
    matches = list(_matches(problem, seen))
    return max(matches, key=lambda match: (match.worth, match.length), default=None)


def _matches(problem: Problem, seen: Seen) -> Iterator[_Match]:
    for text in seen.texts:
        if not _counts(problem, text, seen):
            continue
        found = next((m for p in problem.patterns if (m := p.search(text.text))), None)
        if found and (problem.also is None or problem.also.search(text.around)):
            yield _Match(text=text, found=found)


def _counts(problem: Problem, text: Text, seen: Seen) -> bool:
    """A warning names only what is known to be told by one; where an exception ended the job,
    other lines count only for what is printed and not raised."""
    if text.place == "warning":
        return problem.is_warning
    if text.place in ("printed", "earlier") and seen.has_error:
        return problem.is_printed
    return True


# ---------------------------------------------------------------- facts


def _score(problem: Problem, match: _Match, facts: Facts) -> float:
    known = {**facts, **_groups(match)}
    held = [holds(condition, known) for condition in problem.when]
    if False in held or (match.text is None and None in held):
        return 0.0
    likely = [holds(condition, known) for condition in problem.likely]
    factor = 1 + _HELD * held.count(True) + _UNKNOWN * held.count(None)
    factor += _LIKELY * likely.count(True) + _UNLIKELY * likely.count(False)
    return match.worth * problem.weight * max(factor, 0.0)


def _groups(match: _Match) -> dict[str, Any]:
    """What a pattern picked out, as ``match.<name>``; numbers as numbers."""
    groups = match.found.groupdict() if match.found else {}
    # They end up within sentences.
    return {f"match.{name}": _number(text.rstrip(" .")) for name, text in groups.items() if text}


def _number(text: str) -> float | str:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text


# ---------------------------------------------------------------- words


def _told(problem: Problem, match: _Match, facts: Facts, spec: dict[str, Any]) -> Diagnosis:
    known = {**facts, **_groups(match)}
    fix = next((fix for fix in problem.fixes if _applies(fix, known)), None)
    patch = {n: filled_value(v, known) for n, v in fix.patch.items()} if fix else {}
    effect = effects.sentence_of(patch, spec)
    does = f"{filled(fix.does, known)} {effect}" if fix else ""
    return Diagnosis(
        id=problem.id,
        code=problem.code,
        pool=problem.pool,
        title=filled(problem.title, known),
        why=" ".join(filter(None, (_quoted(match), _because(problem, known)))),
        cause=filled(problem.cause, known),
        remedy=f"{does} {filled(problem.remedy, known)}".strip(),
        does=does,
        patch=patch,
        changes_result=effects.changes_result(patch, spec),
        effect=effect,
    )


def _applies(fix: Fix, facts: Facts) -> bool:
    """Whether its conditions hold, and each new value is known: None would take a setting away."""
    values = (filled_value(value, facts) for value in fix.patch.values())
    return None not in values and all(holds(condition, facts) is True for condition in fix.when)


def _because(problem: Problem, facts: Facts) -> str:
    """The sentence on the facts; left out where one of them is not known."""
    is_certain = all(holds(condition, facts) is True for condition in problem.when)
    is_known = all(name in facts for name in names_in(problem.why))
    return filled(problem.why, facts) if is_certain and is_known else ""


def _quoted(match: _Match) -> str:
    if match.text is None or match.found is None:
        return ""
    return _SAID[match.text.place].format(quote=_quote(match.text.text, match.found).rstrip("."))


def _quote(text: str, found: re.Match[str]) -> str:
    """The text around what fits, cut between words where it is long."""
    if len(text) <= _LONGEST_QUOTE:
        return text
    begin = max(0, min(found.start() - 20, len(text) - _LONGEST_QUOTE))
    begin = text.rfind(" ", 0, begin) + 1 if begin else 0
    end = begin + _LONGEST_QUOTE
    if end < len(text):
        end = max(text.rfind(" ", begin, end), min(found.end(), end))
    left, right = "… " if begin else "", " …" if end < len(text) else ""
    return f"{left}{text[begin:end].strip()}{right}"
