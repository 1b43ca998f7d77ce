"""How many programs the system has ended for want of memory, where it counts them (Linux)."""

from __future__ import annotations

import time
from pathlib import Path

_COUNTERS = (
    ("/sys/fs/cgroup/memory.events", "oom_kill"),
    ("/proc/vmstat", "oom_kill"),
)
"""The own container's count, then the whole machine's."""
_RECENT_SECONDS = 30.0


class RecentKills:
    """Knows the count of a short while ago: what was ended earlier says nothing of a worker that
    dies now."""

    def __init__(self) -> None:
        self.before = count()
        self._counted_at = time.monotonic()

    def look(self, now: float) -> None:
        """Called now and then while the worker lives; ``now`` is monotonic."""
        if now - self._counted_at > _RECENT_SECONDS:
            self.before, self._counted_at = count(), now


def count() -> int | None:
    """All that are known; None where nobody counts."""
    found = [number for file, name in _COUNTERS if (number := _read(Path(file), name)) is not None]
    return sum(found) if found else None


def more_since(before: int | None) -> int | None:
    """How many have come to an earlier :func:`count`; None where that is not known."""
    now = count()
    return None if before is None or now is None else now - before


def _read(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = (line.split() for line in lines)
    return next((int(p[1]) for p in found if len(p) == 2 and p[0] == name), None)
