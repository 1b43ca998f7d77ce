"""What was alive when most was, from torch's own record of allocations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

_FRAMES = 7
_SMALLEST = 1 << 20
_OURS = ("engine", "transformers", "peft", "trl", "bitsandbytes", "torch")


def at_peak(events: Iterable[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """Bytes of one, how many, and where they were made, largest sum first; what is below 1 MiB is
    one line."""
    events = list(events)
    alive: dict[int, dict[str, Any]] = {}
    for event in events[: _place_of_peak(events) + 1]:
        if event["action"] == "alloc":
            alive[event["addr"]] = event
        elif event["action"] == "free_completed":
            alive.pop(event["addr"], None)
    kept = alive.values()
    groups = Counter((event["size"], _where(event)) for event in kept if event["size"] >= _SMALLEST)
    small = sum(event["size"] for event in kept if event["size"] < _SMALLEST)
    rows = [(size, count, where) for (size, where), count in groups.items()]
    return [*sorted(rows, key=lambda row: -row[0] * row[1]), (small, 1, "smaller ones")]


def _place_of_peak(events: list[dict[str, Any]]) -> int:
    sizes: dict[int, int] = {}
    total, most, place = 0, 0, -1
    for number, event in enumerate(events):
        if event["action"] == "alloc":
            sizes[event["addr"]] = event["size"]
            total += event["size"]
        elif event["action"] == "free_completed":
            total -= sizes.pop(event["addr"], 0)
        if total > most:
            most, place = total, number
    return place


def _where(event: dict[str, Any]) -> str:
    frames = [_frame(frame) for frame in event.get("frames", [])]
    return " < ".join([frame for frame in frames if frame][:_FRAMES])


def _frame(frame: dict[str, Any]) -> str:
    parts = frame["filename"].replace("\\", "/").split("/")
    if not set(parts) & set(_OURS) or "nn/modules/module.py" in frame["filename"]:
        return ""
    return f"{parts[-1].removesuffix('.py')}:{frame['line']}:{frame['name']}"
