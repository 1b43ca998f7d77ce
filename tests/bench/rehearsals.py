"""Rehearsals beside the runs that follow: every family, every way of tuning.

    python tests/bench/rehearsals.py [--only TEXT] [--out FILE]

Each pair is a rehearsal and then the real run of the same spec, through the command line. Figures:
the peaks of tensors and of RAM, and the rehearsed as a multiple of the real one. Once with the
allocator of RAM as it is, which keeps freed pieces as threads happen to fall, and once with one
that gives them back, which leaves what is needed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import machine, private_home

from engine.worker.meter import ASKED_BY
from tests.e2e.cli_driver import Fettle

FAMILIES = ("llama", "mistral", "qwen", "gemma")
WAYS: dict[str, dict[str, Any]] = {
    "LoRA": {"lora": {"r": 8}},
    "LoRA, recomputed": {"lora": {"r": 8}, "training": {"gradient_checkpointing": "full"}},
    "QLoRA": {"lora": {"r": 8}, "quantization": {"bits": 4}},
    "full": {},
}
ALLOCATORS: dict[str, dict[str, str]] = {
    "as it is": {}, "gives back": {"MALLOC_MMAP_THRESHOLD_": "262144"}
}  # fmt: skip
LIMITS = {"as it is": {"tensors": 0.03, "ram": 0.1}, "gives back": {"tensors": 0.03, "ram": 0.03}}
"""How far a pair may be apart: two runs of one spec differ by up to 7 % of the RAM that is kept."""
_PATIENCE = 300.0


def spec_of(home: Path, family: str, way: str) -> Path:
    """Rows of many lengths, twelve steps."""
    data = home / "rows.jsonl"
    rows = [{"prompt": f"Say {n}", "completion": "a word " * (9 * n)} for n in range(1, 40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": str(home / family), "attn_implementation": "eager"},
        "dataset": {"path": str(data), "eval_fraction": 0.1},
        **{name: dict(table) for name, table in WAYS[way].items()},
    }
    tables["training"] = {
        "max_length": 512, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
        "max_steps": 12, "gradient_checkpointing": "none", **tables.get("training", {}),
    }  # fmt: skip
    lines = ['name = "pair"']
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = home / "spec.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pair(fettle: Fettle, home: Path, family: str, way: str) -> dict[str, Any]:
    """The peaks of both, in bytes, and what the one is of the other."""
    spec = spec_of(home, family, way)
    tried = fettle("rehearse", spec, "--json", timeout=_PATIENCE)
    ran = fettle("train", spec, "--json", timeout=_PATIENCE)
    assert (tried.code, ran.code) == (0, 0), tried.err + ran.err
    assert fettle("remove", "last", "--yes").code == 0
    foretold, real = peaks(tried.last["pools"]), peaks(ran.last["data"]["pools"])
    return {
        "family": family, "way": way,
        **{
            pool: {
                "rehearsed_bytes": foretold[pool], "real_bytes": real[pool],
                "ratio": round(foretold[pool] / real[pool], 4),
            }
            for pool in ("tensors", "ram")
        },
    }  # fmt: skip


def peaks(pools: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes by pool."""
    return {pool["pool"]: pool["measured_bytes"] for pool in pools}


def agreement(rows: list[dict[str, Any]], pool: str, limit: float) -> dict[str, Any]:
    """How many pairs agree, and how far they are apart."""
    off = [row[pool]["ratio"] - 1 for row in rows]
    return {
        "limit": limit, "passed": all(abs(each) <= limit for each in off),
        "within_3_percent": sum(abs(each) <= 0.03 for each in off), "of": len(off),
        "median": round(statistics.median(off), 4), "lowest": round(min(off), 4),
        "highest": round(max(off), 4),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="only pairs with this text in them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    wanted = [(f, w) for f in FAMILIES for w in WAYS if options.only in f"{f}, {w}"]
    if not wanted:
        parser.error(f"no pair has {options.only!r} in its name")
    found: dict[str, Any] = {}
    for allocator, environment in ALLOCATORS.items():
        rows = []
        with private_home() as home:
            # The host and its workers take what it begins with.
            fettle = Fettle(home, FETTLE_IDLE_SECONDS="20", **{ASKED_BY: "1"}, **environment)
            for family in FAMILIES:
                made = fettle("sample-model", home / family, "--family", family, timeout=_PATIENCE)
                assert made.code == 0, made.err
            for family, way in wanted:
                rows.append(pair(fettle, home, family, way))
                print(allocator, json.dumps(rows[-1]), flush=True)
        limits = LIMITS[allocator]
        found[allocator] = {
            **{pool: agreement(rows, pool, limit) for pool, limit in limits.items()}, "pairs": rows
        }  # fmt: skip
    for allocator, each in found.items():
        print(allocator, {pool: each[pool] for pool in ("tensors", "ram")})
    if options.out:
        report = {"machine": machine(), **found}
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(
        not all(each[pool]["passed"] for each in found.values() for pool in ("tensors", "ram"))
    )


if __name__ == "__main__":
    sys.exit(main())
