"""What saves and resumes cost, beside the stock trainer and beside a fresh start.

    python tests/bench/saving_costs.py [--hidden 512] [--repeats 3] [--out FILE]

- memory: the most that a resumed run takes, beside the run that it goes on from (tensors and
  resident memory), for LoRA, QLoRA, full with 8-bit and with 32-bit Adam;
- stall: how long training stands still for a save, beside ``Trainer._save_checkpoint`` of the very
  same trainer, and what share of the time a save every 60 s takes, steps that are slower while it
  is written included;
- resume: from the job to the first new step, beside a fresh start, each in a warm worker;
- position: finding the place in the data at sample 1 000 000, beside sample 10.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import machine

FAR, NEAR, ROWS = 1_000_000, 10, 20_000
RECIPES: dict[str, dict[str, Any]] = {
    "LoRA": {"lora": {"r": 64}},
    "QLoRA": {"lora": {"r": 64}, "quantization": {"bits": 4}},
    "full, 8-bit Adam": {"lora": None, "training": {"optim": "adamw_8bit"}},
    "full, 32-bit Adam": {"lora": None, "training": {"optim": "adamw_torch"}},
}  # fmt: skip


def spec_for(recipe: str, model: Path, data: Path, **training: Any) -> dict[str, Any]:
    """A short run of a recipe."""
    spec: dict[str, Any] = {
        "name": "cost", "model": {"path": str(model)}, "dataset": {"path": str(data)},
        "training": {
            "max_steps": 6, "max_length": 64, "save_minutes": 0.0, "save_steps": 3,
            "save_total_limit": 9, "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2, **training,
        },
    }  # fmt: skip
    for name, table in RECIPES[recipe].items():
        if table is not None:
            spec[name] = {**spec.get(name, {}), **table}
    return spec


# ---------------------------------------------------------------- in a process of its own


def child(request: dict[str, Any]) -> dict[str, Any]:
    """One run; its peaks, its stalls and, if asked, the stall of the stock trainer's save."""
    from engine.contract.messages import CheckpointSaved, Step
    from engine.worker import train_job
    from tests.worker.conftest import Heard, run_here

    report = Heard()
    stock: list[float] = []
    if request.get("stock"):
        real = train_job._end

        def end(*arguments: Any) -> Any:
            stock.extend(_stock_saves(arguments[2], Path(request["folder"]) / "stock"))
            return real(*arguments)

        train_job._end = end
    done = run_here(
        Path(request["folder"]), request["spec"], report, checkpoint=request.get("checkpoint")
    )
    pools = {pool["pool"]: pool["measured_bytes"] for pool in done.data.get("pools", [])}
    saved = report.of(CheckpointSaved)
    return {
        "pools": pools, "stock_seconds": stock, "bytes": saved[-1].bytes if saved else 0,
        "stall_seconds": [each.stall_seconds for each in saved],
        "write_seconds": [each.seconds for each in saved],
        "step_seconds": [each.step_ms / 1000 for each in report.of(Step)],
    }  # fmt: skip


def _stock_saves(trainer: Any, folder: Path) -> list[float]:
    """Seconds that training would stand still for each of three saves of transformers' own."""
    trainer.args.output_dir = str(folder)
    seconds = []
    for number in range(3):
        trainer.state.global_step = 1000 + number
        began = time.monotonic()
        trainer._save_checkpoint(trainer.model, None)
        seconds.append(time.monotonic() - began)
    shutil.rmtree(folder, ignore_errors=True)
    return seconds


def apart(request: dict[str, Any], **environment: str) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(request)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- the four questions


def memory(base: Path, model: Path, data: Path) -> dict[str, Any]:
    """Peaks of resumed runs as multiples of those of the runs that they go on from."""
    from engine.store.checkpoints import published

    found = {}
    for number, recipe in enumerate(RECIPES):
        folder = base / f"memory-{number}"
        request = {"folder": str(folder), "spec": spec_for(recipe, model, data)}
        fresh = apart(request, FETTLE_METER="1")["pools"]
        request["checkpoint"] = str(published(folder)[0][1])
        resumed = apart(request, FETTLE_METER="1")["pools"]
        found[recipe] = {
            pool: {"trained_bytes": fresh[pool], "resumed_bytes": resumed[pool],
                   "ratio": round(resumed[pool] / fresh[pool], 4)}
            for pool in ("tensors", "ram")
        }  # fmt: skip
        print(recipe, found[recipe], flush=True)
    return found


EVERY, SAVES = 10, 6


def stall(base: Path, model: Path, data: Path) -> dict[str, Any]:
    """How long training stands still."""
    found = {}
    for number, recipe in enumerate(("LoRA", "full, 32-bit Adam")):
        spec = spec_for(recipe, model, data, max_steps=EVERY * SAVES, save_steps=EVERY)
        told = apart({"folder": str(base / f"stall-{number}"), "spec": spec, "stock": True})
        # The first save makes its room, the last is waited for.
        ours = statistics.median(told["stall_seconds"][1:-1])
        stock = statistics.median(told["stock_seconds"])
        slowed = slower_steps(told["step_seconds"])
        found[recipe] = {
            "checkpoint_bytes": told["bytes"], "ours_seconds": round(ours, 4),
            "stock_seconds": round(stock, 4), "ratio": round(ours / stock, 4),
            "slower_steps_seconds": round(slowed, 4),
            "share_of_the_time_at_a_save_every_60_s": round((ours + slowed) / 60, 6),
            "written_in_seconds": round(statistics.median(told["write_seconds"]), 3),
            "step_seconds": round(statistics.median(told["step_seconds"]), 4),
        }  # fmt: skip
        print(recipe, found[recipe], flush=True)
    return found


def slower_steps(seconds: list[float]) -> float:
    """What the steps after a save take beyond the usual, together; the median over all saves."""
    parts = [seconds[at : at + EVERY] for at in range(EVERY, len(seconds), EVERY)]
    usual = statistics.median(second for part in parts for second in part[EVERY // 2 :])
    return statistics.median(sum(part) - usual * len(part) for part in parts)


def resume(base: Path, model: Path, data: Path, repeats: int) -> dict[str, Any]:
    """Seconds from the job to the first new step, in warm workers; the check of the save counts."""
    from engine.contract.messages import Ready, Step
    from engine.store.checkpoints import newest_verified, published
    from tests.worker.harness import Worker, job, train

    spec = spec_for("LoRA", model, data)
    train(base / "first", spec)
    for _, folder in published(base / "first")[1:]:
        shutil.rmtree(folder)
    seconds: dict[str, list[float]] = {"fresh": [], "resumed": []}
    for number in range(repeats):
        for kind, found in seconds.items():
            run = base / f"{kind}-{number}"
            if kind == "resumed":
                shutil.copytree(base / "first", run)
            with Worker(base / "idle.log") as worker:
                worker.until(lambda message: isinstance(message, Ready))
                began = time.monotonic()
                checkpoint = newest_verified(run).folder
                start = str(checkpoint) if checkpoint else None
                worker.send(job(run, spec, checkpoint=start))
                worker.until(lambda message: isinstance(message, Step))
                found.append(time.monotonic() - began)
                worker.kill()
    best = {kind: min(found) for kind, found in seconds.items()}
    # One right after the other: both see the same weather of a shared machine.
    ratios = [b / a for a, b in zip(seconds["fresh"], seconds["resumed"], strict=True)]
    return {**{f"{kind}_seconds": round(value, 3) for kind, value in best.items()},
            "ratio": round(statistics.median(ratios), 3),
            "ratio_of_rounds": [round(ratio, 3) for ratio in ratios],
            "ratio_of_best": round(best["resumed"] / best["fresh"], 3)}  # fmt: skip


def position() -> dict[str, Any]:
    """Microseconds to find the next rows, far into the data and at its beginning."""
    from engine.worker.schedule import Schedule

    schedule = Schedule(row_count=ROWS, batch=8, seed=1)
    seconds: dict[int, list[float]] = {NEAR: [], FAR: []}
    for _ in range(60):
        for cursor, found in seconds.items():
            began = time.perf_counter()
            next(schedule.turns(cursor))
            found.append(time.perf_counter() - began)
    near, far = (min(seconds[cursor]) for cursor in (NEAR, FAR))
    return {"near_us": round(1e6 * near, 1), "far_us": round(1e6 * far, 1),
            "ratio": round(far / near, 3)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["memory", "stall", "resume", "position"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    from engine.worker.sample_model import write_sample_model

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        data = base / "chats.jsonl"
        rows = [{"prompt": f"Say {n} twice", "completion": f"{n} {n} it is"} for n in range(80)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = write_sample_model(base / "model", hidden=options.hidden, layers=4, vocab=8000)
        questions = {
            "memory": lambda: memory(base, model, data),
            "stall": lambda: stall(base, model, data),
            "resume": lambda: resume(base, model, data, options.repeats),
            "position": position,
        }
        asked = [options.only] if options.only else list(questions)
        found = {name: questions[name]() for name in asked}
    text = json.dumps({"machine": machine(), **found}, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
