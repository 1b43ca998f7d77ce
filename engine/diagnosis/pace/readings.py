"""What telemetry said over a stretch of time, while the run trained."""

from __future__ import annotations

from collections import deque

import msgspec

from engine.contract.messages import Telemetry
from engine.diagnosis.pace.robust import middle_of

_KEPT = 1800
_LOOKED_AT = 240
"""Samples of a stretch, the newest: more say no more."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """The middle of each measurement over a stretch; None is not measured there."""

    samples: int = 0
    busy_percent: float | None = None
    cpu_percent: float | None = None
    temperature: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    clock_mhz: float | None = None
    used_bytes: float | None = None
    total_bytes: float | None = None
    process_bytes: float | None = None
    shared_bytes: float | None = None
    throttle: dict[str, float] = {}
    """Share of the samples with each reason; a reason that never was is not there."""

    @property
    def others_bytes(self) -> float | None:
        """Memory of the card that other programs hold."""
        if self.used_bytes is None or self.process_bytes is None:
            return None
        return max(self.used_bytes - self.process_bytes, 0.0)


class Readings:
    """Remembers the last half hour of samples."""

    def __init__(self) -> None:
        self._samples: deque[Telemetry] = deque(maxlen=_KEPT)

    def add(self, sample: Telemetry) -> None:
        """Take in one, in order of time."""
        self._samples.append(sample)

    def last(self, count: int) -> list[Telemetry]:
        """The newest, oldest first."""
        skipped = max(len(self._samples) - count, 0)
        return [sample for place, sample in enumerate(self._samples) if place >= skipped]

    def level(self, begin: float, end: float) -> Level:
        """The middle of the samples between two moments (UNIX time)."""
        found: list[Telemetry] = []
        for sample in reversed(self._samples):
            if sample.at < begin or len(found) >= _LOOKED_AT:
                break
            if sample.at <= end:
                found.append(sample)
        return _level(found)


def _level(samples: list[Telemetry]) -> Level:
    if not samples:
        return Level()
    return Level(
        samples=len(samples),
        busy_percent=middle_of(s.gpu_busy_percent for s in samples),
        cpu_percent=middle_of(s.cpu_percent for s in samples),
        temperature=middle_of(s.gpu_temperature_celsius for s in samples),
        power_watts=middle_of(s.gpu_power_watts for s in samples),
        power_limit_watts=middle_of(s.gpu_power_limit_watts for s in samples),
        clock_mhz=middle_of(s.gpu_clock_mhz for s in samples),
        used_bytes=middle_of(s.vram_used_bytes for s in samples),
        total_bytes=middle_of(s.vram_total_bytes for s in samples),
        process_bytes=middle_of(_process(s) for s in samples),
        shared_bytes=middle_of(s.shared_used_bytes for s in samples),
        throttle=_reasons(samples),
    )


def _process(sample: Telemetry) -> int | None:
    """Of the worker on the card; WSL tells sizes that no card has."""
    size, whole = sample.vram_process_bytes, sample.vram_total_bytes
    return size if size is not None and (whole is None or size <= whole) else None


def _reasons(samples: list[Telemetry]) -> dict[str, float]:
    lists = [s.gpu_throttle for s in samples if s.gpu_throttle is not None]
    seen = {reason for reasons in lists for reason in reasons}
    return {reason: sum(reason in reasons for reasons in lists) / len(lists) for reason in seen}


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The middle of what steps themselves told over a stretch."""

    steps: int = 0
    seconds: float = 0.0
    wait_seconds: float | None = None
    reserved_bytes: float | None = None
    """Of the card, by torch."""
