"""What a plan foretells of each pool of memory that a rehearsal measures. Pure."""

from __future__ import annotations

from engine.contract.messages import Pool
from engine.planning.plan import Plan

_BESIDE_TENSORS = ("context", "reserve")


def planned_pools(plan: Plan) -> dict[Pool, int]:
    """Bytes by pool; pools of which a plan says nothing are left out."""
    train = plan.budgets[0]
    items = {item.part: item.size_bytes for item in train.items}
    held = train.total_bytes - sum(items.get(part, 0) for part in _BESIDE_TENSORS)
    used = held - items.get("rounding", 0)
    found: dict[Pool, int] = {"disk": plan.checkpoint_bytes}
    if plan.card_bytes is None:
        return found | {"tensors": used}
    if plan.pinned_bytes:
        found["pinned"] = plan.pinned_bytes
    return found | {"vram_reserved": held, "vram_allocated": used}
