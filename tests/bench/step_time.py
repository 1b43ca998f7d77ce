"""Step time under host and window beside a bare TRL script; and with telemetry off beside on."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from duel import duel, settle, steps_for
from measure import PYTHON, ROOT, end_processes_of

BATCH, ACCUMULATION, MAX_LENGTH = 4, 2, 256
ROUNDS = 40


class Recipe:
    """What both sides train."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.steps = steps
        self.model = folder / "sample"
        subprocess.run(
            [PYTHON, "-c", _MAKE_MODEL, str(self.model)], cwd=ROOT, check=True, timeout=120
        )
        # Every row is longer than max_length, so both sides compute the same shapes.
        prompt, completion = "Say it all again. " * 20, "Once more, and then again. " * 60
        rows = [{"prompt": f"{i} {prompt}", "completion": completion} for i in range(256)]
        self.rows = folder / "rows.json"
        self.rows.write_text(json.dumps(rows), encoding="utf-8")
        self.spec = folder / "spec.toml"
        self.spec.write_text(
            _SPEC.format(model=self.model, rows=self.rows, steps=steps, batch=BATCH,
                         accumulation=ACCUMULATION, length=MAX_LENGTH),
            encoding="utf-8",
        )  # fmt: skip


class Bare:
    """The plain script."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self._out = out
        sizes = map(str, (recipe.steps, BATCH, ACCUMULATION, MAX_LENGTH))
        with out.open("w") as file:
            self.process = psutil.Popen(
                [PYTHON, "tests/bench/bare_trl.py", str(recipe.model), str(recipe.rows), *sizes],
                cwd=ROOT, stdout=file,
            )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        return [self.process]

    def milliseconds(self) -> list[float]:
        words = [line.split() for line in self._out.read_text(encoding="utf-8").splitlines()]
        return [float(line[1]) for line in words if line[:1] == ["step_ms"] and len(line) == 2]


class Fettle:
    """A run under a host of its own, with the real window open on it if wanted."""

    def __init__(self, recipe: Recipe, home: Path, *, window: bool, telemetry: bool) -> None:
        self._home = home
        self._environment = {**os.environ, "FETTLE_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
        if not telemetry:
            self._environment["FETTLE_TELEMETRY"] = "off"
        started = json.loads(self._call("engine.cli", "train", str(recipe.spec), "--detach"))
        self._metrics = Path(started["folder"]) / "metrics.jsonl"
        if window:
            subprocess.Popen(
                [PYTHON, "-m", "app.main", "--run", started["run"]], cwd=ROOT,
                env=self._environment,
            )  # fmt: skip

    def _call(self, module: str, *arguments: str) -> str:
        done = subprocess.run(
            [PYTHON, "-m", module, *arguments, "--json"], cwd=ROOT, env=self._environment,
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.stdout.splitlines()[-1]

    def processes(self) -> list[psutil.Process]:
        return list(_of_home(self._home))

    def milliseconds(self) -> list[float]:
        if not self._metrics.exists():
            return []
        # The last line may be half written.
        lines = self._metrics.read_text(encoding="utf-8").split("\n")[:-1]
        steps = [row for row in map(json.loads, lines) if row["type"] == "step"]
        assert all(row["grad_norm"] > 0 for row in steps)
        return [row["step_ms"] for row in steps]


def _of_home(home: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("FETTLE_HOME") == str(home):
                yield process
        except psutil.Error:
            continue


def run() -> dict[str, Any]:
    os.environ.pop("FETTLE_WORKER_COMMAND", None)
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        recipe = Recipe(Path(folder), steps_for(ROUNDS))
        with _running(recipe, Path(folder), None, {"window": True, "telemetry": True}) as sides:
            app = duel(*sides, ROUNDS)
        plain, measured = ({"window": False, "telemetry": on} for on in (False, True))
        with _running(recipe, Path(folder), plain, measured) as sides:
            telemetry = duel(*sides, ROUNDS)
    speed = 1 / telemetry["ratio"]
    low, _ = telemetry["ratio_quartiles"]
    within_noise = low <= 1 / 0.999
    return {
        "host_and_window_beside_bare_trl": app | {"limit": 1.03, "passed": app["ratio"] <= 1.03},
        "telemetry": telemetry
        | {
            "tokens_per_second_on_over_off": round(speed, 4),
            "limit": 0.999,
            "within_noise": within_noise,
            "passed": speed >= 0.999 or within_noise,
        },
    }


@contextmanager
def _running(
    recipe: Recipe, folder: Path, a: dict[str, bool] | None, b: dict[str, bool]
) -> Iterator[list[Any]]:
    """Both sides, training; ``a`` is the bare script if it is None."""
    with ExitStack() as stack:
        sides: list[Any] = []
        for options in (a, b):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            # Ended before their folder goes.
            stack.callback(end_processes_of, home)
            if options is None:
                bare = Bare(recipe, home / "steps")
                stack.callback(bare.process.kill)
                sides.append(bare)
            else:
                sides.append(Fettle(recipe, home, **options))
            settle(sides[-1])
        yield sides


_MAKE_MODEL = """
import sys
from pathlib import Path
from engine.worker.sample_model import write_sample_model
write_sample_model(Path(sys.argv[1]), family="llama", seed=0, hidden=256, layers=6)
"""

_SPEC = """
name = "bench"
method = "sft"
[model]
path = "{model}"
[lora]
r = 16
lora_alpha = 32
[dataset]
path = "{rows}"
format = "prompt_completion"
eval_fraction = 0.0
[training]
max_steps = {steps}
per_device_train_batch_size = {batch}
gradient_accumulation_steps = {accumulation}
max_length = {length}
learning_rate = 2e-4
lr_scheduler_type = "cosine"
save_minutes = 0.0
"""
