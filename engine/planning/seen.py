"""What a machine shows of itself, before anybody judges it: raw texts and numbers.

:mod:`engine.planning.look` reads it at the edge, :func:`engine.planning.facts.judge` makes facts of
it. A machine that one does not have is such a value.
"""

from __future__ import annotations

import msgspec

from engine.planning.learnt import Lesson
from engine.planning.pinned import Measured

NO_NVML = -1
"""Instead of an NVML error code: the package nvidia-ml-py is not installed."""
SILENT = -2
"""The driver did not answer in time."""


class CardSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What NVML tells of one card. None is what it does not tell."""

    index: int
    name: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    power_limit_watts: float | None = None
    uuid: str | None = None
    cores: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_bus_bits: int | None = None
    drives_display: bool | None = None
    error: str = ""
    """Why the card does not answer at all."""


class NvmlSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What NVIDIA's management library tells."""

    cards: list[CardSeen] = []
    driver: str | None = None
    cuda: int | None = None
    """Newest CUDA of the driver, as NVML counts: 12080 is 12.8."""
    error_code: int = 0
    """Of NVML, :data:`NO_NVML` or :data:`SILENT`; 0 if it could be asked."""
    error: str = ""


class DiskSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The disk of a folder, which may not exist yet."""

    path: str
    free_bytes: int | None = None
    total_bytes: int | None = None
    filesystem: str | None = None
    """As the system calls it: ``ext4``, ``9p``, ``NTFS``."""


class MemorySeen(msgspec.Struct, frozen=True, kw_only=True):
    """The computer's memory, in bytes."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_total_bytes: int | None = None
    """On Windows the page file."""
    swap_free_bytes: int | None = None
    limit_bytes: int | None = None
    """Of the container, if it has one."""


class SleepSeen(msgspec.Struct, frozen=True, kw_only=True):
    """When the computer sleeps by itself."""

    has_inhibitor: bool | None = None
    """systemd-inhibit is there; None where there is no such thing."""
    is_masked: bool | None = None
    """Sleep is switched off in systemd."""
    powercfg: str = ""
    """What Windows' powercfg says of standby, in whatever language."""
    on_battery: bool | None = None
    """None without a battery."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it shows itself."""

    python: str = "3.11.0"
    platform: str = "linux"
    """``sys.platform``."""
    release: str = ""
    """Of the kernel, or of Windows."""
    system: str = ""
    """Name and version of the system, for people."""
    machine: str = "x86_64"
    environ: dict[str, str] = {}
    """Only settings that matter, and none that is secret."""
    has_dxg: bool = False
    """/dev/dxg, through which WSL 2 reaches the card."""
    has_wsl_driver: bool | None = None
    """libcuda below /usr/lib/wsl/lib; None where nobody looked."""
    foreign_driver: str | None = None
    """An NVIDIA library of Linux' own, which under WSL hides that of Windows."""
    container_marks: list[str] = []
    """Files that container engines leave: ``/.dockerenv``, ``/run/.containerenv`` …"""
    cgroup: str = ""
    """Of process 1."""
    pci_vendors: list[str] = []
    """Vendor of each display controller on the PCI bus, such as ``0x10de`` for NVIDIA."""
    cpu: str | None = None
    cpu_count: int | None = None
    cpu_cores: int | None = None
    memory: MemorySeen = MemorySeen()
    store: DiskSeen = DiskSeen(path="")
    cache: DiskSeen | None = None
    nvml: NvmlSeen = NvmlSeen(error_code=12, error="NVML Shared Library Not Found")
    pinned: Measured | None = None
    lessons: dict[str, Lesson] = {}
    """Of earlier runs in this home, see :func:`engine.planning.learnt.read`."""
    sleep: SleepSeen = SleepSeen()
    has_token: bool = False
    """A Hugging Face token is there; never which."""
    packages: dict[str, str] = {}
    torch_cuda: str | None = None
    """CUDA that the installed torch is built for; None for one without, or no torch."""
    bitsandbytes_cuda: list[str] = []
    """CUDA versions that bitsandbytes has a library for, such as ``128``."""
