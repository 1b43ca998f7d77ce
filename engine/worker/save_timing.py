"""When the next save is due. Pure.

``save_minutes`` is the most time that a crash may cost. Within that a save comes sooner where it is
cheap, and as late as may be where it is not.
"""

from __future__ import annotations

import msgspec

SOONEST_SECONDS = 60.0
"""Between two saves by time; oftener gains nobody anything."""
STALL_SHARE = 0.01
"""Of the time, at most, that training stands still for saves that come sooner than they must."""
WRITING_SHARE = 0.1
"""Of the time, at most, that such saves are being written."""
WRITTEN_BYTES_A_SECOND = 2 << 20
"""What such saves may write in the mean: a night of them is no burden to an SSD."""
PATIENCE_SECONDS = 5.0
PATIENCE_SHARE = 0.1
"""So long, and of the time so much, training waits for the disk in all, so that a save that was
asked for comes at its very step."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the last save took; nothing before the first."""

    stall_seconds: float = 0.0
    """That training stood still."""
    write_seconds: float = 0.0
    """From the copy in RAM to the verified checkpoint."""
    bytes: int = 0


def interval_seconds(limit_seconds: float, cost: Cost, step_seconds: float) -> float:
    """From one save to the next by time, so that a crash at any moment costs ``limit_seconds`` at
    most: a save counts once it is on the disk, and begins between two steps."""
    cheap = max(
        SOONEST_SECONDS,
        cost.stall_seconds / STALL_SHARE,
        cost.write_seconds / WRITING_SHARE,
        cost.bytes / WRITTEN_BYTES_A_SECOND,
    )
    latest = limit_seconds - cost.stall_seconds - cost.write_seconds - step_seconds
    return max(0.0, min(cheap, latest))


def may_wait(waited_seconds: float, since_start_seconds: float) -> bool:
    """Whether training may wait for the disk once more, having waited so long before."""
    return waited_seconds < max(PATIENCE_SECONDS, PATIENCE_SHARE * since_start_seconds)
