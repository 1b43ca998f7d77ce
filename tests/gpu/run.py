"""Everything that needs a CUDA card: ``python tests/gpu/run.py [--out FILE]``.

Trains a small random model every way Fettle has with real workers, kills and resumes one of them,
then sets plans beside measured peaks (:mod:`prediction`), and writes what was seen as JSON: device,
versions, a row a case. Exit code 1 if a case fails or the plans miss their aims, 2 if there is no
card (``--cpu`` tries the script itself without one).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import prediction
import torch
from card import device

from engine.contract.messages import Done, Step
from engine.store.checkpoints import newest_verified
from engine.worker.main import prepare_environment
from tests.worker.harness import Worker, job, train

STEPS = 12
AT_ONCE = 6
"""Workers that share the card; their models are tiny."""
CASES: dict[str, dict[str, Any]] = {
    "lora bf16": {"lora": {}, "training": {"precision": "bf16"}},
    "lora fp16": {"lora": {}, "training": {"precision": "fp16"}},
    "lora fp32": {"lora": {}, "training": {"precision": "fp32"}},
    "qlora 4-bit": {"lora": {}, "quantization": {"bits": 4}},
    "lora 8-bit": {"lora": {}, "quantization": {"bits": 8}},
    "full bf16": {"training": {"precision": "bf16", "learning_rate": 1e-3}},
    "packing": {"lora": {}, "training": {"packing": True}},
    "offload": {"lora": {}, "training": {"gradient_checkpointing": "offload"}},
    "offload, safe mode": {
        "lora": {},
        "training": {"gradient_checkpointing": "offload"},
        "hardware": {"safe_mode": "on"},
    },
    "8-bit optimizer": {"lora": {}, "training": {"optim": "adamw_8bit"}},
    "paged optimizer": {"lora": {}, "training": {"optim": "paged_adamw_8bit"}},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--only", choices=["cases", "prediction"])
    parser.add_argument("--minutes", type=float, default=7.0, help="for the plans")
    wanted = parser.parse_args()
    if not torch.cuda.is_available() and not wanted.cpu:
        print("There is no CUDA device here.", file=sys.stderr)
        return 2
    prepare_environment()
    report: dict[str, Any] = {"taken_at": time.strftime("%Y-%m-%d"), **device()}
    if wanted.only != "prediction":
        report["cases"] = correctness()
    if wanted.only != "cases":
        report["prediction"] = prediction.study("cpu" if wanted.cpu else "cuda", wanted.minutes)
    text = json.dumps(report, indent=1)
    print(text)
    if wanted.out:
        wanted.out.write_text(text + "\n", encoding="utf-8")
    return 0 if '"passed": false' not in text else 1


def correctness() -> list[dict[str, Any]]:
    """A row for every way of tuning, and one for a run that is killed."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        spec = base_spec(base)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            killed = pool.submit(kill_and_resume, base, merged(spec, CASES["lora bf16"]))
            names, changes = zip(*CASES.items(), strict=True)
            specs = [merged(spec, change) for change in changes]
            rows = list(pool.map(try_case, [base] * len(names), names, specs))
            return [*rows, killed.result()]


def base_spec(base: Path) -> dict[str, Any]:
    """A small model, wide enough for 4-bit blocks, and rows of unequal length."""
    from engine.worker.sample_model import write_sample_model

    model = write_sample_model(base / "model", family="llama", hidden=256, layers=4)
    rows = [
        {"instruction": f"Count to {n}.", "input": "", "output": " ".join(map(str, range(n)))}
        for n in range(4, 84)
    ]
    data = base / "rows.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    return {
        "name": "gpu",
        "model": {"path": str(model)},
        "dataset": {"path": str(data)},
        "training": {
            "max_steps": STEPS,
            "max_length": 256,
            "learning_rate": 5e-3,
            "save_steps": 3,
            "warmup_steps": 0.0,
        },
    }


def merged(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The spec with tables added to."""
    return spec | {name: {**spec.get(name, {}), **table} for name, table in changes.items()}


def try_case(base: Path, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One run to its end; it passes if it learns and its gradients are no zeros."""
    folder = base / name.replace(" ", "-")
    try:
        worker = train(folder, spec)
    except AssertionError as error:
        return {"case": name, "passed": False, "error": str(error)[-1500:]}
    steps: list[Step] = worker.of(Step)
    losses = [math.nan if step.loss is None else step.loss for step in steps]
    peaks = [step.vram_peak_bytes or 0 for step in steps]
    return {
        "case": name,
        "passed": losses[-1] < losses[0] and all((step.grad_norm or 0) > 0 for step in steps[2:]),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "median_step_ms": round(statistics.median(step.step_ms for step in steps[2:]), 2),
        "peak_vram_bytes": max(peaks),
    }


def kill_and_resume(base: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """A run killed at step 8 and resumed, beside one left alone: the losses must agree."""
    try:
        return _killed_and_resumed(base, spec)
    except (AssertionError, KeyError) as error:
        return {"case": "kill and resume", "passed": False, "error": str(error)[-1500:]}


def _killed_and_resumed(base: Path, spec: dict[str, Any]) -> dict[str, Any]:
    calm = losses_of(train(base / "calm", spec))
    folder = base / "killed"
    with Worker(base / "idle.log") as worker:
        worker.send(job(folder, spec))
        worker.until(lambda message: isinstance(message, Step) and message.step >= 8)
        worker.kill()
    found = newest_verified(folder)
    with Worker(base / "idle.log") as worker:
        worker.send(job(folder, spec, attempt=2, checkpoint=str(found.folder)))
        worker.until(lambda message: isinstance(message, Done))
        again = losses_of(worker)
    gap = max(abs(again[step] - calm[step]) / calm[step] for step in again)
    return {
        "case": "kill and resume",
        "passed": gap < 1e-3 and bool(again),
        "resumed_from_step": found.step,
        "largest_relative_gap": gap,
        "identical": gap == 0.0,
    }


def losses_of(worker: Worker) -> dict[int, float]:
    """Loss by step."""
    return {step.step: step.loss for step in worker.of(Step)}


if __name__ == "__main__":
    sys.exit(main())
