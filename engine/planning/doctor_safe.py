"""The doctor's view of the safe mode: each line that runs take on this machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from engine.planning import pinned
from engine.planning.cards import card_index
from engine.planning.checkup import Check
from engine.planning.facts import MachineFacts
from engine.planning.hardware import platform_of, profile_of
from engine.planning.safe_mode import Situation, choose


def checks(facts: MachineFacts) -> Iterator[Check]:
    """One for each line of ``hardware.safe_mode = "auto"``; none where nothing is left out."""
    for line in choose("auto", situation(facts)).lines:
        yield Check(
            id=f"safe-{line.action}", group="Safe mode", name=line.group, state="note",
            value=line.title, why=" ".join(part for part in (line.reason, line.cost) if part),
        )  # fmt: skip


def situation(facts: MachineFacts) -> Situation:
    """What safe mode depends on, for the card that a run takes unless it says otherwise."""
    platform = platform_of(facts)
    index = card_index(0, facts.visible_devices, facts.gpus)
    card = next((card for card in facts.gpus if card.index == index and not card.problem), None)
    if card is None:
        return Situation(platform=platform, store_filesystem=facts.store_filesystem)
    known = profile_of(card)
    return Situation(
        platform=platform,
        compute_capability=card.compute_capability or known.compute_capability,
        # 0 stands for a card that tells nothing: there is one all the same.
        card_bytes=card.vram_total_bytes or known.memory_bytes or 0,
        drives_display=bool(card.drives_display),
        pinned_budget_bytes=pinned.budget_bytes(facts.pinned, platform, facts.ram_total_bytes),
        store_filesystem=facts.store_filesystem,
    )
