"""What packing wins on real conversations: rows filled, and tokens trained on in a second.

    python tests/bench/packing.py [--data ../shared/data] [--hidden 256] [--rounds 4] [--out FILE]

Waste is what of an epoch's computed tokens is padding; of packed rows, which attention by sample
computes without any, what of their places stays empty. Speed is that of
real runs on this machine that take turns: batches of 8 padded rows, and one packed row, at a
max_length of 2048; what counts is the ratio of their tokens a second, padding not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import fettle, machine, private_home

MAX_LENGTH = 2048
MOST_WASTE, LEAST_RATIO = 0.01, 2.0
STEPS, WARM_UP = 8, 2
WAYS = {"padded": (8, "false"), "packed": (1, "true")}
"""Rows of a batch, and whether they are packed."""
_SPEC = """name = "{name}"
[model]
path = "{model}"
[lora]
r = 8
[dataset]
path = "{data}"
eval_fraction = 0
[training]
max_length = {length}
per_device_train_batch_size = {batch}
gradient_accumulation_steps = 1
packing = {packing}
max_steps = {steps}
save_minutes = 60
gradient_checkpointing = "none"
"""


def spec(folder: Path, model: Path, data: Path, way: str) -> Path:
    """A recipe, written down."""
    batch, packing = WAYS[way]
    path = folder / f"{way}.toml"
    path.write_text(
        _SPEC.format(name=way, model=model, data=data, length=MAX_LENGTH, batch=batch,
                     packing=packing, steps=STEPS),
        encoding="utf-8",
    )  # fmt: skip
    return path


def waste(data: Path, model: Path) -> dict[str, Any]:
    """Of a file's rows, padded in batches of 8 and packed."""
    padded, packed = report(data, model, "padded"), report(data, model, "packed")
    rows = packed["packed"]["steps"]
    return {
        "samples": padded["samples"], "padded": padded["padded"]["waste"],
        "packed": 1 - packed["tokens"] / (rows * MAX_LENGTH),
        "padded_steps": padded["padded"]["steps"], "packed_rows": rows,
    }  # fmt: skip


def report(data: Path, model: Path, way: str) -> dict[str, Any]:
    """What an inspection tells of a file."""
    with tempfile.TemporaryDirectory() as folder:
        text = fettle("data", str(spec(Path(folder), model, data, way)), "--json")
    (found,) = (told for line in text.splitlines() if "packed" in (told := json.loads(line)))
    return dict(found)


def tokens_per_second(path: Path) -> float:
    """Of one run, without its first steps."""
    told = [json.loads(line) for line in fettle("train", str(path), "--json").splitlines()]
    steps = [each for each in told if each.get("type") == "step" and each["step"] > WARM_UP]
    return float(1000 * sum(s["tokens"] for s in steps) / sum(s["step_ms"] for s in steps))


def run(folder: Path, hidden: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    from engine.worker.sample_model import write_sample_model

    with private_home() as home:
        model = home / "model"
        write_sample_model(model, hidden=hidden)
        files = ("alpaca_en_demo.json", "glaive_toolcall_en_demo.json")
        wasted = {name: waste(folder / name, model) for name in files}
        specs = {way: spec(home, model, folder / files[0], way) for way in WAYS}
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, path in specs.items():
                rates[way].append(tokens_per_second(path))
                print(way, round(rates[way][-1]), flush=True)
    ratios = [b / a for a, b in zip(rates["padded"], rates["packed"], strict=True)]
    return {
        "machine": machine(), "hidden": hidden, "max_length": MAX_LENGTH, "waste": wasted,
        "tokens_per_second": {way: round(statistics.median(each)) for way, each in rates.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_rounds": [round(ratio, 3) for ratio in ratios],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = run(arguments.data.resolve(), arguments.hidden, arguments.rounds)
    text = json.dumps(figures, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    is_tight = all(each["packed"] <= MOST_WASTE for each in figures["waste"].values())
    return 0 if is_tight and figures["ratio"] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
