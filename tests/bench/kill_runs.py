"""Runs of every kind, each killed once or more at random moments: worker, host, both, or a client.

    python tests/bench/kill_runs.py [--runs 200] [--seed 0] [--minutes N] [--out FILE]

Every run is one of LoRA, QLoRA and full, with packing, dropout and accumulation as the dice say. A
run of its recipe that nobody touched comes first; after each kill the run is resumed with one
request, as by one click, until it is finished. All of them must end in the very bytes of their
untouched run.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
from kill_host import host_pid, resumed
from measure import private_home

from engine.client import Client, connect
from engine.contract.lifecycle import LIVE, RESTING, State
from engine.contract.messages import ListRuns, Show, Start

STEPS = 24
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {"lora": {"r": 4}},
    "QLoRA": {"lora": {"r": 4}, "quantization": {"bits": 4}},
    "full": {},
}
VICTIMS = ("worker", "host", "both", "window")
PATIENCE_SECONDS = 300.0


def recipes(model: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Every mixture of kind, packing, dropout and accumulation that there is."""
    found = {}
    for kind, packing, dropout, accumulation in itertools.product(KINDS, (0, 1), (0, 1), (1, 3)):
        spec: dict[str, Any] = {
            "name": "kill", "model": {"path": str(model)}, "dataset": {"path": str(data)},
            "training": {
                "max_steps": STEPS, "max_length": 64, "packing": bool(packing), "save_steps": 3,
                "learning_rate": 1e-3, "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": accumulation,
            },
            **json.loads(json.dumps(KINDS[kind])),
        }  # fmt: skip
        if dropout and "lora" not in spec:
            continue
        if dropout:
            spec["lora"]["lora_dropout"] = 0.2
        name = f"{kind}, packing {packing}, dropout {dropout}, accumulation {accumulation}"
        found[name] = spec
    return found


def digest(folder: Path) -> str:
    """sha256 of all weights of the result."""
    found = hashlib.sha256()
    for path in sorted((folder / "output").glob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()


def start(spec: dict[str, Any]) -> tuple[str, Path]:
    """Begin a run."""
    with connect() as host:
        reply = host.request(Start(id=0, spec=spec))
    return reply["run"], Path(reply["folder"])


def state_of(host: Client, run: str) -> State:
    """Where the run is."""
    return State(host.request(Show(id=0, run=run))["summary"]["state"])


def finish(run: str) -> int:
    """Resume the run whenever it rests, until it is finished; gives how often that was."""
    count, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with connect() as host:
            state = state_of(host, run)
            if state is State.FINISHED:
                return count
            if state in RESTING:
                count += resumed(host, run)
        time.sleep(0.1)
    raise AssertionError(f"{run} does not end")


def await_state(run: str, wanted: frozenset[State]) -> None:
    """Until the run is in one of these states or finished; resumes it where it rests."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with connect() as host:
        while (state := state_of(host, run)) not in wanted | {State.FINISHED}:
            if time.monotonic() > deadline:
                raise AssertionError(f"{run} is never {sorted(wanted)}")
            if state in RESTING:
                resumed(host, run)
            time.sleep(0.02)


def strike(run: str, victim: str, dice: random.Random) -> bool:
    """Kill somebody at a random moment of an attempt: while its worker begins, or trains. Whether
    the run was at work just before."""
    begins = dice.random() < 0.25
    await_state(run, LIVE if begins else frozenset({State.TRAINING}))
    time.sleep(dice.uniform(0, 6 if begins else 2.5))
    with connect() as host:
        is_at_work = state_of(host, run) in LIVE
    kill(run, victim, dice)
    return is_at_work


def kill(run: str, victim: str, dice: random.Random) -> None:
    """Send SIGKILL to whoever is named."""
    if victim == "window":
        watcher = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "follow", run],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(dice.uniform(0.2, 1.0))
        watcher.kill()
        watcher.wait()
        return
    host = psutil.Process(host_pid())
    workers = host.children(recursive=True)
    wanted = {"worker": workers, "host": [host], "both": [host, *workers]}[victim]
    for process in wanted:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(wanted, timeout=30)


def one(
    spec: dict[str, Any], wanted: str, victims: list[str], dice: random.Random
) -> tuple[bool, list[str]]:
    """Whether a run that was killed ended as the one that was not, and who was killed while it was
    at work."""
    run, folder = start(spec)
    struck = [victim for victim in victims if strike(run, victim, dice)]
    finish(run)
    return digest(folder) == wanted, struck


def main() -> int:
    from engine.worker.sample_model import write_sample_model

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="begin no run after so long")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    began, dice = time.monotonic(), random.Random(options.seed)
    killed: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    different, missed = [], 0
    # Each resume is asked for here.
    os.environ["FETTLE_RESUME_AUTOMATICALLY"] = "off"
    # Faster than life, and still with time between the steps to be killed in.
    os.environ["FETTLE_FAILPOINTS"] = "worker.step=sleep(0.03)"
    with tempfile.TemporaryDirectory() as name, private_home():
        base = Path(name)
        data = base / "chats.jsonl"
        rows = [{"prompt": f"Say {n}", "completion": f"{n} " * (1 + n % 9)} for n in range(60)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = write_sample_model(base / "model", hidden=32, vocab=600)
        mixtures = recipes(model, data)
        calm: dict[str, str] = {}
        for number in range(options.runs):
            if options.minutes and time.monotonic() - began > 60 * options.minutes:
                break
            mixture = dice.choice(sorted(mixtures))
            if mixture not in calm:
                run, folder = start(mixtures[mixture])
                finish(run)
                calm[mixture] = digest(folder)
            victims = [dice.choice(VICTIMS) for _ in range(dice.choice((1, 1, 2)))]
            same, struck = one(mixtures[mixture], calm[mixture], victims, dice)
            killed.update(struck)
            missed += not struck
            kinds[mixture.partition(",")[0]] += 1
            if not same:
                different.append([number, mixture, victims])
            print(number, mixture, struck, "identical" if same else "DIFFERENT", flush=True)
        with connect() as host:
            left = len(host.request(ListRuns(id=0))["runs"])
    report = {
        "runs": kinds.total(), "identical": kinds.total() - len(different), "killed": dict(killed),
        "killed_too_late": missed,
        "kinds": dict(kinds), "mixtures": len(calm), "different": different, "runs_in_all": left,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(different) or not kinds.total())


if __name__ == "__main__":
    sys.exit(main())
