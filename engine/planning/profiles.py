"""Hardware profiles: the list of cards to plan for, and the profile of a card that is here.

Data is in ``resources/hardware/*.toml`` (see the README there) and in the folder ``hardware`` of
the home, where users keep their own. Pure apart from reading those files.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from engine.paths import RESOURCES, home
from engine.planning.facts import GpuFacts

FOLDER = RESOURCES / "hardware"
AUTO = "auto"
"""Instead of a profile's id: the card that is there."""
CPU = "cpu"

_MIB, _GIGA, _TERA = 1 << 20, 1e9, 1e12
_SAME_MEMORY = 0.06
"""A card's memory may differ from its profile's by this share: error correction, the driver."""
_BOOST_HELD = 0.8
"""Share of the highest clock that a card holds under load."""
CUBLAS_THREADS = 2
"""Each thread that computes has a scratch of its own: the main one, and autograd's."""
CUBLAS_KIB, CUBLAS_BUFFERS = 4096, 8
"""Of one scratch. The worker asks for it, on every card, since with it sums are always the same."""
CUBLAS_CONFIG = f":{CUBLAS_KIB}:{CUBLAS_BUFFERS}"
"""The same as torch and cuBLAS read it, in ``CUBLAS_WORKSPACE_CONFIG``."""
WORKSPACE_BYTES = CUBLAS_THREADS * CUBLAS_BUFFERS * (CUBLAS_KIB << 10)
"""64 MiB. cuBLASLt uses the same memory."""


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
    cores: int = 0
    """Of a processor, that its rates are for; 0 for a card, and where nobody says."""
    workspace_bytes: int = 0
    """Scratch of cuBLAS, which torch's allocator holds: :data:`WORKSPACE_BYTES` on a card."""
    driver_names: tuple[str, ...] = ()
    """How the driver calls it, without ``NVIDIA``; empty: it is never detected."""
    has_display: bool = True
    """Whether a desktop may run on it."""


class _Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[card]]`` of a file."""

    id: str
    name: str
    bandwidth_gb_per_second: float
    half_tflops: float
    single_tflops: float
    memory_mib: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver_names: tuple[str, ...] = ()
    context_mib: int = 350
    card_count: int = 1
    cores: int = 0
    has_display: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    card: list[_Card]


class UnknownProfile(ValueError):
    """There is no such profile; the text is for people and names the nearest."""

    def __init__(self, id: str) -> None:
        known = [profile.id for profile in profiles()]
        text = "-".join(id.lower().split())
        begun = [other for other in known if text and other.startswith(text)]
        close = begun or difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        self.nearest = close[0] if close else None
        self.remedy = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
        super().__init__(f"There is no hardware profile {id!r}. {self.remedy}")


# ---------------------------------------------------------------- the list


def profiles() -> list[Profile]:
    """All profiles: the bundled ones, then the user's own, which replace those of the same id. A
    file of the user's that cannot be read is left out; :func:`problems` says why."""
    found = {profile.id: profile for profile in _bundled()}
    for path in _own_files():
        try:
            found |= {profile.id: profile for profile in read(path)}
        except (OSError, ValueError):
            continue
    return list(found.values())


def problems() -> list[str]:
    """What is wrong with the user's own files, a sentence each."""
    found = []
    for path in _own_files():
        try:
            read(path)
        except (OSError, ValueError) as error:
            found.append(f"{path.name} was left out: {' '.join(str(error).split())}.")
    return found


def find(id: str) -> Profile | None:
    """The profile of this id, in any case; None if there is none."""
    return next((p for p in profiles() if p.id == id.strip().lower()), None)


def own_folder() -> Path:
    """Where users put profiles of their own; it may not exist."""
    return home() / "hardware"


def _own_files() -> list[Path]:
    try:
        return sorted(own_folder().glob("*.toml"))
    except OSError:
        return []


@cache
def _bundled() -> tuple[Profile, ...]:
    found = [profile for path in FOLDER.glob("*.toml") for profile in read(path)]
    return tuple(sorted(found, key=_order))


def _order(profile: Profile) -> tuple[int, int, float]:
    """Smallest card first, machines of several after single cards, the CPU last."""
    return (profile.memory_bytes is None, profile.card_count, profile.memory_bytes or 0)


def read(path: Path) -> list[Profile]:
    """The profiles of one file. Raises OSError, or ValueError (of which msgspec's and TOML's errors
    are kinds) with what is wrong."""
    cards = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).card
    for card in cards:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", card.id) or card.id == AUTO:
            raise ValueError(f"the id {card.id!r} must be of small letters, digits and hyphens")
        if min(card.bandwidth_gb_per_second, card.half_tflops, card.single_tflops) <= 0:
            raise ValueError(f"the rates of {card.id} must be above 0")
    return [_profile(card) for card in cards]


def _profile(card: _Card) -> Profile:
    capability = card.compute_capability
    is_card = card.memory_mib is not None
    return Profile(
        id=card.id,
        name=card.name,
        memory_bytes=card.memory_mib * _MIB if card.memory_mib is not None else None,
        compute_capability=capability,
        has_bf16=capability is not None and capability >= (8, 0),
        bandwidth_bytes_per_second=card.bandwidth_gb_per_second * _GIGA,
        half_flops=card.half_tflops * _TERA,
        single_flops=card.single_tflops * _TERA,
        card_count=card.card_count,
        context_bytes=card.context_mib * _MIB if is_card else 0,
        workspace_bytes=WORKSPACE_BYTES if is_card else 0,
        cores=0 if is_card else card.cores,
        driver_names=card.driver_names,
        has_display=card.has_display,
    )


# ---------------------------------------------------------------- what is here


def profile_of(card: GpuFacts) -> Profile:
    """The profile of a detected card: from the list if name and memory agree, else from what the
    driver tells."""
    name = plain_name(card.name)
    for profile in profiles():
        known = [other.lower() for other in profile.driver_names]
        if name.lower() in known and _same_memory(profile, card.vram_total_bytes):
            return profile
    return _derived(card)


def plain_name(name: str | None) -> str:
    """A card's name without its maker's."""
    return re.sub(r"^(NVIDIA|nvidia)\s+", "", (name or "").strip())


def with_cores(profile: Profile, cores: int | None) -> Profile:
    """A processor's profile with the rates of so many cores; all share the memory's bandwidth."""
    if not cores or not profile.cores:
        return profile
    times = cores / profile.cores
    return msgspec.structs.replace(
        profile,
        cores=cores,
        half_flops=times * profile.half_flops,
        single_flops=times * profile.single_flops,
    )


def _same_memory(profile: Profile, found: int | None) -> bool:
    if found is None or profile.memory_bytes is None:
        return True
    return abs(found - profile.memory_bytes) <= _SAME_MEMORY * profile.memory_bytes


def _derived(card: GpuFacts) -> Profile:
    capability = card.compute_capability
    single = _single_flops(card)
    return Profile(
        id=AUTO,
        name=plain_name(card.name).removeprefix("GeForce ") or "NVIDIA card",
        memory_bytes=card.vram_total_bytes,
        compute_capability=capability,
        has_bf16=capability is not None and capability >= (8, 0),
        bandwidth_bytes_per_second=_bandwidth(card),
        half_flops=single * _half_over_single(capability, card.name or ""),
        single_flops=single,
        context_bytes=(520 if capability and capability >= (9, 0) else 400) * _MIB,
        workspace_bytes=WORKSPACE_BYTES,
    )


def _bandwidth(card: GpuFacts) -> float:
    """Two transfers a clock over the whole bus, as NVML counts memory clocks."""
    if card.memory_clock_mhz and card.memory_bus_bits:
        return 2e6 * card.memory_clock_mhz * card.memory_bus_bits / 8
    return 200 * _GIGA


def _single_flops(card: GpuFacts) -> float:
    if card.cores and card.sm_clock_mhz:
        return 2e6 * card.cores * card.sm_clock_mhz * _BOOST_HELD
    return 5 * _TERA


def _half_over_single(capability: tuple[int, int] | None, name: str) -> float:
    """The least that tensor cores of this generation gain over plain fp32."""
    if capability is None or capability < (7, 0) or "GTX" in name:
        return 1.0
    return 4.0 if capability < (8, 0) else 2.0
