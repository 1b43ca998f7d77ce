"""Reads what a machine shows of itself. Nothing here judges, and nothing here raises.

Light: the standard library; psutil and NVML are used where they are installed, so that a broken
environment can still be described.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from engine.planning import hub_cache, learnt, nvml, pinned
from engine.planning.platforms import WSL_LIBRARIES
from engine.planning.seen import DiskSeen, MemorySeen, NvmlSeen, Seen, SleepSeen

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate",
            "safetensors", "tokenizers", "numpy")  # fmt: skip

_SETTINGS = ("WSL_DISTRO_NAME", "WSL_INTEROP", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE",
             "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "PYTORCH_ALLOC_CONF",
             "PYTORCH_CUDA_ALLOC_CONF", "container")  # fmt: skip
_MARKS = ("/.dockerenv", "/run/.containerenv", "/.flatpak-info")
_FOREIGN = "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
_TOOL_SECONDS = 1.0
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)
"""On Windows a program started by one without a console would open one."""
_POWERCFG_WSL = "/mnt/c/Windows/System32/powercfg.exe"


def look(store: Path, home: Path | None = None) -> Seen:
    """Look at this machine. Takes some milliseconds, up to some seconds where a driver is in
    trouble. With ``home`` the last measurement of pinned memory, and what runs
    taught of the cards, is looked up in it."""
    cards = nvml.read()
    return Seen(
        python=platform.python_version(),
        platform=sys.platform,
        release=platform.release(),
        system=_system(),
        machine=platform.machine(),
        environ={name: value for name in _SETTINGS if (value := os.environ.get(name)) is not None},
        has_dxg=Path("/dev/dxg").exists(),
        has_wsl_driver=Path(WSL_LIBRARIES, "libcuda.so.1").exists(),
        foreign_driver=f"/{_FOREIGN}" if Path("/", _FOREIGN).exists() else None,
        container_marks=[mark for mark in _MARKS if Path(mark).exists()],
        cgroup=_text(Path("/proc/1/cgroup"))[:500],
        pci_vendors=_display_vendors(Path("/sys/bus/pci/devices")),
        cpu=_cpu_name(),
        cpu_count=_cpu_count(),
        cpu_cores=_cpu_cores(),
        memory=memory(),
        store=disk(store),
        cache=disk(hub_cache.folder()),
        nvml=cards,
        pinned=pinned.read(home, machine_key(cards)) if home else None,
        lessons=learnt.read(home) if home else {},
        sleep=_sleep(),
        has_token=_has_token(),
        packages=installed(),
        torch_cuda=_torch_cuda(),
        bitsandbytes_cuda=_bitsandbytes_cuda(),
    )


def installed() -> dict[str, str]:
    """Versions of the packages that decide a result, as far as they are installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def machine_key(cards: NvmlSeen) -> str:
    """What a measurement holds for: these cards, this driver, this start of the computer."""
    names = ", ".join(card.uuid or card.name or "?" for card in cards.cards)
    boot = _text(Path("/proc/sys/kernel/random/boot_id")).strip() or _boot_time()
    return f"{cards.driver or '?'} | {names} | {boot}"


def _boot_time() -> str:
    try:
        import psutil
    except ImportError:
        return "?"
    # It moves by a second when the clock is set.
    return str(round(psutil.boot_time() / 60))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _system() -> str:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            known = platform.freedesktop_os_release()
            return known.get("PRETTY_NAME") or known.get("NAME", "Linux")
    return f"{platform.system()} {platform.release()}"


def _cpu_name() -> str | None:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _cpu_count() -> int | None:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def _cpu_cores() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    found: int | None = psutil.cpu_count(logical=False)
    return found


def _display_vendors(devices: Path) -> list[str]:
    """Of every display controller (PCI class 0x03) on the bus."""
    try:
        places = sorted(devices.iterdir())
    except OSError:
        return []
    return [
        _text(place / "vendor").strip()
        for place in places
        if _text(place / "class").startswith("0x03")
    ]


def _has_token() -> bool:
    """Whether Hugging Face's libraries would find a token; it is not kept."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    place = os.environ.get("HF_TOKEN_PATH")
    base = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    )
    return bool(_text(Path(place or str(Path(base) / "token")).expanduser()).strip())


# ---------------------------------------------------------------- memory and disks


_GROUP = Path("/sys/fs/cgroup")
"""This process's control group, as a container sees it."""


def memory() -> MemorySeen:
    """The computer's memory now."""
    try:
        import psutil
    except ImportError:
        return MemorySeen(limit_bytes=_limit())
    found = psutil.virtual_memory()
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return MemorySeen(total_bytes=int(found.total), available_bytes=int(found.available))
    return MemorySeen(
        total_bytes=int(found.total),
        available_bytes=int(found.available),
        swap_total_bytes=int(swap.total),
        swap_free_bytes=int(swap.free),
        limit_bytes=_limit(),
    )


def _limit() -> int | None:
    """The container's memory limit, of either version of control groups."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _text(_GROUP / name).strip()
        if text.isdecimal():
            return int(text)
    return None


def free_ram_bytes() -> int:
    """What this process may still take: of the computer's memory, and of its container's."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _limit()
    used = _text(_GROUP / "memory.current") or _text(_GROUP / "memory/memory.usage_in_bytes")
    if limit is None or not used.strip().isdecimal():
        return free
    return max(0, min(free, limit - int(used) + _reclaimable_bytes()))


def _reclaimable_bytes() -> int:
    """What the container's group is charged for files that were read a while ago: a model that was
    loaded, say. It is given up as soon as somebody needs the memory."""
    for name, key in (("memory.stat", "inactive_file"),
                      ("memory/memory.stat", "total_inactive_file")):  # fmt: skip
        for line in _text(_GROUP / name).splitlines():
            field, _, count = line.partition(" ")
            if field == key and count.strip().isdecimal():
                return int(count)
    return 0


def disk(folder: Path) -> DiskSeen:
    """The disk that the folder is or will be on."""
    there = next((p for p in (folder, *folder.parents) if _exists(p)), None)
    if there is None:
        return DiskSeen(path=str(folder))
    try:
        usage = shutil.disk_usage(there)
    except OSError:
        return DiskSeen(path=str(folder), filesystem=_filesystem(there))
    return DiskSeen(
        path=str(folder),
        free_bytes=usage.free,
        total_bytes=usage.total,
        filesystem=_filesystem(there),
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _filesystem(folder: Path) -> str | None:
    """That of the innermost mount that the folder lies in."""
    try:
        real = folder.resolve()
    except OSError:
        return None
    found, depth = None, -1
    for place, kind in _mounts():
        if real.is_relative_to(place) and len(Path(place).parts) >= depth:
            found, depth = kind, len(Path(place).parts)
    return found


def _mounts() -> list[tuple[str, str]]:
    """Place and file system of every mount, in their order: later ones cover earlier ones."""
    table = _text(Path("/proc/self/mounts"))
    if table:
        return [parse_mount(line) for line in table.splitlines() if line.count(" ") >= 3]
    try:
        import psutil

        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    except (ImportError, OSError):
        return []


def parse_mount(line: str) -> tuple[str, str]:
    """Place and file system of a line of ``/proc/self/mounts``."""
    _, place, kind, *_ = line.split(" ")
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place), kind


# ---------------------------------------------------------------- sleep


def _sleep() -> SleepSeen:
    battery = _on_battery()
    tool = "powercfg" if sys.platform == "win32" else _POWERCFG_WSL
    if sys.platform == "win32" or Path(_POWERCFG_WSL).exists():
        text = _output([tool, "/query", "SCHEME_CURRENT", "SUB_SLEEP", "STANDBYIDLE"])
        return SleepSeen(powercfg=text, on_battery=battery)
    masked = Path("/etc/systemd/system/sleep.target")
    return SleepSeen(
        has_inhibitor=shutil.which("systemd-inhibit") is not None,
        is_masked=masked.is_symlink() and str(masked.readlink()) == os.devnull,
        on_battery=battery,
    )


def _on_battery() -> bool | None:
    try:
        import psutil

        battery = psutil.sensors_battery()
    except (ImportError, AttributeError, OSError, ValueError):
        return None
    return None if battery is None else not battery.power_plugged


def _output(command: list[str]) -> str:
    try:
        ended = subprocess.run(
            command, capture_output=True, timeout=_TOOL_SECONDS, stdin=subprocess.DEVNULL,
            check=False, creationflags=NO_WINDOW,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.decode("utf-8", "replace")


# ---------------------------------------------------------------- packages, without importing them


def _package_folder(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _torch_cuda() -> str | None:
    """The CUDA version in ``torch/version.py``."""
    folder = _package_folder("torch")
    found = re.search(
        r"^cuda\b[^=]*=\s*'([0-9.]+)'", _text(folder / "version.py") if folder else "", re.MULTILINE
    )
    return found[1] if found else None


def _bitsandbytes_cuda() -> list[str]:
    folder = _package_folder("bitsandbytes")
    if folder is None:
        return []
    names = [path.name for path in folder.glob("libbitsandbytes_cuda*")]
    return sorted({found[1] for name in names if (found := re.search(r"cuda(\d+)", name))})
