"""Where a text of the evidence stands, and so how much it says about the end of a run. Pure.

The exception that ended the job says most; what it was raised from says less; a warning says next
to nothing, since healthy runs print it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from engine.diagnosis import logs
from engine.diagnosis.evidence import ErrorSeen, Evidence
from engine.diagnosis.logs import Chain, LogSeen

Place = Literal["error", "cause", "context", "printed", "earlier", "warning"]

WORTH: dict[Place, float] = {
    "error": 1.0, "cause": 0.85, "context": 0.6, "printed": 0.7, "earlier": 0.3, "warning": 0.3,
}  # fmt: skip
"""How much a match at a place is worth."""

_NEWEST_LINES = 60
_WINDOW = 3
"""Lines that a text may be spread over."""
_WARNING = re.compile(
    r"\b(?:WARN(?:ING)?|INFO|DEBUG|NOTE)\b|\w*Warning:|warnings\.warn|\bwarning\b|"
    r"^\[?[WI](?:\d{4}|:)|\d: [WID] |[Rr]etry(?:ing)?\b|thrown while requesting|deprecated",
)
_GOES_ON = re.compile(r"^\[?(?:INFO|DEBUG)\b|^\{'loss'|\d: I ")
"""What is printed only by a program that has survived what came before."""
_REMOTE = re.compile(r"^\s*(?:Original )?Traceback \(most recent call last\):", re.MULTILINE)


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text that may name the problem."""

    place: Place
    text: str
    """In one line, spaces evened."""
    around: str = ""
    """The exceptions that ended the job with their tracebacks; without any, the last lines."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """All texts of the evidence, and how the run ended in their light."""

    texts: tuple[Text, ...]
    has_error: bool
    """An exception ended the job."""
    log: LogSeen


def look(evidence: Evidence) -> Seen:
    """The texts of the evidence. A run that goes on has none: what it prints, it outlives."""
    seen = logs.read(evidence.log)
    if evidence.how == "alive":
        return Seen(texts=(), has_error=False, log=seen)
    chains = list(seen.chains)
    last = _last_chain(evidence, chains, seen.lines)
    around = _whole(last) if last else "\n".join(seen.lines[-_NEWEST_LINES:])
    texts = [*(_of_chain(last, around) if last else ()), *_of_log(chains, seen.lines, around)]
    return Seen(texts=tuple(texts), has_error=last is not None, log=seen)


def _last_chain(evidence: Evidence, chains: list[Chain], lines: tuple[str, ...]) -> Chain | None:
    """The exceptions that ended the job; taken out of ``chains``."""
    if evidence.errors:
        return Chain(errors=tuple(_expanded(evidence.errors)))
    if evidence.how != "exit":
        return None
    for place in reversed(range(len(chains))):
        chain = chains[place]
        if any(_GOES_ON.search(line) for line in lines[chain.line :]):
            return None
        if not chain.is_ignored:
            return chains.pop(place)
    return None


def _expanded(errors: tuple[ErrorSeen, ...]) -> Iterator[ErrorSeen]:
    """With what another process raised, which stands as text in the last one."""
    yield from errors
    last = errors[-1]
    found = _REMOTE.search(last.text)
    if found:
        for chain in logs.read(last.text[found.start() :]).chains[:1]:
            yield from chain.errors


def _whole(chain: Chain) -> str:
    return "\n".join(f"{_said(error)}\n{error.frames}" for error in chain.errors)


def _of_chain(chain: Chain, around: str) -> Iterator[Text]:
    for number, error in enumerate(chain.errors):
        is_last = number == len(chain.errors) - 1
        place: Place = "error" if is_last else "context" if error.link == "context" else "cause"
        yield Text(place=place, text=evened(_said(error)), around=around)


def _said(error: ErrorSeen) -> str:
    return f"{error.type}: {error.text}" if error.text else error.type


def _of_log(chains: list[Chain], lines: tuple[str, ...], around: str) -> Iterator[Text]:
    for chain in chains:
        for error in chain.errors:
            yield Text(place="earlier", text=evened(_said(error)), around=_whole(chain))
    newest = len(lines) - _NEWEST_LINES
    for number in range(len(lines)):
        window = evened(" ".join(lines[number : number + _WINDOW]))
        place: Place = "printed" if number >= newest else "earlier"
        if any(_WARNING.search(line) for line in lines[number : number + _WINDOW]):
            place = "warning"
        yield Text(place=place, text=window, around=around)


def evened(text: str) -> str:
    """In one line, with single spaces: logs are wrapped at any place."""
    return " ".join(text.split())
