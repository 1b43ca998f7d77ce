"""What the engine's machine is. Everything that may be unknown is None, and says why where it can.

:func:`gather` looks and judges; :func:`judge` alone is pure, so that any machine can be described.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Literal

import msgspec

import engine
from engine import hugging_face
from engine.planning import platforms
from engine.planning.learnt import Lesson
from engine.planning.look import PACKAGES, installed, look
from engine.planning.pinned import Measured
from engine.planning.seen import NO_NVML, SILENT, CardSeen, MemorySeen, NvmlSeen, Seen
from engine.planning.support import Support, support_of

__all__ = ["PACKAGES", "GpuFacts", "MachineFacts", "gather", "installed", "is_wsl", "judge"]

GpuTrouble = Literal[
    "",
    "no_nvml",  # the package that asks the driver is missing
    "no_driver",
    "no_card",
    "blocked",  # under WSL: the driver is not let through
    "mismatch",  # the driver was updated without a restart
    "silent",
    "other",
]
Spill = Literal["never", "possible", "always"]
"""Whether Windows moves a card's memory to RAM instead of refusing it: never on Linux; on Windows
by a setting of the driver; under WSL always."""


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA card."""

    index: int
    """As nvidia-smi counts."""
    name: str | None = None
    vram_total_bytes: int | None = None
    vram_free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: str | None = None
    cuda: str | None = None
    """Newest CUDA version that the driver supports, such as ``12.8``."""
    power_limit_watts: float | None = None
    uuid: str | None = None
    cores: int | None = None
    """CUDA cores."""
    sm_clock_mhz: int | None = None
    """The highest."""
    memory_clock_mhz: int | None = None
    """The highest, as NVML counts: half of what the memory transfers a second."""
    memory_bus_bits: int | None = None
    drives_display: bool | None = None
    """Whether a screen hangs on it."""
    problem: str = ""
    """Why the card does not answer, for people."""
    support: Support | None = None
    """What the installed torch and bitsandbytes can do with it."""


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, as far as it shows itself. Sizes in bytes."""

    python: str
    engine: str
    """Version of Fettle."""
    platform: str
    """``linux``, ``win32`` or ``darwin``."""
    system: str
    """Name and version of the operating system, for people."""
    machine: str
    """Processor family, such as ``x86_64``."""
    is_wsl: bool = False
    wsl_version: int | None = None
    """1 or 2; 1 reaches no card."""
    wsl_distribution: str | None = None
    wsl_foreign_driver: str | None = None
    """A library of a Linux driver, which hides Windows' own under WSL."""
    wsl_has_driver: bool | None = None
    """Whether Windows lends WSL its driver; None where nobody looked."""
    kernel: str = ""
    container: str | None = None
    """``docker``, ``podman`` …; None outside of containers."""
    cpu: str | None = None
    """Name of the processor."""
    cpu_count: int | None = None
    """Cores that this process may use, hyper-threads counted."""
    cpu_cores: int | None = None
    """Cores of the computer, hyper-threads not counted."""
    ram_total_bytes: int | None = None
    """Of the computer, or what its container or WSL may have."""
    ram_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    """On Windows the page file."""
    swap_free_bytes: int | None = None
    store: str
    """Where runs are kept."""
    store_free_bytes: int | None = None
    store_total_bytes: int | None = None
    store_filesystem: str | None = None
    cache: str = ""
    """Where Hugging Face's libraries keep models."""
    cache_free_bytes: int | None = None
    cache_filesystem: str | None = None
    gpus: list[GpuFacts] = []
    gpu_problem: str = ""
    """Why no card was found, for people; empty if there is one."""
    gpu_trouble: GpuTrouble = ""
    """The same as a word."""
    display_vendors: list[str] = []
    """``NVIDIA``, ``AMD``, ``Intel``: makers of the display controllers on the bus, as seen without
    any driver; empty if nobody could look."""
    visible_devices: str | None = None
    """``CUDA_VISIBLE_DEVICES`` of the engine, None if it is not set."""
    pinned: Measured | None = None
    """The last measurement of pinned memory on this machine, if there was one."""
    lessons: dict[str, Lesson] = {}
    """What earlier runs where the engine is taught, by card, driver and torch; see
    :func:`engine.planning.learnt.key`."""
    spill: Spill = "never"
    sleep_minutes: float | None = None
    """When the computer sleeps by itself while it is plugged in; 0 is never, None unknown."""
    has_inhibitor: bool | None = None
    """systemd-inhibit can keep it awake."""
    on_battery: bool | None = None
    has_hub_token: bool = False
    """Whether a Hugging Face token is there; never which."""
    is_offline: bool = False
    """Hugging Face's libraries are told not to use the network."""
    packages: dict[str, str] = {}
    """Installed versions of what decides a result; what is missing is not there."""
    torch_cuda: str | None = None
    """CUDA that torch is built for, None for a build without."""


def gather(store: Path, home: Path | None = None) -> MachineFacts:
    """Look at this machine. A driver in trouble may make it take seconds; use a thread. With
    ``home`` the measurement of pinned memory and the lessons that are kept there count."""
    return judge(look(store, home))


def judge(seen: Seen) -> MachineFacts:
    """What a machine is, from what it shows. Pure."""
    wsl = platforms.wsl_version(seen)
    cache = seen.cache
    total, available = _ram(seen.memory)
    trouble = _trouble(seen.nvml)
    return MachineFacts(
        python=seen.python,
        engine=engine.__version__,
        platform=seen.platform,
        system=seen.system,
        machine=seen.machine,
        is_wsl=wsl is not None,
        wsl_version=wsl,
        wsl_distribution=platforms.distribution(seen) if wsl else None,
        wsl_foreign_driver=seen.foreign_driver if wsl else None,
        wsl_has_driver=seen.has_wsl_driver if wsl else None,
        kernel=seen.release,
        container=platforms.container(seen),
        cpu=seen.cpu,
        cpu_count=seen.cpu_count,
        cpu_cores=seen.cpu_cores,
        ram_total_bytes=total,
        ram_available_bytes=available,
        swap_total_bytes=seen.memory.swap_total_bytes,
        swap_free_bytes=seen.memory.swap_free_bytes,
        store=seen.store.path,
        store_free_bytes=seen.store.free_bytes,
        store_total_bytes=seen.store.total_bytes,
        store_filesystem=seen.store.filesystem,
        cache=cache.path if cache else "",
        cache_free_bytes=cache.free_bytes if cache else None,
        cache_filesystem=cache.filesystem if cache else None,
        gpus=[_gpu(card, seen) for card in seen.nvml.cards],
        gpu_problem=_SENTENCES.get(trouble, "").format(error=seen.nvml.error.strip(" .")),
        gpu_trouble=trouble,
        display_vendors=[platforms.VENDORS.get(v.lower(), v) for v in seen.pci_vendors],
        visible_devices=seen.environ.get("CUDA_VISIBLE_DEVICES"),
        pinned=seen.pinned,
        lessons=seen.lessons,
        spill="always" if wsl else "possible" if seen.platform == "win32" else "never",
        sleep_minutes=_sleep_minutes(seen),
        has_inhibitor=seen.sleep.has_inhibitor,
        on_battery=seen.sleep.on_battery,
        has_hub_token=seen.has_token,
        is_offline=hugging_face.is_offline("transformers", seen.environ),
        packages=seen.packages,
        torch_cuda=seen.torch_cuda,
    )


def is_wsl(release: str | None = None) -> bool:
    """Whether this Linux runs inside Windows; ``release`` is the kernel's, this one's if None."""
    release = platforms.kernel_release() if release is None else release
    seen = Seen(platform=sys.platform, release=release, has_dxg=platforms.has_dxg())
    return platforms.wsl_version(seen) is not None


# ---------------------------------------------------------------- cards

_SENTENCES: dict[GpuTrouble, str] = {
    "no_nvml": "nvidia-ml-py is not installed, so cards cannot be looked for.",
    "no_driver": "No NVIDIA driver was found.",
    "no_card": "The NVIDIA driver sees no card.",
    "blocked": "The NVIDIA driver is not let through to the card ({error}).",
    "mismatch": "The NVIDIA driver was updated while the old one still runs.",
    "silent": "The NVIDIA driver does not answer.",
    "other": "The NVIDIA driver does not answer: {error}.",
}
_TROUBLE_OF_CODE: dict[int, GpuTrouble] = {
    NO_NVML: "no_nvml", SILENT: "silent", 9: "no_driver", 12: "no_driver", 17: "blocked",
    18: "mismatch", 4: "blocked",
}  # fmt: skip


def _trouble(nvml: NvmlSeen) -> GpuTrouble:
    if nvml.error_code:
        return _TROUBLE_OF_CODE.get(nvml.error_code, "other")
    return "" if nvml.cards else "no_card"


def _gpu(card: CardSeen, seen: Seen) -> GpuFacts:
    total = card.total_bytes or None
    free = card.free_bytes
    cuda = f"{seen.nvml.cuda // 1000}.{seen.nvml.cuda % 1000 // 10}" if seen.nvml.cuda else None
    return GpuFacts(
        index=card.index,
        name=card.name or None,
        vram_total_bytes=total,
        # More free than there is, or nothing known of the whole: then it is no measurement.
        vram_free_bytes=free if total and free is not None and free <= total else None,
        compute_capability=card.compute_capability,
        driver=seen.nvml.driver,
        cuda=cuda,
        power_limit_watts=card.power_limit_watts,
        uuid=card.uuid,
        cores=card.cores,
        sm_clock_mhz=card.sm_clock_mhz,
        memory_clock_mhz=card.memory_clock_mhz,
        memory_bus_bits=card.memory_bus_bits,
        drives_display=card.drives_display,
        problem=f"It does not answer: {card.error.strip(' .')}." if card.error else "",
        support=support_of(
            card.compute_capability, seen.packages, seen.torch_cuda, cuda, seen.bitsandbytes_cuda
        ),
    )


# ---------------------------------------------------------------- the computer


def _ram(memory: MemorySeen) -> tuple[int | None, int | None]:
    """Total and available bytes, no more than the container may have."""
    total, limit = memory.total_bytes, memory.limit_bytes
    if limit is None or (total is not None and limit >= total):
        return total, memory.available_bytes
    available = memory.available_bytes
    return limit, None if available is None else min(available, limit)


def _sleep_minutes(seen: Seen) -> float | None:
    """From powercfg: the last two numbers are for mains and battery, in seconds, in any language;
    systemd tells only whether sleep is switched off."""
    if seen.sleep.is_masked:
        return 0.0
    numbers = re.findall(r"0x([0-9a-fA-F]{8})\b", seen.sleep.powercfg)
    return int(numbers[-2], 16) / 60 if len(numbers) >= 2 else None
