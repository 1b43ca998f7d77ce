"""What packing wins on real conversations: rows filled, and tokens trained on in a second.

    python tests/bench/packing.py [--data ../shared/data] [--hidden 256] [--rounds 4] [--out FILE]

Waste is what of an epoch's computed tokens is padding; of packed rows, which attention by sample
computes without any, what of their places stays empty. Speed is that of
real runs on this machine that take turns, in learnt tokens a second: batches of 8 padded rows by a
plain TRL script, the same rows in line by Fettle, and one packed row of 2048, each with a LoRA and
checkpointing.
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
from rivals import ours, plain

MAX_LENGTH = 2048
MOST_WASTE, LEAST_RATIO = 0.01, 2.0
STEPS, ROWS = 24, 8
WAYS = {"in_line": (ROWS, "false"), "packed": (1, "true")}
"""Of Fettle: rows of a batch, and whether they are packed."""
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
gradient_checkpointing = "full"
precision = "fp32"
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
    """Of a file's rows in batches of 8, and packed."""
    in_line, packed = report(data, model, "in_line"), report(data, model, "packed")
    rows = packed["packed"]["steps"]
    return {
        "samples": in_line["samples"], "in_line": in_line["padded"]["waste"],
        "packed": 1 - packed["tokens"] / (rows * MAX_LENGTH),
        "in_line_steps": in_line["padded"]["steps"], "packed_rows": rows,
        "learnt_a_step": ROWS * in_line["trained_tokens"] / in_line["samples"],
    }  # fmt: skip


def report(data: Path, model: Path, way: str) -> dict[str, Any]:
    """What an inspection tells of a file."""
    with tempfile.TemporaryDirectory() as folder:
        text = fettle("data", str(spec(Path(folder), model, data, way)), "--json")
    (found,) = (told for line in text.splitlines() if "packed" in (told := json.loads(line)))
    return dict(found)


def run(folder: Path, hidden: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    from engine.worker.sample_model import write_sample_model

    with private_home() as home:
        model = home / "model"
        write_sample_model(model, hidden=hidden)
        files = ("alpaca_en_demo.json", "glaive_toolcall_en_demo.json")
        wasted = {name: waste(folder / name, model) for name in files}
        specs = {way: spec(home, model, folder / files[0], way) for way in WAYS}
        sides = {"padded": plain(home, model, folder / files[0], STEPS, (ROWS, 1, MAX_LENGTH))}
        sides |= {way: ours(home, path) for way, path in specs.items()}
        rates: dict[str, list[float]] = {way: [] for way in sides}
        for _ in range(rounds):
            for way, side in sides.items():
                mean = wasted[files[0]]["learnt_a_step"]
                rates[way].append(side.run(mean)["learnt_tokens_per_second"])
                print(way, round(rates[way][-1]), flush=True)
    ratios = {
        way: [mine / padded for mine, padded in zip(each, rates["padded"], strict=True)]
        for way, each in rates.items()
    }
    return {
        "machine": machine(), "hidden": hidden, "max_length": MAX_LENGTH, "waste": wasted,
        "learnt_tokens_per_second": {
            way: round(statistics.median(each)) for way, each in rates.items()
        },
        "ratio": {way: round(statistics.median(each), 3) for way, each in ratios.items()},
        "ratio_of_rounds": {way: [round(r, 3) for r in each] for way, each in ratios.items()},
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
    return 0 if is_tight and figures["ratio"]["packed"] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
