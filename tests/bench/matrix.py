"""Every way of tuning on real data, with all four families, through the command line.

    python tests/bench/matrix.py --data ../shared/data [--steps 6] [--out FILE]

Each run must finish, and its result must give the run's final eval loss again in plain transformers
and PEFT, to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import PYTHON, ROOT, machine, private_home

from tests.worker.plain import held_back_loss

FAMILIES = ("llama", "mistral", "qwen", "gemma")
CHATS = ("alpaca_en_demo.json", "alpaca_zh_demo.json", "glaive_toolcall_en_demo.json")
TEXTS = ("c4_demo.jsonl", "wiki_demo.txt")
WAYS: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"r": 8}},
    "qlora4": {"lora": {"r": 8}, "quantization": {"bits": 4}},
    "lora8": {"lora": {"r": 8}, "quantization": {"bits": 8}},
    "full": {},
}


def cases() -> list[tuple[str, str, str, str]]:
    """Family, method, data file, way of tuning."""
    sft = [(f, "sft", data, way) for f in FAMILIES for data in CHATS for way in WAYS]
    return sft + [(f, "pretrain", data, "lora") for f in FAMILIES for data in TEXTS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", default="", help="only cases with this text in them")
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    with private_home() as home:
        for family in FAMILIES:
            make_model(home / family, family)
        chosen = [case for case in cases() if wanted.only in " ".join(case)]
        rows = [try_case(home, wanted, case) for case in chosen]
    passed = all(row["passed"] for row in rows)
    report = {"machine": machine(), "passed": passed, "runs": len(rows), "rows": rows}
    if wanted.out:
        wanted.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    worst = max((row["difference"] for row in rows), default=0.0)
    failed = [row["case"] for row in rows if not row["passed"]]
    print(f"{len(rows)} runs, {len(failed)} failed {failed}, largest difference {worst:.2e}")
    return 0 if passed else 1


def make_model(folder: Path, family: str) -> None:
    """A tiny model of the family, by the command line."""
    command = [PYTHON, "-m", "engine.cli", "sample-model", str(folder), "--family", family]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)


def try_case(
    home: Path, wanted: argparse.Namespace, case: tuple[str, str, str, str]
) -> dict[str, Any]:
    family, method, data, way = case
    spec = {
        "name": "-".join((family, data.partition(".")[0], way)),
        "method": method,
        "model": {"path": str(home / family)},
        "dataset": {"path": str((wanted.data / data).resolve()), "eval_fraction": 0.02},
        "training": {
            "max_steps": wanted.steps,
            "max_length": 256,
            "learning_rate": 1e-3,
            "gradient_accumulation_steps": 2,
            "save_minutes": 0.0,
        },
        **WAYS[way],
    }
    began = time.monotonic()
    done = train(home, spec)
    seconds = time.monotonic() - began
    row: dict[str, Any] = {"case": " ".join(case), "seconds": round(seconds, 1)}
    if done.get("outcome") != "finished":
        return row | {"passed": False, "difference": math.inf, "done": done}
    ours = final_eval_loss(Path(done["folder"]))
    plain = held_back_loss(spec, Path(done["output"]))
    difference = abs(plain - ours) / ours
    row |= {"eval_loss": ours, "plain_eval_loss": plain, "difference": difference}
    print(json.dumps(row), flush=True)
    return row | {"passed": difference <= 1e-5}


def train(home: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the spec by the command line; gives the last message."""
    from engine.contract import toml, validate

    sound, complaints = validate.check(spec)
    assert sound, complaints
    file = home / "spec.toml"
    file.write_text(toml.write(sound), encoding="utf-8")
    command = [PYTHON, "-m", "engine.cli", "train", str(file), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines() or ["{}"]
    last: dict[str, Any] = json.loads(lines[-1])
    if last.get("outcome") != "finished":
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return last


def final_eval_loss(folder: Path) -> float:
    """What the run said last of its held-back rows."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    found = [row for row in map(json.loads, lines) if row["type"] == "evaluated"]
    return float(found[-1]["eval_loss"])


if __name__ == "__main__":
    sys.exit(main())
