"""Workers that stand still, and workers that are only slow: what the watch makes of each.

    python tests/bench/stalls.py [--scale 0.1] [--only hang,stop]

Each run of the real worker on a tiny model meets one fault; the fixed times of the watch are scaled
down. One that stands still must be found within its budget, with its stacks, be resumed, and end
with the very adapter of the undisturbed run. One that is slow must end without a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.diagnosis.watchdog import STEP_SECONDS
from tests.e2e.cli_driver import Fettle, Result
from tests.e2e.test_comeback_real import Bench

RESULTS = Path(__file__).with_name("results") / "stalls.json"
STUCK = {
    "hang": "worker.step:4=hang",
    "hang_gil": "worker.step:4=hang_gil",
    "stop": "worker.step:4=stop",
    "deadlock": "worker.step:4=deadlock",
    "block": "worker.step:4=block",
}
"""Standing still: Python's sleep, a loop in C, SIGSTOP, a lock, a pipe that nobody reads."""
SLOW = {
    "load": "worker.load=sleep({long})",
    "tokenise": "worker.tokenise=sleep({long})",
    "first_step": "worker.step:1=sleep({long})",
    "evaluate": "worker.evaluate=sleep({long})",
    "output": "worker.output=sleep({long})",
    "step": "worker.step:4=sleep({short})",
    "steps": "worker.step:3=sleep({short});worker.step:5=sleep({short})",
    "save": "save.write:2=sleep({long})",
    "copy": "save.copy:2=sleep({long})",
    "last_save": "save.seal:3=sleep({long})",
    "sync": "save.sync:2=sleep({long})",
    "publish": "save.publish:2=sleep({long})",
}
"""Slow and alive: long in a generous phase, a step of half its budget."""
_EVALUATING = ("--set", "dataset.eval_fraction=0.1", "--set", "training.eval_steps=2")


def train(bench: Bench, name: str, failpoints: str, scale: float) -> tuple[Result, float]:
    """A run that meets the fault once."""
    fettle = Fettle(
        bench.home, FETTLE_IDLE_SECONDS="120", FETTLE_RESUME_AUTOMATICALLY="on",
        FETTLE_RESUME_SECONDS="0.1", FETTLE_WATCHDOG_SCALE=str(scale),
        FETTLE_FAILPOINTS=failpoints, FETTLE_FAILPOINTS_ONCE=str(bench.home / f"struck-{name}"),
    )  # fmt: skip
    began = time.monotonic()
    result = bench.train(fettle, *_EVALUATING)
    bench.end_host()
    return result, time.monotonic() - began


def adapter_of(result: Result) -> bytes:
    """What the run made."""
    return (Path(result.last["output"]) / "adapter_model.safetensors").read_bytes()


def outcome(
    bench: Bench, name: str, result: Result, seconds: float, free: Result
) -> dict[str, Any]:
    """What became of a run, in figures."""
    stalls = [found for found in result.of_type("finding") if found["code"] == "stalled"]
    return {
        "fault": name,
        "struck": (bench.home / f"struck-{name}").exists(),
        "found": len(stalls),
        "silent_seconds": [int(stall["title"].split()[4]) for stall in stalls],
        "has_stacks": [bool(stall.get("detail")) for stall in stalls],
        "causes": [stall["cause"] for stall in stalls],
        "finished": result.last["outcome"] == "finished",
        "identical": adapter_of(result) == adapter_of(free),
        "attempts": result.last.get("attempt", 1),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--only", default="", help="names of faults, with commas")
    arguments = parser.parse_args()
    budget = STEP_SECONDS * arguments.scale
    times = {"long": f"{2 * budget:.1f}", "short": f"{budget / 2:.1f}"}
    wanted = set(arguments.only.split(",")) - {""}
    bench = Bench()
    found: list[dict[str, Any]] = []
    try:
        free, _ = train(bench, "free", "", 1.0)
        for name, failpoints in {**STUCK, **SLOW}.items():
            if wanted and name not in wanted:
                continue
            result, seconds = train(bench, name, failpoints.format(**times), arguments.scale)
            found.append({**outcome(bench, name, result, seconds, free), "is_stall": name in STUCK})
            print(json.dumps(found[-1]), flush=True)
    finally:
        bench.end_host()
        shutil.rmtree(bench.home, ignore_errors=True)
    missed = [f["fault"] for f in found if not f["struck"] or (f["is_stall"] and not f["found"])]
    false = [f["fault"] for f in found if not f["is_stall"] and f["found"]]
    other = [f["fault"] for f in found if not (f["finished"] and f["identical"])]
    figures = {
        "scale": arguments.scale, "budget_seconds": budget, "cpus": os.cpu_count(),
        "load": os.getloadavg()[0], "missed": missed, "false_alarms": false,
        "not_identical": other, "runs": found,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"missed {missed}, false alarms {false}, not identical {other}: {RESULTS}")
    return 1 if missed or false or other else 0


if __name__ == "__main__":
    sys.exit(main())
