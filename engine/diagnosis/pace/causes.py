"""Why steps take longer than before: what differs between before and after says it. Pure.

The surest sign comes first. What no measurement explains is said to be so.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.diagnosis.pace.readings import Level, Span

Label = Literal["spill", "throttled", "starved", "card_shared", "slower"]
"""``slower`` is without a known cause."""
Platform = Literal["never", "possible", "always"]
"""Whether a full card's memory is moved to RAM there; see :class:`engine.planning.facts`."""

MIB = 1 << 20
SPILLED_BYTES = 192 * MIB
"""Less than this moves for other reasons: pinned buffers, caches of the driver."""
_FULL = 0.97
_HELD_BYTES = 300 * MIB
"""More than this was taken by other programs."""
_CLOCK_FELL = 0.94
_HOT = 80.0
_FORCED = ("heat", "power_supply", "hardware")
"""Reasons that a card at work does not have ordinarily."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A slow-down: what was measured before and after it began."""

    before: Level
    after: Level
    span_before: Span
    span_after: Span
    factor: float
    """Times as long as before."""
    platform: Platform = "never"


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What a slow-down comes from."""

    label: Label
    spilled_bytes: int = 0
    """As far as it is known."""
    reason: str = ""
    """Of a throttled card: ``heat``, ``power``, ``power_supply``, ``hardware``; of a spill
    ``others`` if other programs took the card's memory."""

    @property
    def is_certain(self) -> bool:
        """Whether something that was measured explains it."""
        return self.label not in ("slower", "card_shared")


def explain(case: Case) -> Cause:
    """The cause of a slow-down."""
    return (
        _waits(case)
        or _measured_spill(case)
        or _throttled(case)
        or _likely_spill(case)
        or _seems_to_wait(case)
        or _shared(case)
        or Cause(label="slower")
    )


def _waits(case: Case) -> Cause | None:
    """Half of what a step takes longer is the wait for its data."""
    before, after = case.span_before, case.span_after
    if after.wait_seconds is None:
        return None
    more = after.wait_seconds - (before.wait_seconds or 0.0)
    return Cause(label="starved") if more > 0.5 * _longer(case) else None


def _longer(case: Case) -> float:
    """Seconds by which a step is longer than before."""
    return case.span_after.seconds * (1 - 1 / max(case.factor, 1.01))


def spilled(before: Level, after: Level, span_before: Span, span_after: Span) -> int:
    """Bytes in RAM that were on the card, by what Windows counts, or by what torch holds beyond
    what is used of the card."""
    found = [_grown(before.shared_bytes, after.shared_bytes)]
    held = _grown(span_before.reserved_bytes, span_after.reserved_bytes)
    if before.used_bytes is not None and after.used_bytes is not None:
        found.append(held - max(after.used_bytes - before.used_bytes, 0.0) if held else 0.0)
    if span_after.reserved_bytes is not None and after.used_bytes is not None:
        found.append(span_after.reserved_bytes - after.used_bytes)
    return max(round(max(found)), 0)


def _grown(before: float | None, after: float | None) -> float:
    return after - before if before is not None and after is not None else 0.0


def _measured_spill(case: Case) -> Cause | None:
    if case.platform == "never":
        return None
    size = spilled(case.before, case.after, case.span_before, case.span_after)
    if size < SPILLED_BYTES or not _is_full(case.after, 0.9):
        return None
    return Cause(label="spill", spilled_bytes=size, reason=_taker(case))


def _is_full(level: Level, share: float) -> bool:
    used, whole = level.used_bytes, level.total_bytes
    return used is None or not whole or used >= share * whole


def _taker(case: Case) -> str:
    others = _grown(case.before.others_bytes, case.after.others_bytes)
    return "others" if others > _HELD_BYTES else ""


def _throttled(case: Case) -> Cause | None:
    """The clock fell while the card had work, and by enough to explain it."""
    reason = _reason(case)
    before, after = case.before.clock_mhz, case.after.clock_mhz
    if before and after:
        ratio = after / before
        if ratio > _CLOCK_FELL or ratio > 1 / (1 + 0.4 * (case.factor - 1)):
            return None
        return Cause(label="throttled", reason=reason) if reason or _works(case) else None
    if reason in _FORCED and case.after.throttle:
        return Cause(label="throttled", reason=reason)
    power_fell = _ratio(case.before.power_watts, case.after.power_watts) < 0.88
    hot = (case.after.temperature or 0.0) >= _HOT
    return Cause(label="throttled", reason="heat") if power_fell and hot and _works(case) else None


def _ratio(before: float | None, after: float | None) -> float:
    return after / before if before and after is not None else 1.0


def _works(case: Case) -> bool:
    """The card is as busy as before, as far as anybody knows."""
    return _ratio(case.before.busy_percent, case.after.busy_percent) > 0.8


def _reason(case: Case) -> str:
    """What throttles now and did not before."""
    for reason in (*_FORCED, "power"):
        now, then = (level.throttle.get(reason, 0.0) for level in (case.after, case.before))
        if now > 0.5 and now - then > 0.3:
            return reason
    limit = _ratio(case.before.power_limit_watts, case.after.power_limit_watts)
    return "power" if limit < 0.9 else "heat" if (case.after.temperature or 0.0) >= _HOT else ""


def _likely_spill(case: Case) -> Cause | None:
    """The card is full to the brim and much slower, and it filled up just then, or mostly waits."""
    before, after = case.before, case.after
    if case.platform == "never" or not after.total_bytes or case.factor < 1.5:
        return None
    filled = _grown(before.used_bytes, after.used_bytes) > SPILLED_BYTES
    idles = after.busy_percent is None or _ratio(before.busy_percent, after.busy_percent) < 0.7
    if not _is_full(after, _FULL) or not (filled or idles or case.factor > 2.5):
        return None
    size = spilled(case.before, case.after, case.span_before, case.span_after)
    return Cause(label="spill", spilled_bytes=size, reason=_taker(case))


def _seems_to_wait(case: Case) -> Cause | None:
    """Nobody measured the wait; but the card idles, and the worker's processes compute."""
    if case.span_after.wait_seconds is not None or case.after.busy_percent is None:
        return None
    idles = _ratio(case.before.busy_percent, case.after.busy_percent) < 0.75
    computes = (case.after.cpu_percent or 0.0) >= 60
    return Cause(label="starved") if idles and computes else None


def _shared(case: Case) -> Cause | None:
    others = _grown(case.before.others_bytes, case.after.others_bytes)
    return Cause(label="card_shared") if others > _HELD_BYTES else None
