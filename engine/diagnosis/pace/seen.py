"""What was seen of a slow-down, before and after, in a sentence; and the numbers of findings."""

from __future__ import annotations

from typing import Any

from engine.diagnosis.pace.causes import Case
from engine.diagnosis.pace.readings import Level
from engine.planning.figures import gib


def memory_seen(case: Case | None) -> str:
    """Of the card's memory, before and after."""
    if case is None:
        return "torch holds more memory of the card than all programs together use of it."
    before, after = case.before, case.after
    parts = [
        _pair("shared memory", before.shared_bytes, after.shared_bytes, gib),
        _of("in use of the card", after.used_bytes, after.total_bytes),
        _pair("torch holds", case.span_before.reserved_bytes, case.span_after.reserved_bytes, gib),
        _pair("card busy", before.busy_percent, after.busy_percent, _percent),
    ]
    return _sentence(parts)


def clock_seen(case: Case | None) -> str:
    """Of the card's clock, heat and power."""
    if case is None:
        return ""
    before, after = case.before, case.after
    parts = [
        _pair("clock", before.clock_mhz, after.clock_mhz, "{:.0f} MHz".format),
        _pair("temperature", before.temperature, after.temperature, "{:.0f} °C".format),
        _pair("power", before.power_watts, after.power_watts, "{:.0f} W".format),
        _reasons(after),
    ]
    return _sentence(parts)


def _reasons(level: Level) -> str:
    said = [reason.replace("_", " ") for reason, share in level.throttle.items() if share > 0.5]
    return f"the driver says: {', '.join(sorted(said))}" if said else ""


def busy_seen(case: Case | None) -> str:
    """Of who waits for whom."""
    if case is None:
        return ""
    before, after = case.before, case.after
    waits = (case.span_before.wait_seconds, case.span_after.wait_seconds)
    parts = [
        _pair("wait for data", *waits, "{:.2f} s".format),
        _pair("card busy", before.busy_percent, after.busy_percent, _percent),
        _pair("processor", before.cpu_percent, after.cpu_percent, _percent),
    ]
    return _sentence(parts)


def _pair(name: str, before: float | None, after: float | None, word: Any) -> str:
    if after is None:
        return ""
    return f"{name} {word(after)}" if before is None else f"{name} {word(before)} → {word(after)}"


def _of(name: str, part: float | None, whole: float | None) -> str:
    return f"{gib(part)} of {gib(whole)} {name}" if part and whole else ""


def _sentence(parts: list[str]) -> str:
    text = ", ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _percent(value: float) -> str:
    return f"{value:.0f} %"


# ---------------------------------------------------------------- numbers


def times(case: Case | None) -> str:
    """How many times as long steps take."""
    factor = case.factor if case else 1.0
    return f"{factor:.0f} times" if factor >= 9.5 else f"{factor:.1f} times"


def span(hours: float) -> str:
    """A span of time: ``45 s``, ``12 min``, ``3 h``."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 1.5 else f"{hours:.1f} h" if hours < 10 else (
        f"{hours:.0f} h")  # fmt: skip


def either(first: str, second: str) -> str:
    """One or two things to do, as a sentence."""
    return f"{first}, or {second}." if second else f"{first}."
