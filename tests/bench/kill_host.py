"""Kills the host again and again; its worker must save and leave, and the next host go on.

    python tests/bench/kill_host.py --data FILE [--kills 20] [--steps 60] [--out FILE]

With dropout, packing and a save every few steps, the adapter of the killed run must be the same
file as that of a run that was left alone. Figures: seconds until the worker had left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
from kill_resume import digest, spec_for
from measure import private_home

from engine.client import Client, Refused, connect
from engine.contract.messages import Done, Resume, Show, Start, Step

LEAVE_SECONDS = 30.0


def main() -> int:
    from engine.worker.sample_model import write_sample_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # Each resume is asked for here, so that it falls between two kills.
    os.environ["FETTLE_RESUME_AUTOMATICALLY"] = "off"
    with tempfile.TemporaryDirectory() as base, private_home():
        model = write_sample_model(Path(base) / "model", hidden=32)
        spec = spec_for(model, options.data.resolve(), options.steps)
        calm = undisturbed(spec)
        killed, seconds, steps = kill_until_done(spec, options.kills, options.steps)
        report = {
            "kills": len(steps),
            "killed_at_step": steps,
            "worker_left_after_seconds": [round(value, 2) for value in seconds],
            "longest_seconds": round(max(seconds), 2),
            "identical": digest(calm) == digest(killed),
            "one_point_a_step": points(killed) == list(range(1, options.steps + 1)),
        }
    report["passed"] = report["identical"] and max(seconds) <= LEAVE_SECONDS
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if report["passed"] else 1


def undisturbed(spec: dict[str, Any]) -> Path:
    """The folder of a run that was left alone."""
    with connect() as host:
        started = host.request(Start(id=0, spec=spec))
        assert until_done(host, started["run"]).outcome == "finished"
    return Path(started["folder"])


def kill_until_done(
    spec: dict[str, Any], kills: int, steps: int
) -> tuple[Path, list[float], list[int]]:
    """Run the spec, killing its host at random moments; folder, seconds to leave, steps."""
    dice = random.Random(0)
    seconds, killed_at = [], []
    with connect() as host:
        started = host.request(Start(id=0, spec=spec))
    run, stride = started["run"], max(2, steps // kills - 1)
    for _ in range(kills):
        with connect() as host:
            at = live_a_while(host, run, dice.randint(1, stride))
            if at is None:
                break
            time.sleep(dice.uniform(0, 0.2))
            seconds.append(kill(host))
            killed_at.append(at)
        with connect() as host:
            if not resumed(host, run):
                break
    with connect() as host:
        assert last_done(host, run).outcome == "finished"
    return Path(started["folder"]), seconds, killed_at


def resumed(host: Client, run: str) -> bool:
    """Resume the run; False if its worker got to the end without its host."""
    try:
        host.request(Resume(id=0, run=run))
    except Refused as refused:
        if refused.code != "wrong_state":
            raise
        return False
    return True


def live_a_while(host: Client, run: str, count: int) -> int | None:
    """Wait for so many new steps; gives the step, None if the run ended first."""
    since = int(host.request(Show(id=0, run=run))["summary"].get("step", 0))
    seen = 0
    for message in host.follow(run):
        if isinstance(message, Done) and message.outcome == "finished":
            return None
        if isinstance(message, Step) and message.step > since:
            seen += 1
            if seen >= count:
                return message.step
    raise AssertionError("the host went away by itself")


def kill(host: Client) -> float:
    """Kill the host; seconds until its workers are gone."""
    process = psutil.Process(host_pid())
    workers = process.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    began = time.monotonic()
    _, alive = psutil.wait_procs(workers, timeout=2 * LEAVE_SECONDS)
    assert not alive, alive
    host.close()
    return time.monotonic() - began


def host_pid() -> int:
    """The process that serves this home."""
    home = os.environ["FETTLE_HOME"]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[-2:] == ["engine", "host"] and process.environ().get("FETTLE_HOME") == home:
            return int(process.pid)
    raise AssertionError("there is no host")


def until_done(host: Client, run: str) -> Done:
    """The end of the run's last attempt."""
    since = int(host.request(Show(id=0, run=run)).get("seq", 0))
    for message in host.follow(run, since):
        if isinstance(message, Done) and message.outcome == "finished":
            return message
    raise AssertionError("the host went away")


def last_done(host: Client, run: str) -> Done:
    """The end of the run, whether it is still to come or past."""
    for message in host.follow(run):
        if isinstance(message, Done) and message.outcome == "finished":
            return message
    raise AssertionError("the host went away")


def points(folder: Path) -> list[int]:
    """Steps in the journal, each one's newest."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted({row["step"] for row in map(json.loads, lines) if row["type"] == "step"})


if __name__ == "__main__":
    sys.exit(main())
