"""Opening a run of a million steps: until its curve is whole, and the longest block meanwhile."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import windowed
from measure import private_home

STEPS = 1_000_000


def write_run(home: Path) -> str:
    """A finished run of a million steps, written by the store's own journal."""
    from engine.contract.lifecycle import State
    from engine.contract.messages import Done, StateChanged, Step
    from engine.store import runs
    from engine.store.journal import Journal

    now = datetime.now(tz=UTC)
    folder = runs.create(home / "runs", name="big", spec=windowed.spec(home), versions={}, now=now)
    journal = Journal(folder, folder.name)
    journal.append(StateChanged(at=1.7e9, state=State.QUEUED))
    for step in range(1, STEPS + 1):
        journal.append(
            Step(at=1.7e9 + step, step=step, loss=2 + 1 / step, learning_rate=1e-4, grad_norm=1.0,
                 step_ms=1000.0, tokens=512, target_tokens=400, samples_seen=8 * step)
        )  # fmt: skip
    journal.append(StateChanged(at=1.7e9 + STEPS, state=State.STOPPED))
    journal.append(Done(at=1.7e9 + STEPS, outcome="stopped", step=STEPS, folder=str(folder)))
    journal.close()
    return folder.name


def run() -> dict[str, Any]:
    with private_home() as home:
        name = write_run(home)
        opened = windowed.open_window(None)
        page = opened.run_page()
        windowed.spin(2.0)
        blocks = windowed.Blocks()
        begun = time.perf_counter()
        opened.app.window.open_run(name)
        windowed.wait_for(lambda: page.feed.is_caught_up, 60)
        seconds = time.perf_counter() - begun
        windowed.spin(0.5)
        shown = len(page.feed.series.steps)
        opened.close()
    return {
        "steps": STEPS,
        "steps_shown": shown,
        "seconds": round(seconds, 3),
        "longest_block_ms": round(blocks.longest_ms, 1),
        "limits": {"seconds": 1.0, "longest_block_ms": 50.0},
        "passed": seconds <= 1.0 and blocks.longest_ms <= 50.0 and shown == STEPS,
    }
