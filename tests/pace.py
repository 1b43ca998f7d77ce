"""Limits on time, on machines that are shared: what took too long is judged by how long a known
piece of work takes there at that very moment."""

from __future__ import annotations

import time
from collections.abc import Callable

_USUAL_SECONDS = 0.06
"""Of one piece, on a quiet virtual machine with two cores."""
_PIECES = 5


def is_within(seconds: float, limit: float, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether this is no more than the limit, or would be if the machine were not so slow just now.

    ``clock`` is the one that ``seconds`` are of: for time of the processor ``time.thread_time``.
    """
    return seconds <= limit or seconds <= limit * slowness(clock)


def slowness(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as long as usual things take at the moment, 1 or more."""
    began = clock()
    for _ in range(_PIECES):
        _piece()
    return max((clock() - began) / _PIECES / _USUAL_SECONDS, 1.0)


def _piece() -> int:
    return sum(number * number % 7 for number in range(350_000))
