"""What the resume certificate costs: at each save, and at a resume, beside a step and a save.

    python tests/bench/certificate_cost.py [--hidden 512] [--steps 12]

Trains a model of some size here, with a save at every second step, and takes the time of what is
taken down and replayed for it, and of the certificate at the resume.
Writes results/certificate_cost.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from engine.contract.messages import CheckpointSaved, ResumeCertificate, Step
from engine.paths import RESOURCES
from engine.worker.sample_model import write_sample_model
from engine.worker.witness import Witness
from tests.worker.conftest import Heard, run_here

RESULTS = Path(__file__).parent / "results" / "certificate_cost.json"


def spec(model: Path, *, steps: int, lora: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "cost",
        "model": {"path": str(model)},
        "dataset": {"path": str(RESOURCES / "samples" / "demo.jsonl"), "eval_fraction": 0.0},
        "training": {
            "max_steps": steps, "max_length": 256, "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2, "save_steps": 2, "save_minutes": 0.0,
            "save_total_limit": 100, "gradient_checkpointing": "none",
        },
    }  # fmt: skip
    if lora:
        made["lora"] = {"r": 16, "lora_dropout": 0.1}
    return made


class Timed:
    """A method, and the seconds of its calls."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.seconds: list[float] = []

    def __call__(self, *args: Any) -> Any:
        began = time.perf_counter()
        found = self.real(*args)
        self.seconds.append(time.perf_counter() - began)
        return found


def measure(model: Path, folder: Path, *, steps: int, lora: bool) -> dict[str, Any]:
    """Medians in milliseconds."""
    facts, replays = Timed(Witness._facts), Timed(Witness._replay)
    Witness._facts = lambda *args: facts(*args)  # type: ignore[method-assign]
    Witness._replay = lambda *args: replays(*args)  # type: ignore[method-assign]
    report, again = Heard(), Heard()
    try:
        run_here(folder, spec(model, steps=steps, lora=lora), report)
        # The first one has a replay for certain.
        checkpoint = folder / "checkpoints" / "step-00000002"
        run_here(
            folder / "again", spec(model, steps=steps, lora=lora), again, checkpoint=str(checkpoint)
        )
    finally:
        Witness._facts, Witness._replay = facts.real, replays.real  # type: ignore[method-assign]
    (certificate,) = again.of(ResumeCertificate)
    step_ms = statistics.median(step.step_ms for step in report.of(Step)[1::2])
    saves = report.of(CheckpointSaved)
    found = {
        "facts_ms": 1000 * statistics.median(facts.seconds),
        "replay_ms": 1000 * statistics.median(replays.seconds),
        "replays": len(replays.seconds),
        "certificate_ms": 1000 * certificate.seconds,
        "step_ms": step_ms,
        "save_stall_ms": 1000 * statistics.median(save.stall_seconds for save in saves),
        "save_ms": 1000 * statistics.median(save.seconds for save in saves),
        "verdict": certificate.verdict,
        "loss_difference": certificate.loss - certificate.loss_before,
        "witness_bytes": (checkpoint / "witness.json").stat().st_size,
    }
    found["replay_part_of_step"] = found["replay_ms"] / step_ms
    found["part_of_time_at_5_minutes"] = (found["facts_ms"] + found["replay_ms"]) / 300_000
    report.close()
    again.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    asked = parser.parse_args()
    results: dict[str, Any] = {"hidden": asked.hidden, "layers": asked.layers}
    results["threads"] = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as home:
        model = Path(home) / "model"
        write_sample_model(model, hidden=asked.hidden, layers=asked.layers, vocab=8000)
        for name, lora in (("lora", True), ("full", False)):
            folder = Path(home) / name
            results[name] = measure(model, folder, steps=asked.steps, lora=lora)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
