"""Cards and machines that a run can be planned for, whether they are here or not."""

from __future__ import annotations

from typing import Literal

import msgspec

PlatformKind = Literal["linux", "windows", "wsl"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A card as its maker describes it, or the CPU."""

    id: str
    """Such as ``rtx-3060-12``: what ``hardware.profile`` and ``--profile`` take."""
    name: str
    memory_bytes: int | None = None
    """None for the CPU, which has the computer's memory."""
    compute_capability: tuple[int, int] | None = None
    has_bf16: bool = False
    """In hardware: from compute capability 8.0 on. torch's emulation does not count."""
    bandwidth_bytes_per_second: float
    half_flops: float
    """Dense bf16 or fp16 tensor rate with fp32 accumulation, in FLOP a second."""
    single_flops: float
    card_count: int = 1
    context_bytes: int = 0
    """What CUDA itself takes on the card before the first tensor: measured or typical."""
    workspace_bytes: int = 0
    """cuBLAS and kernel scratch."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run would take place, as far as a plan needs it. Sizes in bytes, for one card."""

    name: str
    """For people: ``RTX 2080 Ti, WSL``."""
    profile: Profile
    platform: PlatformKind
    is_detected: bool
    """This very machine, not one chosen from the list."""
    available_bytes: int | None
    """Of the card for a run: less what desktop and driver hold. None for the CPU."""
    ram_bytes: int | None = None
    pinned_budget_bytes: int | None = None
    """None where nothing limits it but the computer's memory."""
    learnt_offset_bytes: int = 0
    """What earlier runs on this card and driver took beyond the plan; may be below 0."""
    error_share: float = 0.05
    """How far off a plan may be, as a share; smaller once runs were measured."""
    packages: dict[str, str] = {}
    driver: str | None = None
