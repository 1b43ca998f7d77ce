"""What the engine's machine is. Everything that may be unknown is None, and says why where it can.

Light: the standard library and msgspec; psutil and NVML are used where they are installed, so that
a broken environment can still be described.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine.planning.pinned import Measured

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate",
            "safetensors", "tokenizers", "numpy")  # fmt: skip


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
    wsl_distribution: str | None = None
    cpu: str | None = None
    """Name of the processor."""
    cpu_count: int | None = None
    """Cores that this process may use, hyper-threads counted."""
    ram_total_bytes: int | None = None
    ram_available_bytes: int | None = None
    store: str
    """Where runs are kept."""
    store_free_bytes: int | None = None
    store_total_bytes: int | None = None
    gpus: list[GpuFacts] = []
    gpu_problem: str = ""
    """Why no card was found, for people; empty if there is one."""
    visible_devices: str | None = None
    """``CUDA_VISIBLE_DEVICES`` of the engine, None if it is not set."""
    pinned: Measured | None = None
    """The last measurement of pinned memory on this machine, if there was one."""
    packages: dict[str, str] = {}
    """Installed versions of what decides a result; what is missing is not there."""


def gather(store: Path) -> MachineFacts:
    """Look at this machine. A driver in trouble may make it take minutes; use a thread."""
    gpus, problem = _gpus()
    ram_total, ram_available = _ram()
    free, total = _disk(store)
    return MachineFacts(
        python=platform.python_version(),
        engine=engine.__version__,
        platform=sys.platform,
        system=_system(),
        machine=platform.machine(),
        is_wsl=is_wsl(),
        wsl_distribution=os.environ.get("WSL_DISTRO_NAME"),
        cpu=_cpu_name(),
        cpu_count=_cpu_count(),
        ram_total_bytes=ram_total,
        ram_available_bytes=ram_available,
        store=str(store),
        store_free_bytes=free,
        store_total_bytes=total,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        gpus=gpus,
        gpu_problem=problem,
        packages=installed(),
    )


def installed() -> dict[str, str]:
    """Versions of the packages that decide a result, as far as they are installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def is_wsl(release: str | None = None) -> bool:
    """Whether this Linux runs inside Windows; ``release`` is the kernel's, this one's if None."""
    release = platform.release() if release is None else release
    return sys.platform == "linux" and "microsoft" in release.lower()


def _system() -> str:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            known = platform.freedesktop_os_release()
            return known.get("PRETTY_NAME") or known.get("NAME", "Linux")
    return f"{platform.system()} {platform.release()}"


def _cpu_name() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _cpu_count() -> int | None:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def _ram() -> tuple[int | None, int | None]:
    try:
        import psutil
    except ImportError:
        return None, None
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _disk(store: Path) -> tuple[int | None, int | None]:
    """Free and total bytes of the disk that the store is or will be on."""
    there = next((p for p in (store, *store.parents) if p.exists()), None)
    if there is None:
        return None, None
    try:
        usage = shutil.disk_usage(there)
    except OSError:
        return None, None
    return usage.free, usage.total


def _gpus() -> tuple[list[GpuFacts], str]:
    try:
        import pynvml
    except ImportError:
        return [], "nvidia-ml-py is not installed, so cards cannot be looked for."
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"No NVIDIA card was found: {error}."
    try:
        count = pynvml.nvmlDeviceGetCount()
        return [_gpu(pynvml, index) for index in range(count)], ""
    except pynvml.NVMLError as error:
        return [], f"The NVIDIA driver does not answer: {error}."
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> GpuFacts:
    card = nvml.nvmlDeviceGetHandleByIndex(index)
    found: dict[str, Any] = {}
    for read in (
        lambda: {"name": _text(nvml.nvmlDeviceGetName(card))},
        lambda: _memory(nvml.nvmlDeviceGetMemoryInfo(card)),
        lambda: {"compute_capability": tuple(nvml.nvmlDeviceGetCudaComputeCapability(card))},
        lambda: {"driver": _text(nvml.nvmlSystemGetDriverVersion())},
        lambda: {"cuda": _cuda(nvml.nvmlSystemGetCudaDriverVersion_v2())},
        lambda: {"power_limit_watts": nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000},
    ):
        with contextlib.suppress(nvml.NVMLError):
            found |= read()
    return GpuFacts(index=index, **found)


def _memory(info: Any) -> dict[str, int]:
    return {"vram_total_bytes": int(info.total), "vram_free_bytes": int(info.free)}


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
