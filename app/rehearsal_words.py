"""A rehearsal in words: what goes on, and what was measured beside what was planned. Pure."""

from __future__ import annotations

import msgspec

from app.plan_words import gib
from app.words import NONE, count, seconds, size, span
from engine.contract.messages import PoolPeak, Rehearsed

POOLS = {
    "vram": "Whole card",
    "vram_reserved": "Held by torch",
    "vram_allocated": "Used by torch",
    "tensors": "Live tensors",
    "ram": "RAM of the worker",
    "pinned": "Pinned RAM",
    "disk": "A checkpoint on disk",
}
MOMENTS = {
    "load": ", while loading",
    "train": ", while training",
    "evaluate": ", while evaluating",
    "save": ", while saving",
    "resume": ", while resuming",
}
TONES = {"fits": "good", "would_die": "danger", "stopped": "info"}
_OFF_SHARE = 0.05
_LEAST_OFF_BYTES = 16 << 20


class PoolLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table."""

    name: str
    planned: str
    measured: str
    limit: str
    difference: str
    tone: str


def pool_lines(found: Rehearsed) -> list[PoolLine]:
    """What was measured of each pool."""
    return [_line(peak) for peak in found.pools]


def _line(peak: PoolPeak) -> PoolLine:
    when = "" if peak.pool == "disk" else MOMENTS.get(peak.moment, "")
    is_over = peak.limit_bytes is not None and peak.measured_bytes > peak.limit_bytes
    difference, is_off = _difference(peak)
    return PoolLine(
        name=POOLS.get(peak.pool, peak.pool) + when,
        planned=NONE if peak.planned_bytes is None else gib(peak.planned_bytes),
        measured=gib(peak.measured_bytes),
        limit=NONE if peak.limit_bytes is None else gib(peak.limit_bytes),
        difference=difference,
        tone="danger" if is_over else "warning" if is_off else "",
    )


def _difference(peak: PoolPeak) -> tuple[str, bool]:
    if not peak.planned_bytes:
        return "", False
    share = peak.measured_bytes / peak.planned_bytes - 1
    return f"{share:+.1%}".replace("-", "\N{MINUS SIGN}").replace("%", "\u202f%"), (
        share > _OFF_SHARE and peak.measured_bytes - peak.planned_bytes > _LEAST_OFF_BYTES
    )


def figures(found: Rehearsed) -> str:
    """Time and disk: ``2.1 s a step · 1 200 steps · 42 m in all · 84 MiB a checkpoint``."""
    parts = []
    if found.step_seconds is not None:
        parts.append(f"{seconds(found.step_seconds)} per step")
    if found.total_steps:
        parts.append(f"{count(found.total_steps)} steps")
    if found.total_seconds is not None:
        parts.append(f"about {span(found.total_seconds)} in all")
    if found.checkpoint_bytes is not None:
        parts.append(f"{size(found.checkpoint_bytes)} per checkpoint")
    if found.heaviest:
        parts.append(f"heaviest batch: {found.heaviest}")
    return " · ".join(parts)
