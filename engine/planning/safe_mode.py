"""Safe mode: what is known to hang, fail or crawl on some machines is left out there. Pure.

Every line stands for one thing that is left out, with its reason and its cost. ``auto`` takes the
lines that the machine needs, ``on`` takes all, ``off`` only what the card cannot do at all. The
worker applies them (:mod:`engine.worker.safely`), the plan and the doctor show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from engine.planning.hardware import SMALL_CARD_BYTES, Machine, PlatformKind, margin_bytes
from engine.planning.platforms import is_windows_drive
from engine.planning.ring import RING_BYTES

Switch = Literal["auto", "on", "off"]
Group = Literal["WSL", "Windows", "Small card with a screen", "Older card"]
Action = Literal[
    "offload",
    "loader_pin",
    "loader_workers",
    "no_fork",
    "tokenizers",
    "expandable_segments",
    "paged_optimizers",
    "memory_cap",
    "store",
    "fp16",
    "flash_attention",
]
"""What a line leaves out."""
OffloadWay = Literal["pinned", "ring", "blocking"]
"""How activations travel to RAM: from as much pinned memory as they take, through a small ring of
it, or from plain memory with copies that block."""

_BF16 = (8, 0)
_WITHOUT_CARD: tuple[Action, ...] = ("loader_workers", "no_fork", "tokenizers", "store")


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What safe mode depends on. Without a card only what has nothing to do with one matters."""

    platform: PlatformKind
    compute_capability: tuple[int, int] | None = None
    """None without a card."""
    card_bytes: int | None = None
    drives_display: bool = False
    pinned_budget_bytes: int | None = None
    """None where nothing limits it."""
    store_filesystem: str | None = None

    @property
    def has_card(self) -> bool:
        """Whether there is a card to compute on."""
        return self.compute_capability is not None or self.card_bytes is not None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is left out."""

    action: Action
    group: Group
    title: str
    reason: str
    cost: str = ""


class SafeMode(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that a run takes."""

    switch: Switch
    lines: list[Line]
    offload: OffloadWay
    """The way of offloaded activations."""
    ring_bytes: int = 0
    """Size of the pinned ring; 0 without one."""
    margin_bytes: int = 0
    """What the cap leaves free of the card; 0 without a cap."""

    def has(self, action: Action) -> bool:
        """Whether this is left out."""
        return any(line.action == action for line in self.lines)


NOTHING_LEFT_OUT = SafeMode(switch="off", lines=[], offload="pinned")


def situation_of(machine: Machine, store_filesystem: str | None = None) -> Situation:
    """What safe mode depends on, of a machine that a run is planned for."""
    card = machine.profile
    return Situation(
        platform=machine.platform,
        compute_capability=card.compute_capability,
        card_bytes=card.memory_bytes,
        drives_display=card.has_display,
        pinned_budget_bytes=machine.pinned_budget_bytes,
        store_filesystem=store_filesystem,
    )


def choose(switch: Switch, situation: Situation) -> SafeMode:
    """The safe mode of a run."""
    lines = list(_lines(situation, switch))
    return SafeMode(
        switch=switch,
        lines=lines,
        offload=_way(lines, situation),
        ring_bytes=ring_bytes(situation.pinned_budget_bytes) if _ringed(lines, situation) else 0,
        margin_bytes=_margin(lines, situation),
    )


def ring_bytes(budget: int | None) -> int:
    """The largest ring within the budget; 0 if none fits."""
    return next((size for size in RING_BYTES if budget is None or size <= budget), 0)


def _ringed(lines: list[Line], situation: Situation) -> bool:
    return _way(lines, situation) == "ring"


def _way(lines: list[Line], situation: Situation) -> OffloadWay:
    if not any(line.action == "offload" for line in lines):
        return "pinned"
    # Asked for by hand where nothing limits pinning: then pinning itself is what is distrusted.
    if situation.pinned_budget_bytes is None:
        return "blocking"
    return "ring" if ring_bytes(situation.pinned_budget_bytes) else "blocking"


def _margin(lines: list[Line], situation: Situation) -> int:
    if situation.card_bytes is None or not any(line.action == "memory_cap" for line in lines):
        return 0
    by_hand = situation.platform == "linux" and not _is_small(situation)
    kind: PlatformKind = "wsl" if by_hand else situation.platform
    return margin_bytes(situation.card_bytes, kind, has_screen=situation.drives_display)


# ---------------------------------------------------------------- the lines


def _lines(situation: Situation, switch: Switch) -> Iterator[Line]:
    everything, auto = switch == "on", switch == "auto"
    needs: tuple[tuple[bool, Callable[[Situation], Iterator[Line]]], ...] = (
        (everything or (auto and situation.platform == "wsl"), _wsl),
        (auto and situation.platform == "windows", _windows),
        (switch != "off" and _is_small(situation), _small_card),
        # Not a matter of choice: the card cannot.
        (_is_old(situation), _old_card),
    )
    seen: set[Action] = set()
    for needed, make in needs:
        for line in make(situation) if needed else ():
            if line.action not in seen and (situation.has_card or line.action in _WITHOUT_CARD):
                seen.add(line.action)
                yield line


def _is_small(situation: Situation) -> bool:
    size = situation.card_bytes
    return size is not None and size <= SMALL_CARD_BYTES and situation.drives_display


def _is_old(situation: Situation) -> bool:
    return situation.compute_capability is not None and situation.compute_capability < _BF16


def _wsl(situation: Situation) -> Iterator[Line]:
    yield _offload("WSL", situation)
    yield Line(
        action="loader_pin", group="WSL", title="Samples are not pinned.",
        reason="WSL has little pinned memory, and a refusal ends the run with a bare "
        "`CUDA error: out of memory`.",
        cost="Nothing is lost by it: a batch of token ids is a few kilobytes.",
    )  # fmt: skip
    yield _workers("WSL")
    yield Line(
        action="no_fork", group="WSL", title="No process is forked after tokenising.",
        reason="Threads of the tokenizers do not live on in a fork, which then waits for ever.",
    )  # fmt: skip
    yield Line(
        action="tokenizers", group="WSL", title="TOKENIZERS_PARALLELISM is false.",
        reason="The tokenizers' own threads are what hangs in a fork.",
        cost="Tokenising takes longer, once at the start.",
    )  # fmt: skip
    yield _segments("WSL", "WSL fails inside them with an internal assertion.")
    yield _paged("WSL", "Managed memory, which they use, is not fully supported in WSL.")
    yield _cap(
        "WSL",
        "Windows moves a full card's memory to RAM without a word, and a step then \
takes 3 to 50 times as long. WSL cannot switch that off.",
    )
    if is_windows_drive(situation.store_filesystem, is_wsl=situation.platform == "wsl"):
        yield Line(
            action="store", group="WSL", title="Runs should be kept on Linux' own disk.",
            reason="They are on a Windows drive now: saving is slow, and a cut there can lose it.",
            cost="Saves take 5 to 20 times as long until FETTLE_HOME is moved.",
        )  # fmt: skip


def _windows(situation: Situation) -> Iterator[Line]:
    yield _offload("Windows", situation)
    yield _workers("Windows")
    yield _segments("Windows", "torch has none on Windows.")
    yield _paged(
        "Windows",
        "Windows neither prefetches managed memory nor lends more than the \
card has.",
    )
    yield _cap(
        "Windows",
        "Windows may move a full card's memory to RAM without a word, and a step \
then takes 3 to 50 times as long.",
    )


def _small_card(situation: Situation) -> Iterator[Line]:
    yield _cap(
        "Small card with a screen",
        "The desktop needs its part of this small card; without \
it the screen freezes, or the driver ends the run.",
    )


def _old_card(situation: Situation) -> Iterator[Line]:
    number = ".".join(map(str, situation.compute_capability or ()))
    yield Line(
        action="fp16", group="Older card", title="fp16 in place of bf16.",
        reason=f"bf16 is in hardware from compute capability 8.0 on; this card has {number}.",
        cost="Losses are scaled so that small gradients survive; a step may be left out.",
    )  # fmt: skip
    yield Line(
        action="flash_attention", group="Older card", title="No flash attention.",
        reason=f"It needs compute capability 8.0; this card has {number}.",
        cost="Attention is slower on long samples.",
    )  # fmt: skip


def _offload(group: Group, situation: Situation) -> Line:
    budget = situation.pinned_budget_bytes
    ring = ring_bytes(budget) if budget is not None else 0
    title = f"Offloaded activations go through a ring of {ring >> 20} MiB of pinned memory."
    if not ring:
        title = "Offloaded activations are not pinned; their copies block."
    limit = f"This machine lets a process pin {budget / (1 << 20):.0f} MiB" if budget is not None \
        else "How much a process may pin is not limited here, but not trusted either"  # fmt: skip
    return Line(
        action="offload", group=group, title=title,
        reason=f"{limit}; asking for more than there is ends the run.",
        cost="The processor copies once more." if ring else "Each copy stops the card: up to half "
        "as slow again.",
    )  # fmt: skip


def _workers(group: Group) -> Line:
    return Line(
        action="loader_workers", group=group, title="No processes beside the worker load data.",
        reason="Each imports everything again and can hang; the samples lie in memory anyway.",
    )  # fmt: skip


def _segments(group: Group, reason: str) -> Line:
    return Line(
        action="expandable_segments", group=group, title="No expandable segments.", reason=reason,
        cost="The allocator may waste a little more of the card.",
    )  # fmt: skip


def _paged(group: Group, reason: str) -> Line:
    return Line(
        action="paged_optimizers", group=group, title="No paged optimizer.", reason=reason,
        cost="The 8-bit optimizer's memory stays on the card; the result is the same.",
    )  # fmt: skip


def _cap(group: Group, reason: str) -> Line:
    return Line(
        action="memory_cap", group=group, title="The run may not fill the card.", reason=reason,
        cost="A little of the card stays free; a run that needs it ends with an error at once.",
    )  # fmt: skip
