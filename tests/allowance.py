"""Limits on time, on machines that are shared: what took too long is judged by how long a known
piece of work takes there right afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

_USUAL_SECONDS = 0.06
"""Of one piece, on a quiet virtual machine with two cores."""
_PIECES = 5
_MOST = 3.0
"""Beyond this nothing is forgiven: what is meant to be quick would not be, wherever it runs."""


def is_within(seconds: float, limit: float, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether this is no more than the limit, or would be if the machine were not so slow just now.

    ``clock`` is the one that ``seconds`` are of: for time of the processor ``time.thread_time``.
    """
    return seconds <= limit or seconds <= limit * slowness(clock)


def slowness(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as long as usual things take at the moment, from 1 to 3."""
    began = clock()
    for _ in range(_PIECES):
        _piece()
    return min(max((clock() - began) / _PIECES / _USUAL_SECONDS, 1.0), _MOST)


def _piece() -> int:
    return sum(number * number % 7 for number in range(350_000))
