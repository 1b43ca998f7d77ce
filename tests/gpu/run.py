"""Everything that needs a CUDA card: ``python tests/gpu/run.py --out FILE.json``.

Trains a small random model every way Fettle has with real workers, kills and resumes one of them
(:mod:`correctness`), measures what many configurations take (:mod:`peaks`), and sets that beside
their plans (:mod:`compare`). FILE gets device, versions and a row a case; beside it lies
``FILE.peaks.jsonl``, written as it is measured. Exit code 1 if something fails or the plans miss
their aims, 2 if there is no card.

Where a lease is short, ``--no-plans`` leaves the comparison to
``python tests/gpu/compare.py FILE.peaks.jsonl``, which needs no card.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from card import device, outside_torch_bytes
from compare import compared
from configurations import all_cases
from correctness import correctness
from peaks import measure

from engine.worker.main import prepare_environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300.0, help="for measuring peaks")
    parser.add_argument("--no-plans", action="store_true")
    wanted = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here.", file=sys.stderr)
        return 2
    prepare_environment()
    report: dict[str, Any] = {"taken_at": time.strftime("%Y-%m-%d"), **device()}
    report["outside_torch_bytes"] = outside_torch_bytes()
    with ThreadPoolExecutor(1) as pool:
        # Its models are tiny, and most of its time is starting workers.
        cases = pool.submit(correctness)
        rows = measure(all_cases(), wanted.seconds, wanted.out.with_suffix(".peaks.jsonl"))
        report["cases"] = cases.result()
    _write(report, wanted.out)
    if not wanted.no_plans:
        report["prediction"] = compared(rows)
        _write(report, wanted.out)
    return 0 if '"passed": false' not in json.dumps(report) else 1


def _write(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
