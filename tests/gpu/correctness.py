"""Every way of training on a CUDA card with real workers on a small random model; one is killed."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine.contract.messages import Done, Step
from engine.store.checkpoints import newest_verified
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
