"""Step time under host and window beside a bare TRL script; and with telemetry off beside on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from measure import PYTHON, ROOT, alternate, fettle, private_home

STEPS, BATCH, ACCUMULATION, MAX_LENGTH = 16, 4, 2, 256
SKIPPED = 4
"""First steps, in which allocators and caches fill."""
ROUNDS = 3


class Pair:
    """The same recipe both ways."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.model = home / "sample"
        subprocess.run(
            [PYTHON, "-c", _MAKE_MODEL, str(self.model)], cwd=ROOT, check=True, timeout=120
        )
        # Every row is longer than max_length, so both sides compute the same shapes.
        prompt, completion = "Say it all again. " * 20, "Once more, and then again. " * 60
        rows = [{"prompt": f"{i} {prompt}", "completion": completion} for i in range(256)]
        self.rows = home / "rows.json"
        self.rows.write_text(json.dumps(rows), encoding="utf-8")
        self.spec = home / "spec.toml"
        self.spec.write_text(
            _SPEC.format(model=self.model, rows=self.rows, steps=STEPS, batch=BATCH,
                         accumulation=ACCUMULATION, length=MAX_LENGTH),
            encoding="utf-8",
        )  # fmt: skip

    def bare(self) -> list[float]:
        sizes = map(str, (STEPS, BATCH, ACCUMULATION, MAX_LENGTH))
        done = subprocess.run(
            [PYTHON, "tests/bench/bare_trl.py", str(self.model), str(self.rows), *sizes],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        return [float(ms) for ms in json.loads(done.stdout.splitlines()[-1])][SKIPPED:]

    def ours(self) -> list[float]:
        """Under the host, with the real window open on the run."""
        return self._run(with_window=True)

    def without_telemetry(self) -> list[float]:
        os.environ["FETTLE_TELEMETRY"] = "off"
        try:
            return self._run(with_window=False)
        finally:
            del os.environ["FETTLE_TELEMETRY"]

    def with_telemetry(self) -> list[float]:
        return self._run(with_window=False)

    def _run(self, *, with_window: bool) -> list[float]:
        from measure import end_processes_of

        started = json.loads(fettle("train", str(self.spec), "--detach", "--json").splitlines()[-1])
        window = _window(started["run"], self.home) if with_window else None
        try:
            fettle("follow", started["run"], "--json")
        finally:
            if window is not None:
                window.kill()
                window.wait()
        # The next round begins with a host of its own.
        end_processes_of(self.home)
        lines = (Path(started["folder"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [row for row in map(json.loads, lines) if row["type"] == "step"]
        assert len(steps) == STEPS, len(steps)
        assert all(row["grad_norm"] > 0 for row in steps)
        return [row["step_ms"] for row in steps][SKIPPED:]


def _window(run: str, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PYTHON, "-m", "app.main", "--run", run], cwd=ROOT,
        env={**os.environ, "FETTLE_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip


def run() -> dict[str, Any]:
    os.environ.pop("FETTLE_WORKER_COMMAND", None)
    with private_home() as home:
        pair = Pair(home)
        app = alternate(pair.bare, pair.ours, ROUNDS)
        telemetry = alternate(pair.without_telemetry, pair.with_telemetry, ROUNDS)
    noise = telemetry["noise_of_a"]
    speed = 1 / telemetry["ratio"]
    return {
        "host_and_window_beside_bare_trl": app | {"limit": 1.03, "passed": app["ratio"] <= 1.03},
        "telemetry": telemetry
        | {
            "tokens_per_second_on_over_off": round(speed, 4),
            "limit": 0.999,
            "within_noise": bool(speed < 0.999 and 1 - speed <= noise),
            "passed": bool(speed >= 0.999 or 1 - speed <= noise),
        },
    }


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
