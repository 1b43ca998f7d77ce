"""One thing that the doctor looks at, and how numbers are written in it."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "note", "warning", "problem"]
"""``note``: good to know. ``warning``: it works, but badly or not for long. ``problem``: training
on the card is impossible, or will fail."""
Group = Literal["Card", "Memory", "Disk", "Software", "System", "Safe mode"]

GIB = 1 << 30


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    id: str
    """Stable name, unique in a list: ``card-0``, ``torch``, ``store``."""
    group: Group
    name: str
    """What is looked at, for people."""
    state: State
    value: str
    """What was seen."""
    why: str = ""
    """Why it matters."""
    remedy: str = ""
    """What to do; empty if nothing is to be done."""


def gib(size: int | None) -> str:
    """``11.0 GiB``, ``200 MiB`` below one; ``unknown`` for None."""
    if size is None:
        return "unknown"
    return f"{size / GIB:.1f} GiB" if abs(size) >= GIB else f"{size / (1 << 20):.0f} MiB"
