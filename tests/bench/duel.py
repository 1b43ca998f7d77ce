"""Two ways of training, taking turns on one machine within one run.

Both are started, and then all processes of one are stopped (SIGSTOP) while the other computes a few
steps. So both see the same weather of a shared machine, a few seconds apart, and each pair of turns
gives a ratio of its own.
"""

from __future__ import annotations

import signal
import statistics
import time
from typing import Any, Protocol

import psutil

WARM_UP = 4
"""First steps, in which allocators and caches fill."""
STEPS_A_TURN = 4
PATIENCE_SECONDS = 120.0


class Side(Protocol):
    """One of the two."""

    def processes(self) -> list[psutil.Process]:
        """All that it consists of."""
        ...

    def milliseconds(self) -> list[float]:
        """Of each step done so far."""
        ...


def settle(side: Side) -> None:
    """Let it come to where its steps count, and stop it there: only then begin the other."""
    _until(side, WARM_UP)
    _signal(side, signal.SIGSTOP)


def duel(a: Side, b: Side, rounds: int) -> dict[str, Any]:
    """Medians of both and b / a, with its quartiles over the rounds. Both have settled; both run on
    afterwards."""
    turns = [(_turn(a), _turn(b)) for _ in range(rounds)]
    for side in (a, b):
        _signal(side, signal.SIGCONT)
    ratios = [statistics.median(after) / statistics.median(before) for before, after in turns]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "a_median": round(statistics.median(ms for before, _ in turns for ms in before), 2),
        "b_median": round(statistics.median(ms for _, after in turns for ms in after), 2),
        "ratio": round(middle, 4),
        "ratio_quartiles": [round(low, 4), round(high, 4)],
        "ratio_of_rounds": [round(ratio, 4) for ratio in ratios],
        "rounds": rounds,
        "steps_a_turn": STEPS_A_TURN,
    }


def steps_for(rounds: int) -> int:
    """How many steps a side has to have in it."""
    return WARM_UP + rounds * (STEPS_A_TURN + 4) + 8


def _turn(side: Side) -> list[float]:
    done = len(side.milliseconds())
    _signal(side, signal.SIGCONT)
    # The first step has the time in it for which the side was stopped.
    _until(side, done + 1 + STEPS_A_TURN)
    _signal(side, signal.SIGSTOP)
    return side.milliseconds()[done + 1 : done + 1 + STEPS_A_TURN]


def _until(side: Side, count: int) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while len(side.milliseconds()) < count:
        if time.monotonic() > limit:
            raise TimeoutError(f"only {len(side.milliseconds())} of {count} steps")
        time.sleep(0.05)


def _signal(side: Side, number: signal.Signals) -> None:
    for process in side.processes():
        process.send_signal(number)
