"""The machine that a run is planned for: this one, or its computer with another card or platform.

Pure apart from the files of profiles.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.planning import learnt, pinned
from engine.planning.cards import card_index
from engine.planning.facts import GpuFacts, MachineFacts
from engine.planning.profiles import (
    AUTO,
    CPU,
    Profile,
    UnknownProfile,
    find,
    plain_name,
    problems,
    profile_of,
    profiles,
    with_cores,
)

__all__ = ["AUTO", "CPU", "Machine", "PlatformKind", "Profile", "UnknownProfile", "find",
           "machine_of", "margin_bytes", "plain_name", "platform_of", "problems", "profile_of",
           "profiles", "spill_margin_bytes"]  # fmt: skip

PlatformKind = Literal["linux", "windows", "wsl"]

_MIB = 1 << 20
_DESKTOP_BYTES = {"linux": 400 * _MIB, "windows": 800 * _MIB, "wsl": 800 * _MIB}
"""What a desktop usually holds of a card, by platform, where nothing was measured."""
_DRIVER_BYTES = 64 * _MIB
"""What the driver holds of a card without a desktop."""
_SPILL_SHARE, _LEAST_SPILL_BYTES = 0.03, 256 * _MIB
SMALL_CARD_BYTES = 8192 * _MIB
DESKTOP_MARGIN_BYTES = 512 * _MIB
"""What a small card keeps free for the desktop that it shows, beyond what that holds already."""

_SYSTEM_RAM_BYTES = 2 << 30
"""What the system and its programs hold of the computer's memory, where nobody says."""


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
    """Of the computer, whoever uses it."""
    ram_free_bytes: int | None = None
    """What a run may use of it. None for a machine that is not this one."""
    pinned_budget_bytes: int | None = None
    """None where nothing limits it but the computer's memory."""
    learnt_offset_bytes: int = 0
    """What earlier runs on this card and driver took beyond the plan; may be below 0."""
    error_share: float = 0.05
    """How far off a plan may be, as a share; smaller once runs were measured."""
    time: learnt.TimeLesson = learnt.TimeLesson()
    """What earlier runs took beside the estimate."""
    processor: str = ""
    """Name and cores of the processor of this machine, where it is what trains."""
    packages: dict[str, str] = {}
    driver: str | None = None


# ---------------------------------------------------------------- a machine to plan for


def machine_of(
    facts: MachineFacts, profile: str = AUTO, platform: str | None = None, *, gpu: int = 0
) -> Machine:
    """The machine to plan for: the one of ``facts``, or its computer with another card or platform.

    ``gpu`` counts as ``hardware.gpu`` does. Raises :class:`UnknownProfile`, and ValueError if the
    platform is none.
    """
    kind = _platform(platform) if platform else platform_of(facts)
    if profile != AUTO:
        chosen = find(profile)
        if chosen is None:
            raise UnknownProfile(profile)
        return _chosen(facts, chosen, kind)
    index = card_index(gpu, facts.visible_devices, facts.gpus)
    card = next((card for card in facts.gpus if card.index == index), None)
    if card is None:
        cpu = find(CPU)
        assert cpu is not None
        return _machine(facts, with_cores(cpu, _cores(facts)), kind, None, is_detected=True)
    found = profile_of(card)
    return _machine(
        facts, found, kind, _available(card, found, kind), is_detected=True, driver=card.driver
    )


def platform_of(facts: MachineFacts) -> PlatformKind:
    """Which of the three the engine runs on."""
    if facts.is_wsl:
        return "wsl"
    return "windows" if facts.platform == "win32" else "linux"


def _platform(text: str) -> PlatformKind:
    for known in ("linux", "windows", "wsl"):
        if text == known:
            return known
    raise ValueError(f"There is no platform {text!r}. Known: linux, windows, wsl.")


def _chosen(facts: MachineFacts, profile: Profile, kind: PlatformKind) -> Machine:
    if profile.memory_bytes is None:
        return _machine(facts, profile, kind, None, is_detected=False)
    held = _DESKTOP_BYTES[kind] if profile.has_display else _DRIVER_BYTES
    margin = margin_bytes(profile.memory_bytes, kind, has_screen=profile.has_display)
    available = profile.memory_bytes - held - margin
    return _machine(facts, profile, kind, available, is_detected=False)


def _available(card: GpuFacts, profile: Profile, kind: PlatformKind) -> int | None:
    """What a run may use of a card that is here: what is free at this moment, or a guess."""
    total = card.vram_total_bytes or profile.memory_bytes
    if total is None:
        return None
    free = card.vram_free_bytes
    if free is None:
        free = total - (_DESKTOP_BYTES[kind] if profile.has_display else _DRIVER_BYTES)
    has_screen = profile.has_display if card.drives_display is None else card.drives_display
    return max(free - margin_bytes(total, kind, has_screen=has_screen), 0)


def spill_margin_bytes(total: int, kind: PlatformKind) -> int:
    """What is left free of a card so that Windows does not move its memory out; 0 on Linux."""
    return 0 if kind == "linux" else max(round(_SPILL_SHARE * total), _LEAST_SPILL_BYTES)


def margin_bytes(total: int, kind: PlatformKind, *, has_screen: bool) -> int:
    """What a run leaves free of a card, for Windows or for a desktop."""
    desktop = DESKTOP_MARGIN_BYTES if has_screen and total <= SMALL_CARD_BYTES else 0
    return max(spill_margin_bytes(total, kind), desktop)


def _machine(
    facts: MachineFacts, profile: Profile, kind: PlatformKind, available: int | None, *,
    is_detected: bool, driver: str | None = None,
) -> Machine:  # fmt: skip
    where = {"linux": "", "windows": ", Windows", "wsl": ", WSL"}[kind]
    measured = facts.pinned if kind == platform_of(facts) else None
    is_processor = is_detected and profile.memory_bytes is None
    processor = f"{facts.cpu or profile.name}, {profile.cores} cores" if is_processor else ""
    key = learnt.key(processor or profile.name, driver, facts.packages.get("torch"))
    lesson = facts.lessons.get(key, learnt.Lesson()) if is_detected else learnt.Lesson()
    return Machine(
        name=profile.name + where,
        profile=profile,
        platform=kind,
        is_detected=is_detected,
        available_bytes=available,
        ram_bytes=facts.ram_total_bytes,
        ram_free_bytes=_ram_free(facts) if is_detected else None,
        pinned_budget_bytes=pinned.budget_bytes(measured, kind, facts.ram_total_bytes)
        if profile.memory_bytes is not None
        else None,
        learnt_offset_bytes=lesson.offset_bytes,
        error_share=lesson.error_share,
        time=lesson.time,
        processor=processor,
        packages=facts.packages,
        driver=driver,
    )


def _ram_free(facts: MachineFacts) -> int | None:
    if facts.ram_available_bytes is not None:
        return facts.ram_available_bytes
    total = facts.ram_total_bytes
    return max(total - _SYSTEM_RAM_BYTES, 0) if total is not None else None


def _cores(facts: MachineFacts) -> int | None:
    """That torch computes with: hyper-threads of a core add nothing to its products."""
    counts = [number for number in (facts.cpu_cores, facts.cpu_count) if number]
    return min(counts, default=None)
