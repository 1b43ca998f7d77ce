"""What torch's allocator holds on a card beyond what a step asks for."""

from __future__ import annotations

import msgspec
import numpy as np

from engine.planning.allocator import replay
from engine.planning.form import PARTS, Point, Segment
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.sizes import as_coefficients

STAYS = ("weights", "trained_weights", "adapter", "optimizer")
"""What is asked for once, at the beginning: its rounding is small."""
_LENGTHS = (512, 2048)


def share(recorder: Recorder, *, batch: int, rank: int) -> float:
    """By how much more than a step asks for is held for it: the most over a few sizes."""
    found = 0.0
    for length in _LENGTHS:
        point = Point(batch=batch, length=length, rank=rank)
        sizes = recorder.sizes_at(np.array(point.monomials()))
        events = recorder.replayed(sizes)
        asked, reserved = replay(events)
        moving = max(asked - recorder.staying(sizes, STAYS), 1)
        found = max(found, (reserved - asked) / moving)
    return found


def with_rounding(segment: Segment, share: float) -> Segment:
    """The segment with the part ``rounding``."""
    width = max((len(values) for values in segment.parts.values()), default=0)
    total = np.zeros(width)
    for part, values in segment.parts.items():
        if part in PARTS and part not in STAYS:
            total[: len(values)] += values
    values = as_coefficients(share * total)
    if not values:
        return segment
    return msgspec.structs.replace(segment, parts={**segment.parts, "rounding": values})
