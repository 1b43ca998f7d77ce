"""How far off a plan is on a CUDA card; a part of ``tests/gpu/run.py``.

Models with the shapes of the catalogue and random weights train their heaviest steps with the real
trainer, and torch's peak is set beside the traced plan and beside what the closed formulas of other
programs say. The peak that torch counts is that of one process, so several cases share the card, as
many as their plans say it has room for. Without a card it is tried with tiny models: live tensors
beside the trace.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from rivals import RIVALS
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.contract.messages import Job
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.form import Form, Peak, Point, peak
from engine.planning.model_config import layout_of
from engine.worker import rehearse_job
from engine.worker.main import prepare_environment
from engine.worker.sample_model import write_sample_model
from engine.worker.trace import trace
from tests.worker.plain import Silent

MEDIAN_AIM, P99_AIM, UNDER_AIM = 0.02, 0.05, 0.02
"""Greatest median and 99th percentile of the error, and share of plans more than 1 % too low."""
SHAPES = (
    "meta-llama/Llama-3.1-8B",
    "google/gemma-2-2b",
    "meta-llama/Llama-3.2-1B",
    "Qwen/Qwen2.5-0.5B",
    "HuggingFaceTB/SmolLM2-360M",
)
TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "head_dim": 32,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048}  # fmt: skip
SIZES = ((1, 512), (2, 1024), (4, 2048), (1, 8192))
TINY_SIZES = ((1, 64), (2, 96))
SMALL_PARAMETERS = 1_500_000_000
"""Models up to this are also trained in full."""
AT_ONCE = 6
"""Processes."""
CONTEXT_BYTES = 700 << 20
"""What a process holds of the card beside torch's pool, for sharing it."""
SHARE_OF_CARD = 0.9
WORDS = 14_000


class Case(NamedTuple):
    """One configuration: a model's folder and the spec's tables."""

    shape: str
    bits: int
    batch: int
    length: int
    tables: dict[str, Any]

    def described(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"shape": self.shape, "bits": self.bits, "batch": self.batch, "length": self.length,
                **self.tables}  # fmt: skip


class Plan(NamedTuple):
    """What was foretold of a case."""

    form: Form
    point: Point
    peak: Peak


def cases(shape: str, parameters: int, sizes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """What is tried with a shape: the main ways at every size, the others at one."""
    lora = {"r": 16}
    for batch, length in sizes:
        for bits in (16, 8, 4):
            for mode in ("full", "none") if length <= 1024 else ("full",):
                training = {"gradient_checkpointing": mode}
                yield Case(shape, bits, batch, length, {"lora": lora, "training": training})
    batch, length = sizes[1]
    others: list[dict[str, Any]] = [
        {"lora": {"r": 128}},
        {"lora": {"r": 16, "use_dora": True}},
        {"lora": {"r": 16, "modules_to_save": ["lm_head"]}},
        {"lora": lora, "training": {"optim": "adamw_8bit"}},
        {"lora": lora, "training": {"optim": "adafactor"}},
        {"lora": lora, "training": {"gradient_checkpointing": "offload"}},
    ]
    if parameters <= SMALL_PARAMETERS:
        others += [{"training": {"optim": optim}} for optim in ("adamw_torch", "adamw_8bit")]
    for tables in others:
        yield Case(shape, 16, batch, length, tables)


# ---------------------------------------------------------------- the whole study


def study(kind: str, minutes: float) -> dict[str, Any]:
    """The summary, and a row for each case that was begun in time."""
    until = time.monotonic() + 60 * minutes
    shapes, sizes = (SHAPES, SIZES) if kind == "cuda" else (SHAPES[1:4], TINY_SIZES)
    memory = Path("/dev/shm") if kind == "cuda" else None
    with (
        tempfile.TemporaryDirectory(prefix="fettle-study-", dir=memory) as folder,
        ProcessPoolExecutor(
            AT_ONCE if kind == "cuda" else 1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare_environment,
        ) as pool,
    ):
        base = Path(folder)
        made = [pool.submit(write_model, base / name_of(shape), shape, kind) for shape in shapes]
        wanted = [
            case
            for shape, parameters in zip(shapes, (job.result() for job in made), strict=True)
            for case in cases(shape, parameters, sizes)
        ]
        rows = list(_measured(pool, base, kind, wanted, until))
    return {**summary(rows), "not_tried": len(wanted) - len(rows), "cases": rows}


def _measured(
    pool: ProcessPoolExecutor, base: Path, kind: str, wanted: list[Case], until: float
) -> Iterator[dict[str, Any]]:
    """A row for each case that there was time for; the largest come first."""
    plans = list(pool.map(_planned, [base] * len(wanted), [kind] * len(wanted), wanted))
    left = sorted(zip(wanted, plans, strict=True), key=lambda pair: pair[1].peak.total)
    room = SHARE_OF_CARD * torch.cuda.mem_get_info()[0] if kind == "cuda" else float("inf")
    running: dict[Future[dict[str, Any]], int] = {}
    while left or running:
        while left and time.monotonic() < until and len(running) < AT_ONCE:
            free = room - sum(running.values())
            place = _largest_that_fits(left, free) if running else len(left) - 1
            if place is None:
                break
            case, plan = left.pop(place)
            running[pool.submit(try_case, base, kind, case, plan)] = _size(plan)
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            del running[future]
            row = future.result()
            print(json.dumps(row), file=sys.stderr, flush=True)
            yield row
        if time.monotonic() > until:
            left = []


def _size(plan: Plan) -> int:
    return plan.peak.total + CONTEXT_BYTES


def _largest_that_fits(left: list[tuple[Case, Plan]], free: float) -> int | None:
    fitting = [place for place, (_, plan) in enumerate(left) if _size(plan) <= free]
    return fitting[-1] if fitting else None


def name_of(shape: str) -> str:
    """Folder name of a shape."""
    return shape.rpartition("/")[2]


# ---------------------------------------------------------------- in the processes of the pool


def write_model(folder: Path, shape: str, kind: str) -> int:
    """A model of this shape with random weights; gives its number of parameters."""
    raw = catalogue.config_of(shape)
    assert raw is not None, shape
    if kind == "cpu":
        raw = raw | {name: value for name, value in TINY.items() if name in raw}
        raw.pop("layer_types", None)
    plain = {name: value for name, value in raw.items() if name != "model_type"}
    config = AutoConfig.for_model(raw["model_type"], **plain)
    with torch.device(kind):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    parameters = model.num_parameters()
    del model
    free()
    sample = write_sample_model(folder.with_name(f"{folder.name}-sample"), family="llama")
    AutoTokenizer.from_pretrained(sample).save_pretrained(folder)
    text = " ".join(f"the {n} boats of harbour {n % 7}" for n in range(WORDS))
    rows = folder.with_name(f"{folder.name}.jsonl")
    rows.write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    return int(parameters)


def spec_of(base: Path, case: Case) -> dict[str, Any]:
    """A pretraining spec, so that every row has all its tokens."""
    training = {
        "max_steps": 4,
        "per_device_train_batch_size": case.batch,
        "gradient_accumulation_steps": 2,
        "max_length": case.length,
        "precision": "auto",
    }
    folder = base / name_of(case.shape)
    return {
        "name": "study",
        "method": "pretrain",
        "model": {"path": str(folder)},
        "dataset": {"path": f"{folder}.jsonl", "eval_fraction": 0.02},
        **({"quantization": {"bits": case.bits}} if case.bits < 16 else {}),
        **{name: table for name, table in case.tables.items() if name != "training"},
        "training": training | case.tables.get("training", {}),
    }


def _planned(base: Path, kind: str, case: Case) -> Plan:
    """Trace the case and evaluate the form."""
    spec, complaints = check(spec_of(base, case))
    assert spec is not None, complaints
    config = json.loads((base / name_of(case.shape) / "config.json").read_text(encoding="utf-8"))
    precision = "bf16" if kind == "cuda" else "fp32"
    form = trace(layout_of(spec, config, kind, precision))  # type: ignore[arg-type]
    point = Point(
        batch=case.batch, length=case.length, rank=spec.lora.r if spec.lora else 0,
        accumulates=True,
    )  # fmt: skip
    return Plan(form, point, peak(form, point))


def try_case(base: Path, kind: str, case: Case, plan: Plan) -> dict[str, Any]:
    """Train the heaviest steps of one case and set its peaks beside what was foretold."""
    began = time.monotonic()
    raw = spec_of(base, case)
    row: dict[str, Any] = {**case.described(), "planned_bytes": plan.peak.total}
    free()
    job = Job(kind="rehearse", run="study", folder=str(base / f"try-{os.getpid()}"), spec=raw)
    try:
        pools = rehearse_job.steps_alone(job, Silent())  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        return row | {"out_of_memory": True}
    peaks = {str(pool.pool): pool.by_moment for pool in pools}
    measured = peaks["vram_reserved" if kind == "cuda" else "tensors"]["train"]
    spec = check(raw)[0]
    config = json.loads((base / name_of(case.shape) / "config.json").read_text(encoding="utf-8"))
    row |= {
        "measured_bytes": measured,
        "error": round(plan.peak.total / measured - 1, 5),
        "at": plan.peak.segment,
        "parts": plan.peak.parts,
        "seconds": round(time.monotonic() - began, 2),
        "rivals": {
            name: round(formula(spec, plan.form, plan.point, config) / measured - 1, 4)
            for name, formula in RIVALS.items()
        },
    }
    if kind == "cuda":
        asked = sum(size for part, size in plan.peak.parts.items() if part != "rounding")
        row["allocated_bytes"] = peaks["vram_allocated"]["train"]
        row["allocated_error"] = round(asked / peaks["vram_allocated"]["train"] - 1, 5)
    return row


def free() -> None:
    """Give back what the case before took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# ---------------------------------------------------------------- in words


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and 99th percentile of the error, beside those of the formulas."""
    known = [row for row in rows if "error" in row]
    errors = [abs(row["error"]) for row in known]
    under = sum(row["error"] < -0.01 for row in known) / max(1, len(known))
    found = {
        "measured": len(known),
        "median_error": statistics.median(errors) if errors else None,
        "p99_error": percentile(errors, 0.99),
        "too_low_by_1_percent": round(under, 4),
        "rivals": {
            name: {
                "median_error": statistics.median(abs(row["rivals"][name]) for row in known),
                "p99_error": percentile([abs(row["rivals"][name]) for row in known], 0.99),
            }
            for name in RIVALS
            if known
        },
    }
    held = bool(errors) and found["median_error"] <= MEDIAN_AIM
    held = held and found["p99_error"] <= P99_AIM and under <= UNDER_AIM
    return found | {"passed": held}


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lie; 0 without any."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
