"""Sets plans beside peaks that a card was measured to need: ``compare.py FILE.peaks.jsonl``.

Needs no card: plans are traced here, for the configurations of the file. Prints a summary, beside
what the closed formulas of other programs come to on the same rows.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import msgspec
from configurations import Case
from rivals import RIVALS

from engine.planning.form import Form, Layout, peak
from engine.planning.profiles import WORKSPACE_BYTES
from engine.worker.trace import trace

MEDIAN_AIM, P99_AIM, UNDER_AIM = 0.02, 0.05, 0.02
"""Greatest median and 99th percentile of the error, and share of plans more than 1 % too low."""
AT_ONCE = 2


def compared(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The summary, and a row for each case."""
    measured = [row for row in rows if "reserved_bytes" in row]
    cases = [msgspec.convert(row["case"], Case) for row in measured]
    layouts = {_key(case.layout()): case.layout() for case in cases}
    with ProcessPoolExecutor(AT_ONCE) as pool:
        forms = dict(zip(layouts, pool.map(trace, layouts.values()), strict=True))
    found = [
        beside(row, case, forms[_key(case.layout())])
        for row, case in zip(measured, cases, strict=True)
    ]
    return {**summary(found), "rows": found}


def _key(layout: Layout) -> bytes:
    return msgspec.json.encode(layout, order="sorted")


def beside(row: dict[str, Any], case: Case, form: Form) -> dict[str, Any]:
    """What was foretold of one case, and how far off that is."""
    plan = peak(form, case.point())
    reserved = row["reserved_bytes"]["train"]
    # torch's allocator holds it too; a form, which is of no card, has none of it.
    planned = plan.total + WORKSPACE_BYTES
    asked = planned - plan.parts.get("rounding", 0)
    return {
        **msgspec.to_builtins(case),
        "measured_bytes": reserved,
        "planned_bytes": planned,
        "error": round(planned / reserved - 1, 5),
        "allocated_error": round(asked / row["allocated_bytes"]["train"] - 1, 5),
        "at": plan.segment,
        "parts": plan.parts | {"workspace": WORKSPACE_BYTES},
        "rivals": {
            name: round(formula(case.spec(), form, case.point(), case.config()) / reserved - 1, 4)
            for name, formula in RIVALS.items()
        },
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and 99th percentile of the error, beside those of the formulas."""
    errors = [row["error"] for row in rows]
    found: dict[str, Any] = {"measured": len(rows), **spread(errors)}
    found["rivals"] = {name: spread([row["rivals"][name] for row in rows]) for name in RIVALS}
    held = bool(rows) and found["median_error"] <= MEDIAN_AIM and found["p99_error"] <= P99_AIM
    return found | {"passed": held and found["too_low_by_1_percent"] <= UNDER_AIM}


def spread(errors: list[float]) -> dict[str, Any]:
    """How far off, and how often more than 1 % too low."""
    if not errors:
        return {"median_error": None, "p99_error": None, "too_low_by_1_percent": None}
    sizes = sorted(map(abs, errors))
    return {
        "median_error": round(statistics.median(sizes), 5),
        "p99_error": sizes[min(len(sizes) - 1, int(0.99 * len(sizes)))],
        "too_low_by_1_percent": round(sum(e < -0.01 for e in errors) / len(errors), 4),
    }


def _line(row: dict[str, Any]) -> str:
    way = {name: row[name] for name in ("lora", "training") if name in row}
    size = f"{row['measured_bytes'] / 2**30:6.2f} GiB"
    what = f"{row['shape'].rpartition('/')[2]} {row.get('layers', '')} {row.get('bits', 16)}"
    sizes = f"{row['batch']}x{row['length']}"
    errors = f"{row['error']:8.4f} {row['allocated_error']:8.4f}"
    return f"{errors} {size} {what} {sizes} {way} {row['at']}"


def main() -> int:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    found = compared(map(json.loads, lines))
    rows = found.pop("rows")
    for row in sorted(rows, key=lambda row: row["error"]):
        print(_line(row))
    print(json.dumps(found, indent=1))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
