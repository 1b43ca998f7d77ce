"""The same fine-tune by Fettle, by LLaMA-Factory and by a plain TRL script, in turns.

    python tests/bench/rivals.py --llamafactory /path/to/its/venv [--data ../shared/data]
                                 [--steps 100] [--rounds 2] [--only fettle,packed,…] [--out FILE]

All train the same tiny model with a LoRA on the rows of alpaca_en_demo.json: the same rows a step,
max_length, rate and checkpointing, in fp32 on the processor. Counted are the seconds from the
command to the first step that is told, and then learnt tokens a second. Those are answers, the same
in each; where a tool does not tell how many a step had, it is the mean of all rows. ``packed`` is
Fettle with packing: as many rows a step as hold about as many samples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import PYTHON, ROOT, end_processes_of, fettle, machine, private_home

BATCH, ACCUMULATION, MAX_LENGTH, RANK, RATE = 4, 2, 1024, 8, 1e-4
PACKED_ROWS = 2
"""A step's rows if packed, each with about as many samples as four rows without."""
WARM_UP = 10
_SPEC = f"""name = "rivals"
[model]
path = "{{model}}"
[lora]
r = {RANK}
lora_alpha = {2 * RANK}
[dataset]
path = "{{data}}"
eval_fraction = 0
[training]
max_length = {MAX_LENGTH}
per_device_train_batch_size = {{batch}}
gradient_accumulation_steps = {{accumulation}}
packing = {{packing}}
max_steps = {{steps}}
learning_rate = {RATE}
gradient_checkpointing = "full"
precision = "fp32"
"""
_FACTORY = {
    "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": RANK,
    "lora_alpha": 2 * RANK, "lora_target": "all", "dataset": "alpaca", "template": "default",
    "cutoff_len": MAX_LENGTH, "overwrite_cache": True, "logging_steps": 1, "save_steps": 100_000,
    "report_to": "none", "per_device_train_batch_size": BATCH, "learning_rate": RATE,
    "gradient_accumulation_steps": ACCUMULATION, "lr_scheduler_type": "cosine", "use_cpu": True,
    "bf16": False, "fp16": False, "overwrite_output_dir": True,
}  # fmt: skip


class Side:
    """One of the tools: its command, and how it tells of a step."""

    def __init__(
        self, command: list[str], is_step: Callable[[str], float | None],
        environment: dict[str, str] | None = None, before: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._command = command
        self._is_step = is_step
        self._environment = {**os.environ, **(environment or {})}
        self._before = before

    def run(self, mean_targets: float) -> dict[str, float]:
        """Seconds to the first step, and learnt tokens a second after the warm-up."""
        self._before()
        began = time.perf_counter()
        steps = list(self._steps(mean_targets))
        if len(steps) <= WARM_UP + 1:
            raise RuntimeError(f"{self._command[0]} told of {len(steps)} steps.")
        counted = steps[WARM_UP:]
        seconds = counted[-1][0] - steps[WARM_UP - 1][0]
        return {
            "first_step_seconds": round(steps[0][0] - began, 2),
            "learnt_tokens_per_second": round(sum(t for _, t in counted) / seconds, 1),
            "seconds": round(time.perf_counter() - began, 1),
        }

    def _steps(self, mean_targets: float) -> Iterator[tuple[float, float]]:
        """When each was told, and its learnt tokens."""
        process = subprocess.Popen(
            self._command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, env=self._environment,
        )  # fmt: skip
        last: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-20:], line]
            found = self._is_step(line)
            if found is not None:
                yield time.perf_counter(), found or mean_targets
        if process.wait():
            raise RuntimeError("".join(last))


def ours(home: Path, spec: Path) -> Side:
    """Fettle from its command line, with no host there yet."""

    def is_step(line: str) -> float | None:
        told = json.loads(line) if line.startswith("{") else {}
        return float(told["target_tokens"]) if told.get("type") == "step" else None

    command = [PYTHON, "-m", "engine.cli", "train", str(spec), "--json"]
    return Side(command, is_step, before=lambda: end_processes_of(home))


def factory(venv: Path, home: Path, model: Path, data: Path, steps: int) -> Side:
    """LLaMA-Factory's own command."""
    info = {"alpaca": {"file_name": str(data)}}
    (home / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    recipe = {
        **_FACTORY, "model_name_or_path": str(model), "dataset_dir": str(home), "max_steps": steps,
        "output_dir": str(home / "factory"),
    }  # fmt: skip
    path = home / "factory.yaml"  # JSON is YAML.
    path.write_text(json.dumps(recipe), encoding="utf-8")
    command = [str(venv / "bin" / "llamafactory-cli"), "train", str(path)]
    # It asks for versions of others that are older than those that it was installed with.
    environment = {"DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return Side(command, lambda line: 0.0 if "'loss':" in line else None, environment)


def plain(
    home: Path, model: Path, data: Path, steps: int,
    sizes: tuple[int, int, int] = (BATCH, ACCUMULATION, MAX_LENGTH),
) -> Side:  # fmt: skip
    """A script with TRL alone; ``sizes`` are batch, accumulation and max_length."""
    rows = json.loads(data.read_text(encoding="utf-8"))
    pairs = [
        {"prompt": f"{row['instruction']}\n{row['input']}\n", "completion": row["output"]}
        for row in rows
    ]
    path = home / "rows.json"
    path.write_text(json.dumps(pairs), encoding="utf-8")
    numbers = [str(number) for number in (steps, *sizes)]
    command = [PYTHON, "tests/bench/bare_trl.py", str(model), str(path), *numbers]
    return Side(command, lambda line: 0.0 if line.startswith("step_ms") else None)


def written(home: Path, model: Path, data: Path, steps: int, *, packing: bool) -> Path:
    """A spec of ours."""
    path = home / ("packed.toml" if packing else "fettle.toml")
    batch, accumulation = (1, PACKED_ROWS) if packing else (BATCH, ACCUMULATION)
    text = _SPEC.format(
        model=model, data=data, steps=steps, batch=batch, accumulation=accumulation,
        packing=str(packing).lower(),
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")
    return path


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    from engine.worker.sample_model import write_sample_model

    data = (arguments.data / "alpaca_en_demo.json").resolve()
    with private_home() as home:
        model = home / "model"
        write_sample_model(model, hidden=arguments.hidden)
        specs = {
            name: written(home, model, data, arguments.steps, packing=name == "packed")
            for name in ("fettle", "packed")
        }
        sides = {
            **{name: ours(home, spec) for name, spec in specs.items()},
            "trl": plain(home, model, data, arguments.steps),
        }
        if arguments.llamafactory:
            venv = arguments.llamafactory.resolve()
            sides["llamafactory"] = factory(venv, home, model, data, arguments.steps)
        told = [
            json.loads(line) for line in fettle("data", str(specs["fettle"]), "--json").splitlines()
        ]
        (report,) = (each for each in told if "trained_tokens" in each)
        mean = report["trained_tokens"] / report["samples"] * BATCH * ACCUMULATION
        chosen = {n: s for n, s in sides.items() if not arguments.only or n in arguments.only}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
        for _ in range(arguments.rounds):
            for name, side in chosen.items():
                found[name].append(side.run(mean))
                print(name, found[name][-1], flush=True)
    middle = {
        name: {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    return {
        "machine": machine(), "hidden": arguments.hidden, "steps": arguments.steps,
        "max_length": MAX_LENGTH, "median": middle, "rounds": found,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llamafactory", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = run(arguments)
    text = json.dumps(figures, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(figures["median"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
