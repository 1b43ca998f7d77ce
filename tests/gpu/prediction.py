"""How far off a plan is on a CUDA card; a part of ``tests/gpu/run.py``.

Models with the shapes of the catalogue and random weights are rehearsed, which runs the heaviest
steps with the real trainer, and the peaks are set beside the traced plan and beside what the closed
formulas of other programs say. Without a card it is tried with tiny models: live tensors beside the
trace.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec
import torch
from rivals import RIVALS
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.contract.messages import Job, PoolPeak
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.form import Form, Point, peak
from engine.planning.model_config import layout_of
from engine.worker import rehearse_job
from engine.worker.sample_model import write_sample_model
from engine.worker.trace import trace
from tests.worker.plain import Silent

MEDIAN_AIM, P99_AIM, UNDER_AIM = 0.02, 0.05, 0.02
"""Greatest median and 99th percentile of the error, and share of plans more than 1 % too low."""
SHAPES = (
    "HuggingFaceTB/SmolLM2-360M",
    "Qwen/Qwen2.5-0.5B",
    "meta-llama/Llama-3.2-1B",
    "google/gemma-2-2b",
    "meta-llama/Llama-3.1-8B",
)
TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "head_dim": 32,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048}  # fmt: skip
SIZES = ((1, 512), (2, 1024), (4, 2048), (1, 8192))
TINY_SIZES = ((1, 64), (2, 96))
SMALL_PARAMETERS = 1_500_000_000
"""Models up to this are also trained in full."""


class Case(NamedTuple):
    """One configuration: a model's folder and the spec's tables."""

    shape: str
    bits: int
    batch: int
    length: int
    tables: dict[str, Any]


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


def study(kind: str, minutes: float) -> dict[str, Any]:
    """The summary, and a row for each case that was begun in time."""
    rows = list(measured(kind, time.monotonic() + 60 * minutes))
    return {**summary(rows), "cases": rows}


def measured(kind: str, until: float) -> Iterator[dict[str, Any]]:
    """A row for each case that there was time for."""
    for shape in SHAPES if kind == "cuda" else SHAPES[1:4]:
        with tempfile.TemporaryDirectory(prefix="fettle-study-") as folder:
            config, parameters = write_model(Path(folder) / "model", shape, kind)
            for case in cases(shape, parameters, SIZES if kind == "cuda" else TINY_SIZES):
                if time.monotonic() > until:
                    return
                row = try_case(Path(folder), config, case, kind)
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row


def write_model(folder: Path, shape: str, kind: str) -> tuple[dict[str, Any], int]:
    """A model of this shape with random weights; gives its config and number of parameters."""
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
    sample = write_sample_model(folder.with_name("sample"), family="llama")
    tokenizer = AutoTokenizer.from_pretrained(sample)
    tokenizer.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text(encoding="utf-8")), parameters


def spec_of(base: Path, case: Case) -> dict[str, Any]:
    """A pretraining spec, so that every row has all its tokens."""
    data = base / "text.jsonl"
    if not data.exists():
        text = " ".join(f"the {n} boats of harbour {n % 7}" for n in range(60_000))
        data.write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    training = {
        "max_steps": 4,
        "per_device_train_batch_size": case.batch,
        "gradient_accumulation_steps": 2,
        "max_length": case.length,
        "precision": "auto",
    }
    return {
        "name": "study",
        "method": "pretrain",
        "model": {"path": str(base / "model")},
        "dataset": {"path": str(data), "eval_fraction": 0.02},
        **({"quantization": {"bits": case.bits}} if case.bits < 16 else {}),
        **{name: table for name, table in case.tables.items() if name != "training"},
        "training": training | case.tables.get("training", {}),
    }


def try_case(base: Path, config: dict[str, Any], case: Case, kind: str) -> dict[str, Any]:
    """Rehearse one case and set its peaks beside what was foretold."""
    raw = spec_of(base, case)
    spec, complaints = check(raw)
    assert spec is not None, complaints
    precision = "bf16" if kind == "cuda" else "fp32"
    form = trace(layout_of(spec, config, kind, precision))  # type: ignore[arg-type]
    point = Point(
        batch=case.batch, length=case.length, rank=spec.lora.r if spec.lora else 0,
        accumulates=True,
    )  # fmt: skip
    row: dict[str, Any] = {"shape": case.shape, "bits": case.bits, "batch": case.batch,
                           "length": case.length, **case.tables}  # fmt: skip
    planned = peak(form, point)
    try:
        pools = rehearse(base / "rehearsal", raw)
    except torch.OutOfMemoryError:
        return row | {"planned_bytes": planned.total, "out_of_memory": True}
    measured = pools["vram_reserved" if kind == "cuda" else "tensors"]["train"]
    row |= {
        "planned_bytes": planned.total,
        "measured_bytes": measured,
        "error": round(planned.total / measured - 1, 5),
        "at": planned.segment,
        "rivals": rivals(spec, form, point, config, measured),
    }
    if kind == "cuda":
        allocated = sum(size for part, size in planned.parts.items() if part != "rounding")
        row["allocated_error"] = round(allocated / pools["vram_allocated"]["train"] - 1, 5)
        row["outside_torch_bytes"] = pools["vram"]["train"] - measured
    return row


def rehearse(folder: Path, raw: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Peaks by pool and moment."""
    free()
    job = Job(kind="rehearse", run="study", folder=str(folder), spec=raw)
    done = rehearse_job.run(job, Silent())  # type: ignore[arg-type]
    pools = msgspec.convert(done.data["pools"], list[PoolPeak])
    return {str(pool.pool): pool.by_moment for pool in pools}


def free() -> None:
    """Give back what the case before took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def rivals(
    spec: Any, form: Form, point: Point, config: dict[str, Any], measured: int
) -> dict[str, float]:
    """Error of each closed formula."""
    return {
        name: round(formula(spec, form, point, config) / measured - 1, 4)
        for name, formula in RIVALS.items()
    }


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
        },
    }
    held = bool(errors) and found["median_error"] <= MEDIAN_AIM
    held = held and found["p99_error"] <= P99_AIM and under <= UNDER_AIM
    return found | {"passed": held}


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lie; 0 without any."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
