"""What torch's allocator holds on a card beyond what a step asks for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from engine.planning.allocator import replay
from engine.planning.form import Point
from engine.worker.trace.recording import Recording

_LENGTHS = tuple(512 << power for power in range(6))
_LEFT_OUT_LAYERS = 1.4
"""What the layers that were not traced add where each leaves its input behind: 1.1 to 1.6 in whole
traces of models from 1B to 7B."""


def table(
    recordings: Sequence[Recording], *, batch: int, rank: int, grows: bool
) -> list[tuple[int, int]]:
    """Tokens of a micro-batch and bytes held beyond what was asked for, rising. ``recordings`` are
    those of the traced depths; one is that of the whole model. ``grows``: idle blocks lie between
    the inputs of layers, and not between those of a few large weights and their gradients."""
    factor = _LEFT_OUT_LAYERS if grows and len(recordings) > 1 else 1.0
    points = [Point(batch=batch, length=length, rank=rank) for length in _LENGTHS]
    idle = np.max([_idle_bytes(recording, points) for recording in recordings], axis=0).tolist()
    rising = accumulate((round(factor * size) for size in idle), max)
    return [(point.batch * point.length, size) for point, size in zip(points, rising, strict=True)]


def _idle_bytes(recording: Recording, points: Sequence[Point]) -> list[int]:
    formulas, events = recording.allocations()
    found = []
    for point in points:
        sizes = np.rint(formulas @ np.array(point.monomials())).astype(int).tolist()
        asked, reserved = replay(sizes, events)
        found.append(reserved - asked)
    return found
