"""Does what few layers foretell equal what all layers show? For every model of the catalogue.

    python -m tests.bench.trace_catalogue [NAME ...]

Writes ``tests/bench/results/trace_catalogue.json``: for each model and way of training the largest
difference between the two peaks over several sizes, in per cent, and how long each trace took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from engine.worker.late_bitsandbytes import import_peft

import_peft()

from engine.planning import catalogue  # noqa: E402
from engine.planning.form import Form, Layout, Point, peak  # noqa: E402
from engine.worker.trace import trace  # noqa: E402

RESULT = Path(__file__).parent / "results" / "trace_catalogue.json"
_ADAPTER = {"target_modules": "all-linear"}
WAYS: dict[str, dict[str, Any]] = {
    "QLoRA, checkpointing": {"bits": 4, "lora": _ADAPTER, "gradient_checkpointing": "full"},
    "full, no checkpointing": {
        "lora": None, "gradient_checkpointing": "none", "optim": "adamw_8bit"
    },
}  # fmt: skip
POINTS = (
    Point(batch=1, length=512, rank=16), Point(batch=2, length=2048, rank=16),
    Point(batch=8, length=4096, rank=64), Point(batch=1, length=32768, rank=8),
)  # fmt: skip


def main(names: list[str]) -> None:
    found: dict[str, Any] = {}
    for name, config in _configs(names):
        found[name] = {way: _compare(config, fields) for way, fields in WAYS.items()}
        print(name, json.dumps(found[name]), flush=True)
    worst = max(row["difference_percent"] for rows in found.values() for row in rows.values())
    report = {"worst_difference_percent": worst, "models": found}
    RESULT.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(found)} models, largest difference {worst:.6f} %")


def _configs(names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One entry for each config of the catalogue."""
    seen: list[dict[str, Any]] = []
    for entry in catalogue.load():
        config = catalogue.config_of(entry.id)
        if config is None or config in seen or (names and entry.name not in names):
            continue
        seen.append(config)
        yield entry.name, config


def _compare(config: dict[str, Any], fields: dict[str, Any]) -> dict[str, float]:
    layout = Layout(config=config, device="cuda", precision="bf16", **fields)
    few, few_seconds = _timed(layout, whole=False)
    all_layers, all_seconds = _timed(layout, whole=True)
    # Where the model has a window: the form of rows within it.
    within = trace(layout, longest=min(point.length for point in POINTS))
    differences = []
    for point, moment in product(POINTS, ("train", "evaluate", "resume", "export")):
        for form in (few, within):
            if form.holds_for(point.length):
                ours, theirs = (_asked(each, point, moment) for each in (form, all_layers))
                differences.append(abs(ours / theirs - 1))
    return {
        "difference_percent": 100 * max(differences),
        "few_layers_seconds": round(few_seconds, 2),
        "all_layers_seconds": round(all_seconds, 2),
        "segments": len(few.segments),
    }


def _timed(layout: Layout, *, whole: bool) -> tuple[Form, float]:
    began = time.process_time()
    form = trace(layout, whole=whole)
    return form, time.process_time() - began


def _asked(form: Form, point: Point, moment: Any) -> int:
    """The allocator's share is a rule of thumb, taken from the layers that were traced."""
    found = peak(form, point, moment)
    return found.total - found.parts.get("rounding", 0)


if __name__ == "__main__":
    main(sys.argv[1:])
