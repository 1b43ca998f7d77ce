"""Under what circumstances a state came about: card, and the most memory taken so far."""

from __future__ import annotations

from typing import Any

import psutil
import torch


def circumstances() -> dict[str, Any]:
    """``gpu`` (its name, None without one), ``vram_peak_bytes`` (with a card: reserved by torch)
    and ``ram_peak_bytes`` (resident, of this process; where the system counts it)."""
    found: dict[str, Any] = {"gpu": None, "ram_peak_bytes": _ram_peak_bytes()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["vram_peak_bytes"] = torch.cuda.max_memory_reserved()
    return found


def _ram_peak_bytes() -> int | None:
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return int(memory.peak_wset)
    try:
        import resource
    except ImportError:
        return None
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
