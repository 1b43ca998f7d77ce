"""The peaks of every kind of memory that a job takes, moment by moment.

    with Meter("cpu") as meter:
        meter.enter("train")
        ...
    meter.pools()

Peaks that somebody counts anyway (torch's allocators, the kernel's high-water mark of the resident
memory) are read and set back at the borders of moments, so no spike is missed. What nobody counts
(the whole card; resident memory where the mark cannot be set back) is looked at by a thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import psutil
import torch

from engine.contract.messages import Pool, PoolPeak
from engine.planning.look import free_ram_bytes
from engine.worker.trace.live_bytes import LiveBytes

Moment = Literal["load", "train", "evaluate", "save", "resume"]

ASKED_BY = "FETTLE_METER"
"""Environment variable that makes a training run tell its peaks in its Done."""
_LOOK_SECONDS = 0.02
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def is_asked() -> bool:
    """Whether a run is to be metered: it costs time."""
    return os.environ.get(ASKED_BY, "") not in ("", "0")


class Gauge(Protocol):
    """Counts one pool."""

    def peak(self) -> int:
        """The most bytes since the last :meth:`reset`, or since it was made."""

    def reset(self) -> None:
        """Begin anew from what is taken now."""


class Meter:
    """Use as a context; ``device`` is where the model computes, ``cuda`` or ``cpu``."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._gauges: dict[Pool, Gauge] = {}
        self._peaks: dict[Pool, dict[str, int]] = {}
        self._moment: Moment = "load"
        self._limits: dict[Pool, int] = {}
        self._live: LiveTensors | None = None
        self._looks: list[Callable[[], None]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        free = free_ram_bytes()
        self._gauges["ram"] = resident = Resident()
        self._limits = {"ram": free + resident.now(), "tensors": free}
        self._looks.append(resident.look)
        if self._device == "cuda":
            self._add_cuda()
        else:
            self._live = self._gauges["tensors"] = LiveTensors()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.let_tensors_be()

    def let_tensors_be(self) -> None:
        """Count live tensors no longer: what comes now is timed."""
        self._note()
        self._gauges.pop("tensors", None)
        if self._live:
            self._live.close()

    def _add_cuda(self) -> None:
        card = Card()
        self._limits["vram"] = torch.cuda.mem_get_info()[1]
        self._looks.append(card.look)
        self._gauges["vram"] = card
        self._gauges["vram_reserved"] = Counted(torch.cuda.max_memory_reserved, _reset_cuda)
        self._gauges["vram_allocated"] = Counted(torch.cuda.max_memory_allocated, _reset_cuda)
        self._gauges["pinned"] = Counted(_pinned_peak, torch.cuda.reset_peak_host_memory_stats)

    def enter(self, moment: Moment) -> None:
        """What comes now counts for this moment; a moment can come several times."""
        if moment == self._moment:
            return
        self._note()
        self._moment = moment
        for gauge in self._gauges.values():
            gauge.reset()

    def pools(self) -> list[PoolPeak]:
        """The peaks up to now, or to the end of the block."""
        if not self._over.is_set():
            self._note()
        return [
            msgspec.structs.replace(_as_peak(pool, found), limit_bytes=self._limits.get(pool))
            for pool, found in self._peaks.items()
        ]

    def _note(self) -> None:
        for pool, gauge in self._gauges.items():
            found = self._peaks.setdefault(pool, {})
            found[self._moment] = max(found.get(self._moment, 0), gauge.peak())

    def _look(self) -> None:
        while self._looks and not self._over.wait(_LOOK_SECONDS):
            for look in self._looks:
                look()


def _as_peak(pool: Pool, found: dict[str, int]) -> PoolPeak:
    moment = max(found, key=lambda name: found[name])
    return PoolPeak(pool=pool, measured_bytes=found[moment], moment=moment, by_moment=dict(found))


# ---------------------------------------------------------------- what is counted


class Counted:
    """A peak that torch counts."""

    def __init__(self, peak: Callable[[], int], reset: Callable[[], None]) -> None:
        self.peak = peak
        self.reset = reset
        reset()


def _reset_cuda() -> None:
    torch.cuda.reset_peak_memory_stats()


def _pinned_peak() -> int:
    return int(torch.cuda.host_memory_stats().get("allocated_bytes.peak", 0))


class LiveTensors:
    """Bytes of the tensors that are alive in RAM, counted in the thread that made this and in its
    backward passes; costs some microseconds an operation until it is closed."""

    def __init__(self) -> None:
        self._live = LiveBytes(("cpu",))
        self._open = contextlib.ExitStack()
        self._open.enter_context(self._live)

    def peak(self) -> int:
        """Bytes."""
        return self._live.peak

    def reset(self) -> None:
        """Begin anew."""
        self._live.reset()

    def close(self) -> None:
        """Count no longer. May be called twice."""
        self._open.close()


class Resident:
    """Memory of this process, with what its imports take.

    Pages of files do not count where the kernel tells them apart (Linux). It takes them back and
    reads them again as it likes, libraries' code included, so they say nothing of what is needed,
    and no two runs would agree.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._has_mark = _set_mark_back()
        """Whether the kernel's high-water mark can be set back."""
        self._seen = self._mark = 0
        self._lock = threading.Lock()
        """A look of the meter's thread must not carry a mark over into the next moment."""
        self._begin()

    def peak(self) -> int:
        """Bytes."""
        self.look()
        return self._seen

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            if self._has_mark:
                _set_mark_back()
            self._begin()

    def look(self) -> None:
        """Take note of what is taken now, and of the highest since the last look."""
        with self._lock:
            now = self._taken()
            self._seen = max(self._seen, now.own)
            if self._has_mark and now.mark > self._mark:
                # No spike is missed, and in so short a time the pages of files were as many as now.
                self._mark = now.mark
                self._seen = max(self._seen, now.mark - now.files)

    def now(self) -> int:
        """Bytes at this moment."""
        return self._taken().own

    def _begin(self) -> None:
        now = self._taken()
        self._seen, self._mark = now.own, now.own + now.files

    def _taken(self) -> _Taken:
        return _taken() or _Taken(own=int(self._process.memory_info().rss))


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory, in bytes."""

    own: int
    """Of pages that only RAM holds."""
    files: int = 0
    mark: int = 0
    """The highest of the two together since the mark was set back."""


def _taken() -> _Taken | None:
    """What the kernel tells; None if it does not."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    sizes = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    if "RssAnon" not in sizes:
        return None
    own, files, shared, mark = (
        int(sizes.get(name, "0").split()[0]) << 10
        for name in ("RssAnon", "RssFile", "RssShmem", "VmHWM")
    )
    return _Taken(own=own + shared, files=files, mark=mark)


def _set_mark_back() -> bool:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    now = _taken()
    return now is not None and now.mark > 0


class Card:
    """All that is taken on the card, by anyone: with CUDA's own part, which torch does not see."""

    def __init__(self) -> None:
        self._seen = self._now()

    def peak(self) -> int:
        """Bytes."""
        self.look()
        return self._seen

    def reset(self) -> None:
        """Begin anew."""
        self._seen = self._now()

    def look(self) -> None:
        """Take note of what is taken now."""
        self._seen = max(self._seen, self._now())

    def _now(self) -> int:
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
