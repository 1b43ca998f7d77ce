"""Measures what training takes on a CUDA card, configuration by configuration.

Models with random weights train their heaviest steps with the real trainer, and torch's peak is
noted. That peak is one process's, so several share the card. Each row is written at once: a lease
may end at any moment.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from alive import at_peak
from configurations import WORDS, Case, described
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.contract.messages import Job
from engine.worker import rehearse_job
from engine.worker.main import prepare_environment
from engine.worker.sample_model import write_sample_model
from tests.worker.plain import Silent

AT_ONCE = 8
"""Processes that share the card and its machine's processors."""
THREADS = 2
SHARE_OF_CARD = 0.9
_EVENTS = 2_000_000


def measure(cases: list[Case], seconds: float, out: Path) -> list[dict[str, Any]]:
    """A row for each case that was begun in time; ``out`` gets each as a line of JSON."""
    until = time.monotonic() + seconds
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="fettle-study-", dir="/dev/shm") as folder,
        ProcessPoolExecutor(AT_ONCE, get_context("spawn"), initializer=_begin) as pool,
        out.open("a", encoding="utf-8") as file,
    ):
        for row in _rows(pool, Path(folder), cases, until):
            print(json.dumps(row), file=file, flush=True)
            rows.append(row)
    return rows


def _begin() -> None:
    prepare_environment()
    torch.set_num_threads(THREADS)


def _rows(
    pool: ProcessPoolExecutor, base: Path, cases: list[Case], until: float
) -> Iterator[dict[str, Any]]:
    parameters = _write_models(pool, base, cases)
    left = sorted(cases, key=lambda case: _rough_bytes(case, parameters[case.folder]))
    room = SHARE_OF_CARD * torch.cuda.mem_get_info()[0]
    running: dict[Future[dict[str, Any]], float] = {}
    while True:
        while left and len(running) < AT_ONCE and time.monotonic() < until:
            free = room - sum(running.values())
            sizes = [_rough_bytes(case, parameters[case.folder]) for case in left]
            fitting = [place for place, size in enumerate(sizes) if size <= free or not running]
            if not fitting:
                break
            case = left.pop(fitting[-1])
            running[pool.submit(try_case, base, case)] = sizes[fitting[-1]]
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            del running[future]
            yield future.result()


def _rough_bytes(case: Case, parameters: int) -> float:
    """More than it takes, so that cases do not take the card from each other."""
    a_weight = 18.0 if case.lora is None else 2.5
    kept = case.training.get("gradient_checkpointing") == "none"
    return parameters * a_weight + (20 if kept and not case.layers else 6) * 2**30


def _write_models(pool: ProcessPoolExecutor, base: Path, cases: list[Case]) -> dict[str, int]:
    first = {case.folder: case for case in cases}
    counts = pool.map(write_model, [base] * len(first), first.values())
    return dict(zip(first, counts, strict=True))


# ---------------------------------------------------------------- in the processes of the pool


def write_model(base: Path, case: Case) -> int:
    """A model of this shape with random weights, and a text; gives its number of parameters."""
    folder = base / case.folder
    raw = case.config()
    plain = {name: value for name, value in raw.items() if name != "model_type"}
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(raw["model_type"], **plain), dtype=torch.bfloat16
        )
    model.save_pretrained(folder)
    parameters = int(model.num_parameters())
    del model
    free()
    sample = write_sample_model(base / f"{case.folder}-sample", family="llama")
    AutoTokenizer.from_pretrained(sample).save_pretrained(folder)
    text = " ".join(f"the {n} boats of harbour {n % 7}" for n in range(WORDS))
    Path(f"{folder}.jsonl").write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    return parameters


def try_case(base: Path, case: Case) -> dict[str, Any]:
    """Train the heaviest steps of one case; what torch's pool took, in bytes."""
    began = time.monotonic()
    free()
    folder = base / f"try-{os.getpid()}"
    job = Job(kind="rehearse", run="study", folder=str(folder), spec=case.raw_spec(base))
    row: dict[str, Any] = {"case": described(case)}
    if case.is_explained:
        torch.cuda.memory._record_memory_history(stacks="python", max_entries=_EVENTS)
    try:
        pools = rehearse_job.steps_alone(job, Silent())  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        return row | {"out_of_memory": True}
    except Exception as error:  # noqa: BLE001 - one that fails must not end the study
        return row | {"failed": f"{type(error).__name__}: {error}"[-1000:]}
    finally:
        if case.is_explained:
            row["alive"] = at_peak(torch.cuda.memory._snapshot()["device_traces"][0])
            torch.cuda.memory._record_memory_history(enabled=None)
    peaks = {str(pool.pool): pool.by_moment for pool in pools}
    return row | {
        "reserved_bytes": peaks["vram_reserved"],
        "allocated_bytes": peaks["vram_allocated"],
        "seconds": round(time.monotonic() - began, 2),
    }


def free() -> None:
    """Give back what the case before took."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
