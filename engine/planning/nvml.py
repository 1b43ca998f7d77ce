"""Asks NVIDIA's management library. Every answer may be missing: under WSL and WDDM many are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from engine.planning.seen import NO_NVML, SILENT, CardSeen, NvmlSeen

ANSWER_SECONDS = 2.0
"""A driver in trouble can hold a call for minutes; then it is left to itself."""
_LARGEST_BYTES = 1 << 44


def read() -> NvmlSeen:
    """All cards. Never raises, never takes longer than :data:`ANSWER_SECONDS`."""
    try:
        import pynvml
    except ImportError:
        return NvmlSeen(error_code=NO_NVML, error="nvidia-ml-py is not installed")
    found: list[NvmlSeen] = []
    thread = threading.Thread(
        target=lambda: found.append(ask(pynvml)), name="nvml", daemon=True
    )  # fmt: skip
    thread.start()
    thread.join(ANSWER_SECONDS)
    if found:
        return found[0]
    return NvmlSeen(error_code=SILENT, error=f"no answer within {ANSWER_SECONDS:g} s")


def ask(nvml: Any) -> NvmlSeen:
    """What the library ``pynvml`` tells."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _failed(error)
    except OSError as error:
        return NvmlSeen(error_code=12, error=str(error))
    try:
        count = int(nvml.nvmlDeviceGetCount())
        return NvmlSeen(
            cards=[_card(nvml, index) for index in range(count)],
            driver=_try(nvml, lambda: _text(nvml.nvmlSystemGetDriverVersion())),
            cuda=_try(nvml, lambda: int(nvml.nvmlSystemGetCudaDriverVersion_v2())),
        )
    except nvml.NVMLError as error:
        return _failed(error)
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _failed(error: Any) -> NvmlSeen:
    return NvmlSeen(error_code=int(getattr(error, "value", 999)), error=str(error))


def _try(nvml: Any, read: Callable[[], Any]) -> Any:
    """One answer; None if this driver does not give it, or something that makes no sense."""
    try:
        return read()
    except (nvml.NVMLError, AttributeError, TypeError, ValueError):
        return None


def _card(nvml: Any, index: int) -> CardSeen:
    try:
        card = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return CardSeen(index=index, error=str(error))
    memory = _try(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(card))
    readers: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(nvml.nvmlDeviceGetName(card)),
        "compute_capability": lambda: _pair(nvml.nvmlDeviceGetCudaComputeCapability(card)),
        "power_limit_watts": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000,
        "uuid": lambda: _text(nvml.nvmlDeviceGetUUID(card)),
        "cores": lambda: _count(nvml.nvmlDeviceGetNumGpuCores(card)),
        "sm_clock_mhz": lambda: _count(nvml.nvmlDeviceGetMaxClockInfo(card, 1)),
        "memory_clock_mhz": lambda: _count(nvml.nvmlDeviceGetMaxClockInfo(card, 2)),
        "memory_bus_bits": lambda: _count(nvml.nvmlDeviceGetMemoryBusWidth(card)),
        "drives_display": lambda: bool(nvml.nvmlDeviceGetDisplayActive(card)),
    }
    return CardSeen(
        index=index,
        total_bytes=_bytes(getattr(memory, "total", None)),
        free_bytes=_bytes(getattr(memory, "free", None)),
        **{name: _try(nvml, read) for name, read in readers.items()},
    )


def _bytes(value: Any) -> int | None:
    """A size; some drivers give all ones where they know nothing."""
    return int(value) if isinstance(value, int) and 0 <= value < _LARGEST_BYTES else None


def _count(value: Any) -> int | None:
    return int(value) if 0 < int(value) < 1 << 31 else None


def _pair(value: Any) -> tuple[int, int]:
    major, minor = value
    return int(major), int(minor)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
