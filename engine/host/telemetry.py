"""Measures a run from outside, once a second: the worker's processes and the card.

In a thread of its own, since a driver in trouble can hold a call for minutes. Then there are no
samples, and nothing else happens. Every field may be missing: under WSL and WDDM many are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import psutil

from engine.contract.messages import Telemetry, Throttle
from engine.host.shared_memory import SharedMemory
from engine.planning.cards import card_index
from engine.planning.seen import CardSeen

log = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0


class Sampler:
    """Calls ``on_sampled`` in the loop's thread once a second, between :meth:`start` and
    :meth:`stop`."""

    def __init__(self, pid: int, gpu: int, on_sampled: Callable[[Telemetry], None]) -> None:
        self._tree = ProcessTree(pid)
        self._card = Card(gpu)
        self._shared = SharedMemory()
        self._on_sampled = on_sampled
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def stop(self) -> None:
        """No sample comes after this."""
        self._stopped.set()

    def _work(self) -> None:
        self._card.open()
        self._shared.open()
        due = time.monotonic()
        while not self._stopped.wait(max(due - time.monotonic(), 0.0)):
            due = max(due + PERIOD_SECONDS, time.monotonic())
            sample = self._sample()
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, sample)
        self._shared.close()
        self._card.close()

    def _sample(self) -> Telemetry:
        ram, cpu, pids = self._tree.measure()
        bare = Telemetry(at=time.time(), ram_used_bytes=ram, cpu_percent=cpu)
        seen = {**self._card.measure(pids), **self._shared.measure(pids)}
        return msgspec.structs.replace(bare, **seen)

    def _deliver(self, sample: Telemetry) -> None:
        if not self._stopped.is_set():
            self._on_sampled(sample)


class ProcessTree:
    """A process and all it started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu_seconds: dict[int, float] = {}
        self._measured_at = time.monotonic()

    def measure(self) -> tuple[int | None, float | None, set[int]]:
        """Resident bytes, CPU in percent of one core since the last call, and the pids."""
        now = time.monotonic()
        ram, spent, seen = 0, 0.0, {}
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                ram += process.memory_info().rss
                times = process.cpu_times()
                seen[process.pid] = times.user + times.system
        for pid, seconds in seen.items():
            spent += seconds - self._cpu_seconds.get(pid, 0.0)
        elapsed, first = now - self._measured_at, not self._cpu_seconds
        self._cpu_seconds, self._measured_at = seen, now
        if not seen:
            return None, None, set()
        percent = None if first or elapsed <= 0 else round(100 * max(spent, 0.0) / elapsed, 1)
        return ram, percent, set(seen)

    def _processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []


class Card:
    """One NVIDIA card through NVML; measures nothing where there is none.

    ``number`` is what the spec says; where ``CUDA_VISIBLE_DEVICES`` hides cards from the worker, it
    counts those that are left, here as there.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._nvml: Any = None
        self._handle: Any = None

    def open(self) -> None:
        """Find the card. May hang with a broken driver."""
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            self._handle = self._find(pynvml)
            self._nvml = pynvml if self._handle is not None else None
        except pynvml.NVMLError as error:
            log.info("No telemetry of card %d: %s", self._number, error)

    def _find(self, nvml: Any) -> Any:
        """The card that the worker trains on; None if it is hidden."""
        count = nvml.nvmlDeviceGetCount()
        seen = [CardSeen(index=index, uuid=_uuid(nvml, index)) for index in range(count)]
        index = card_index(self._number, os.environ.get("CUDA_VISIBLE_DEVICES"), seen)
        if index is None:
            log.info("Card %d is hidden by CUDA_VISIBLE_DEVICES", self._number)
            return None
        return nvml.nvmlDeviceGetHandleByIndex(index)

    def close(self) -> None:
        """Let go of NVML."""
        if self._nvml:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def measure(self, pids: set[int]) -> dict[str, Any]:
        """Fields of :class:`Telemetry`; what the driver does not tell is left out."""
        if not self._nvml:
            return {}
        nvml, card = self._nvml, self._handle
        found: dict[str, Any] = {}
        for read in (
            lambda: _memory(nvml.nvmlDeviceGetMemoryInfo(card)),
            lambda: {"gpu_busy_percent": float(nvml.nvmlDeviceGetUtilizationRates(card).gpu)},
            lambda: {"gpu_temperature_celsius": float(nvml.nvmlDeviceGetTemperature(card, 0))},
            lambda: {"gpu_power_watts": nvml.nvmlDeviceGetPowerUsage(card) / 1000},
            lambda: {"gpu_power_limit_watts": nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000},
            lambda: {"gpu_clock_mhz": float(nvml.nvmlDeviceGetClockInfo(card, _SM_CLOCK))},
            lambda: {"gpu_throttle": throttles(_event_reasons(nvml, card))},
            lambda: _own(nvml.nvmlDeviceGetComputeRunningProcesses(card), pids),
        ):
            # Names that an older library lacks, too.
            with contextlib.suppress(nvml.NVMLError, AttributeError):
                found |= read()
        return found


_SM_CLOCK = 1
_REASONS: dict[int, Throttle] = {
    0x04: "power", 0x08: "hardware", 0x20: "heat", 0x40: "heat", 0x80: "power_supply"
}  # fmt: skip
"""Bits of NVML's clock event reasons; those left out are settings, or a card that rests."""


def throttles(reasons: int) -> list[Throttle]:
    """What NVML's bits say, each once. The hardware's own bit is set with that for heat, too."""
    found = [word for bit, word in _REASONS.items() if reasons & bit]
    if {"heat", "power_supply"} & set(found):
        found = [word for word in found if word != "hardware"]
    return list(dict.fromkeys(found))


def _event_reasons(nvml: Any, card: Any) -> int:
    """Under the name that this library has for it."""
    newer = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
    return int((newer or nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(card))


def _uuid(nvml: Any, index: int) -> str | None:
    with contextlib.suppress(nvml.NVMLError):
        found = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index))
        return found.decode() if isinstance(found, bytes) else str(found)
    return None


def _memory(info: Any) -> dict[str, Any]:
    return {"vram_used_bytes": int(info.used), "vram_total_bytes": int(info.total)}


def _own(processes: Any, pids: set[int]) -> dict[str, Any]:
    """Memory of the worker's own processes; WDDM and WSL do not tell it, or not by these pids."""
    used = [p.usedGpuMemory for p in processes if p.pid in pids and p.usedGpuMemory is not None]
    return {"vram_process_bytes": int(sum(used))} if used else {}
