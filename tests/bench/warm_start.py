"""From "Start" to "loading model" with the warm worker, over the wire, as the window sees it."""

from __future__ import annotations

import os
import time
from typing import Any

import windowed
from measure import percentile, private_home

STARTS = 5


def run() -> dict[str, Any]:
    from engine import client
    from engine.contract.lifecycle import Phase
    from engine.contract.messages import Follow, PhaseChanged, Start, Stop, Warm

    os.environ.pop("FETTLE_WORKER_COMMAND", None)
    seconds = []
    with private_home() as home, client.connect() as host:
        for _ in range(STARTS):
            host.request(Warm(id=0))
            time.sleep(15)  # the worker's imports, and quiet
            spec = windowed.spec(home, max_steps=5)
            begun = time.perf_counter()
            run_name = host.request(Start(id=0, spec=spec))["run"]
            host.request(Follow(id=0, run=run_name))
            for message in host.messages(timeout_s=60):
                if isinstance(message, PhaseChanged) and message.phase == Phase.LOADING_MODEL:
                    seconds.append(time.perf_counter() - begun)
                    break
            host.request(Stop(id=0, run=run_name, now=True))
    middle = percentile(seconds, 0.5)
    return {
        "seconds": [round(value, 3) for value in seconds],
        "median_seconds": round(middle, 3),
        "limit_s": 0.3,
        "passed": middle <= 0.3,
    }
