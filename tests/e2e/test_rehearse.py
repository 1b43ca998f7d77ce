"""``fettle rehearse`` with the real worker: it measures what the run takes, and dies where the run
would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.worker.meter import ASKED_BY
from tests.e2e.cli_driver import ROOT, Fettle
from tests.e2e.host_driver import until

write_sample_model = pytest.importorskip("engine.worker.sample_model").write_sample_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
_PATIENCE = 300.0
_ROWS = 40
_LIMIT_MIB = 800
# glibc keeps freed pieces for what comes, and how many depends on how threads fall: two runs of one
# spec differ by up to 7 % of their RAM. Pieces that it gives back at once leave what is needed.
_STEADY = {"MALLOC_MMAP_THRESHOLD_": "262144"}
_TIGHT = Path(__file__).with_name("tight_worker.py")


class Bench:
    """A home with a model, data, and specs."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fr-"))
        self.fettle = Fettle(self.home, FETTLE_IDLE_SECONDS="120", **{ASKED_BY: "1"}, **_STEADY)
        write_sample_model(self.home / "model")
        rows = [{"prompt": f"Say {n}", "completion": "a word " * (9 * n)} for n in range(1, _ROWS)]
        self.write("data.jsonl", rows)
        rows = [{"prompt": "a word " * 90, "completion": "never seen"} for _ in range(20)]
        self.write("idle.jsonl", rows)

    def write(self, name: str, rows: list[dict[str, str]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.home / name).write_text(text, encoding="utf-8")

    def spec(self, data: str = "data.jsonl", **training: Any) -> Path:
        values = {
            "max_length": 512, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
            "max_steps": 12, "gradient_checkpointing": "none", **training,
        }  # fmt: skip
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        text = (
            f'name = "try"\n[model]\npath = "{self.home / "model"}"\n'
            f'attn_implementation = "eager"\n[lora]\nr = 8\n'
            f'[dataset]\npath = "{self.home / data}"\neval_fraction = 0.1\n[training]\n'
        )
        path = self.home / "spec.toml"
        path.write_text(text + "\n".join(lines), encoding="utf-8")
        return path

    def left(self) -> list[Path]:
        """What there is of runs and rehearsals."""
        return [*self.home.glob("rehearsals"), *self.home.glob("runs/*")]

    def end_host(self) -> None:
        """It may have gone by itself, where the tests before this one ran elsewhere."""
        lock = self.home / "host" / "lock"
        if not lock.exists():
            return
        process = psutil.Process(int(lock.read_text(encoding="utf-8")))
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.end_host()
    shutil.rmtree(bench.home, ignore_errors=True)


def _pools(pools: list[dict[str, Any]]) -> dict[str, int]:
    return {pool["pool"]: pool["measured_bytes"] for pool in pools}


def test_it_takes_what_the_run_takes_and_leaves_nothing(bench: Bench) -> None:
    spec = bench.spec()
    result = bench.fettle("rehearse", spec, "--json", timeout=_PATIENCE)
    assert result.code == 0, result.err
    found = result.last
    assert (found["type"], found["verdict"]) == ("rehearsed", "fits")
    assert found["sentence"].startswith("It fits: at most ")
    assert found["total_steps"] == 12
    assert bench.left() == []
    run = bench.fettle("train", spec, "--json", timeout=_PATIENCE)
    assert run.code == 0, run.err
    # Before what follows may fail: the tests after this one want nothing left.
    assert bench.fettle("remove", "last", "--yes").code == 0
    tried, ran = _pools(found["pools"]), _pools(run.last["data"]["pools"])
    assert tried["tensors"] == pytest.approx(ran["tensors"], rel=0.03)
    assert tried["ram"] == pytest.approx(ran["ram"], rel=0.03)
    [saved] = run.of_type("checkpoint_saved")
    assert tried["disk"] == pytest.approx(saved["bytes"], rel=0.03)


def test_people_get_a_table(bench: Bench) -> None:
    result = bench.fettle("rehearse", bench.spec(max_length=64), timeout=_PATIENCE)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("It fits: at most")
    assert any(line.startswith("  Tensors in RAM") and "training" in line for line in lines)
    assert any(line.strip().startswith("The whole run") and "12 steps" in line for line in lines)
    assert "4 rows of" in result.out


def test_data_without_targets_is_refused_with_the_reason(bench: Bench) -> None:
    result = bench.fettle("rehearse", bench.spec("idle.jsonl", max_length=16), timeout=_PATIENCE)
    assert result.code == 3
    assert "It would have died: there is nothing to train on." in " ".join(result.out.split())
    assert "Raise training.max_length" in " ".join(result.out.split())
    assert bench.left() == []


def test_a_learning_rate_that_ruins_the_model_is_refused(bench: Bench) -> None:
    spec = bench.spec(learning_rate=10.0, optim="sgd", max_grad_norm=0)
    settings = ("--set", "lora.lora_alpha=1e15")
    result = bench.fettle("rehearse", spec, *settings, "--json", timeout=_PATIENCE)
    assert result.code == 3
    assert result.last["verdict"] == "would_die"
    assert "the loss is no number any more" in result.last["sentence"]
    assert "Lower training.learning_rate" in result.last["sentence"]
    assert bench.left() == []


def test_a_spec_that_makes_no_sense_is_bad_input(bench: Bench) -> None:
    result = bench.fettle("rehearse", bench.spec(max_length=-3))
    assert result.code == 2
    assert "training.max_length" in result.err
    result = bench.fettle("rehearse", bench.spec("nowhere.jsonl"))
    assert result.code == 2
    assert "dataset.path" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="a console's Ctrl-C is another thing there")
def test_ctrl_c_ends_it_and_leaves_nothing(bench: Bench) -> None:
    process = bench.fettle.start("rehearse", bench.spec(max_length=4096), "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "phase_changed":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 10, (out, err)
    assert "Nothing of the rehearsal is left" in err
    until(lambda: bench.left() == [], "nothing is left")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_too_little_memory_is_refused_and_says_where(bench: Bench) -> None:
    """With a real limit: what fits in a batch of 4 does not in one of 32."""
    bench.end_host()
    command = json.dumps([sys.executable, str(_TIGHT), str(_LIMIT_MIB)])
    tight = Fettle(
        bench.home, FETTLE_WORKER_COMMAND=command, FETTLE_IDLE_SECONDS="60", MALLOC_ARENA_MAX="1"
    )
    fitting = tight("rehearse", bench.spec(), "--json", timeout=_PATIENCE)
    assert fitting.last["verdict"] == "fits", fitting.out
    spec = bench.spec(per_device_train_batch_size=32)
    result = tight("rehearse", spec, "--json", timeout=_PATIENCE)
    assert result.code == 3, result.out
    sentence = result.last["sentence"]
    assert sentence.startswith("It would have died: out of RAM in the ")
    assert "pass of the longest batch (32 rows of " in sentence
    assert bench.left() == []


def test_the_command_loads_nothing_heavy() -> None:
    code = "import engine.cli.rehearse, sys; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"
