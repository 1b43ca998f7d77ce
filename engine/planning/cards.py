"""Which card a number means, where ``CUDA_VISIBLE_DEVICES`` hides some of them. Pure.

``hardware.gpu`` counts as nvidia-smi does; where somebody has hidden cards, it counts those that
are left. The worker, telemetry and the plan must all mean the same card.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class HasUuid(Protocol):
    """A card that tells its UUID."""

    @property
    def index(self) -> int:
        """As nvidia-smi counts."""

    @property
    def uuid(self) -> str | None:
        """Such as ``GPU-3f1e…``."""


def visible(setting: str | None) -> list[str] | None:
    """What ``CUDA_VISIBLE_DEVICES`` lets through; None if it is not set, and all are seen. As in
    CUDA, the first entry that is nothing hides what comes after it."""
    if setting is None:
        return None
    left: list[str] = []
    for entry in setting.split(","):
        name = entry.strip()
        if name in ("", "-1"):
            break
        left.append(name)
    return left


def chosen(number: int, setting: str | None) -> str | None:
    """The value of ``CUDA_VISIBLE_DEVICES`` that leaves only card ``number`` of those that are
    seen; None if there are fewer."""
    left = visible(setting)
    if left is None:
        return str(number)
    return left[number] if number < len(left) else None


def card_index(number: int, setting: str | None, cards: Sequence[HasUuid]) -> int | None:
    """The place of that card in NVML's count; None if it is hidden, or not among ``cards``."""
    name = chosen(number, setting)
    if name is None:
        return None
    if name.isdecimal():
        return int(name)
    # Beginnings of a UUID are enough; a part of a card (MIG) counts as its card.
    whole = name.removeprefix("MIG-").partition("/")[0]
    return next((c.index for c in cards if c.uuid and c.uuid.startswith(whole)), None)
