"""The turns of the pace in words for people: what happened, what was seen, what to do."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract.messages import Finding, Severity
from engine.diagnosis.pace.causes import Platform
from engine.diagnosis.pace.cures import lighter, say_lighter
from engine.diagnosis.pace.seen import busy_seen, clock_seen, either, memory_seen, span, times
from engine.diagnosis.pace.turn import Turn
from engine.planning.figures import count, gib, percent


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the pace depends on of the machine."""

    platform: Platform = "never"
    ram_bytes: int | None = None


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """The words of a finding."""

    title: str
    cause: str
    remedy: str
    why: str = ""
    severity: Severity = "warning"
    patch: dict[str, Any] = {}


def finding_of(
    turn: Turn, machine: Machine, spec: dict[str, Any], at: float, *, begun: Turn | None = None
) -> Finding:
    """The finding of a turn; ``begun`` is the one that is over with it."""
    if begun is not None:
        text, code = _end(turn, begun), f"{turn.code}_over"
    else:
        text, code = _WORDS[turn.code](turn, machine, spec), turn.code
    return Finding(
        at=at,
        code=code,
        severity=text.severity,
        title=text.title,
        cause=text.cause,
        remedy=text.remedy,
        why=text.why,
        patch=text.patch,
        step=turn.step or None,
    )


# ---------------------------------------------------------------- each of them


def _spill(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    size = turn.cause.spilled_bytes if turn.cause else 0
    what = f"{gib(size)} of the card's memory" if size else "A part of the card's memory"
    slower = f", {times(turn.case)} slower" if turn.case else ""
    taken = turn.cause and turn.cause.reason == "others"
    whole = turn.case.after.total_bytes if turn.case else None
    full = f"The card's {gib(whole)} are full" if whole else "The card is full"
    patch = lighter(spec)
    return Text(
        title=f"{what} spilled into RAM since step {count(turn.step)}{slower}.",
        cause=f"{full}, and Windows moves what does not fit to the computer's memory without a "
        "word, from where every step fetches it again."
        + (" Another program took memory of the card since then." if taken else ""),
        remedy=either("Close other programs that use the card", say_lighter(spec)),
        why=memory_seen(turn.case),
        patch=patch,
    )


def _throttled(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    reason = turn.cause.reason if turn.cause else ""
    because, remedy = _THROTTLES.get(reason, _THROTTLES[""])
    return Text(
        title=f"The card clocks down since step {count(turn.step)}: steps take "
        f"{times(turn.case)} as long.",
        cause=because,
        remedy=remedy,
        why=clock_seen(turn.case),
    )


_THROTTLES = {
    "heat": (
        "It is too hot and protects itself.",
        "Give it air: clean its fans, open the case, or lower its power limit a little.",
    ),
    "power": (
        "It may use no more power than this.",
        "Plug a laptop in; on a desktop, see whether a program has lowered its power limit.",
    ),
    "power_supply": (
        "The power supply does not give what the card asks for.",
        "Look at the cables from the power supply to the card, and at what else hangs on them.",
    ),
    "hardware": (
        "It protects itself and does not say from what: mostly heat, or too little power.",
        "Look at its temperature and at the cables from the power supply.",
    ),
    "": (
        "It does not say why; mostly it is heat, or a power limit.",
        "Look at its temperature and its power limit (`nvidia-smi -q -d PERFORMANCE`).",
    ),
}


def _starved(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    slower = f": steps take {times(turn.case)} as long" if turn.case else ""
    wait, share = turn.case.span_after.wait_seconds if turn.case else None, turn.wait_share
    if wait is not None and turn.case:
        share = wait / max(turn.case.span_after.seconds, 1e-9)
    idle = f"{percent(share)} of each step" if share else "a good part of each step"
    return Text(
        title=f"The card waits for data since step {count(turn.step)}{slower}.",
        cause=f"For {idle} it has nothing to do: the processor does not get the next samples ready "
        "in time.",
        remedy="Close programs that keep the processor busy. If it stays so, packing = true, or a "
        "smaller max_length, leaves less to get ready.",
        why=busy_seen(turn.case),
    )


def _card_shared(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    case = turn.case
    before, after = (case.before.others_bytes, case.after.others_bytes) if case else (None, None)
    more = f"{gib(after - before)} more of it" if before is not None and after else "more of it"
    return Text(
        title=f"Another program uses the card since step {count(turn.step)}: steps take "
        f"{times(turn.case)} as long.",
        cause=f"Other programs hold {more} than before; a card computes for one at a time.",
        remedy="Close it if you can do without; games and video are the usual ones. Training goes "
        "on.",
        severity="info",
    )


def _slower(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    return Text(
        title=f"Steps take {times(turn.case)} as long since step {count(turn.step)}.",
        cause="Nothing that was measured explains it. Often another program uses the card or the "
        "processor.",
        remedy="Look at what else runs on this computer. Training goes on.",
        severity="info",
        why=busy_seen(turn.case),
    )


def _slow_creep(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    return Text(
        title=f"Steps take longer little by little: {times(turn.case)} as long as at step "
        f"{count(turn.step)}.",
        cause="Nothing changed at once, so it is something that adds up: memory that is not given "
        "back, a disk that fills, or a room that grows warm.",
        remedy="If it goes on, stop and resume: a new worker begins fresh from the last save, and "
        "nothing is lost.",
        why=busy_seen(turn.case),
    )


def _ram_creep(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    return _leak(turn, "The training's memory (RAM)", machine.ram_bytes)


def _card_creep(turn: Turn, machine: Machine, spec: dict[str, Any]) -> Text:
    return _leak(turn, "What the training holds of the card", None)


def _leak(turn: Turn, whose: str, limit_bytes: int | None) -> Text:
    growth = turn.growth
    assert growth is not None
    hours = growth.seconds / 3600
    left = (limit_bytes - growth.used_bytes) / growth.bytes_an_hour if limit_bytes else None
    full = f" At this rate the computer's {gib(limit_bytes)} are full in {span(left)}." if (
        limit_bytes and left and left > 0) else ""  # fmt: skip
    return Text(
        title=f"{whose} grows by {gib(growth.bytes_an_hour)} an hour.",
        cause=f"It grew by {gib(growth.grown_bytes)} in {span(hours)} without a pause, which an "
        f"ordinary run does not: something is not given back.{full}",
        remedy="Nothing needs to be done while there is room. Stop and resume gives it all back: a "
        "new worker goes on from the save.",
    )


_WORDS = {
    "spill": _spill,
    "throttled": _throttled,
    "starved": _starved,
    "card_shared": _card_shared,
    "slower": _slower,
    "slow_creep": _slow_creep,
    "ram_creep": _ram_creep,
    "card_creep": _card_creep,
}

_ENDS = {
    "spill": "The card's memory is back on the card",
    "throttled": "The card has its clock again",
    "starved": "The card no longer waits for data",
    "card_shared": "The other program lets the card go",
    "slower": "Steps are as quick as before",
    "slow_creep": "Steps are as quick as at the beginning",
    "ram_creep": "The training's memory (RAM) was given back",
    "card_creep": "The card's memory was given back",
}


def _end(turn: Turn, begun: Turn) -> Text:
    lasted = max(turn.at - begun.at, 0.0)
    cost = f", of which {span(turn.lost_seconds / 3600)} were lost" if turn.lost_seconds else ""
    return Text(
        title=f"{_ENDS[turn.code]} since step {count(turn.step)}.",
        cause=f"It lasted {span(lasted / 3600)}{cost}.",
        remedy="",
        severity="info",
    )
