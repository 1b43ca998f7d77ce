"""Kills a training worker again and again, resumes it, and compares the result byte by byte.

    python tests/bench/kill_resume.py --kills 20

One run is left alone; the other is killed with SIGKILL at random moments (import, loading, steps,
saves, evaluation, writing the result) and resumed from its newest sound checkpoint each time. With
dropout, packing and a save every few steps, both adapters must be the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.contract.messages import Done, PhaseChanged, Step
from engine.store.checkpoints import newest_verified
from tests.worker.harness import Worker, job, train

SAVE_STEPS = 4


def kill_until_done(
    folder: Path, spec: dict[str, Any], kills: int, stride: int, seed: int = 0
) -> list[int]:
    """Run the spec in ``folder``, killing it ``kills`` times; gives the step of each kill.

    Most kills come up to ``stride`` steps after a start, some already while it prepares, all with a
    random delay within a step.
    """
    dice = random.Random(seed)
    killed_at: list[int] = []
    for attempt in range(1, kills + 2):
        sound = newest_verified(folder) if folder.exists() else None
        checkpoint = str(sound.folder) if sound and sound.folder else None
        with Worker(folder.parent / "idle.log") as worker:
            worker.send(job(folder, spec, attempt=attempt, checkpoint=checkpoint))
            if attempt <= kills:
                _live_a_while(worker, dice, stride)
                worker.process.send_signal(signal.SIGKILL)
            done = worker.until(lambda message: isinstance(message, Done))
            steps = worker.of(Step)
            if attempt <= kills:
                killed_at.append(steps[-1].step if steps else -1)
        assert attempt <= kills or (isinstance(done, Done) and done.outcome == "finished"), done
    return killed_at


def _live_a_while(worker: Worker, dice: random.Random, stride: int) -> None:
    kind, count = (PhaseChanged, 2) if dice.random() < 0.2 else (Step, stride)
    wanted = dice.randint(1, count)
    worker.until(lambda _: len(worker.of(kind)) >= wanted)
    time.sleep(dice.uniform(0, 0.2))


def spec_for(model: Path, data: Path, steps: int = 60) -> dict[str, Any]:
    """A run with everything that is random: dropout, packing, held-back rows."""
    return {
        "name": "kill",
        "model": {"path": str(model)},
        "lora": {"r": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj", "up_proj"]},
        "dataset": {"path": str(data)},
        "training": {
            "max_steps": steps, "max_length": 128, "packing": True, "save_steps": SAVE_STEPS,
            "eval_steps": 10, "learning_rate": 2e-3, "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
        },
    }  # fmt: skip


def digest(folder: Path) -> str:
    """sha256 of the adapter."""
    return hashlib.sha256((folder / "output/adapter_model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    from engine.worker.sample_model import write_sample_model

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        model = write_sample_model(base / "model", hidden=32)
        spec = spec_for(model, options.data.resolve(), options.steps)
        began = time.monotonic()
        train(base / "calm", spec)
        # On average each life gets a little farther than its share, so that kills fall on the
        # whole run, on its last save and on writing the result.
        stride = 2 * options.steps // options.kills + SAVE_STEPS
        killed = kill_until_done(base / "killed", spec, options.kills, stride, options.seed)
        same = digest(base / "calm") == digest(base / "killed")
        result = {
            "kills": len(killed), "killed_at_step": killed, "identical": same,
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip
    print(json.dumps(result))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
