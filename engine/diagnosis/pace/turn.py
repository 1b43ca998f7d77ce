"""A turn of the pace: something begins to slow the run down, or is over."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.diagnosis.pace.causes import Case, Cause
from engine.diagnosis.pace.creep import Growth

Code = Literal[
    "spill",
    "throttled",
    "starved",
    "card_shared",
    "slower",
    "slow_creep",
    "ram_creep",
    "card_creep",
]
CODES: tuple[Code, ...] = Code.__args__  # type: ignore[attr-defined]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What begins or ends, and what was measured of it."""

    code: Code
    is_over: bool = False
    step: int
    """The first step of it, or the one with which it is over."""
    at: float
    """When that step ended, UNIX time."""
    case: Case | None = None
    cause: Cause | None = None
    growth: Growth | None = None
    wait_share: float = 0.0
    """Of a step's time."""
    lost_seconds: float = 0.0
