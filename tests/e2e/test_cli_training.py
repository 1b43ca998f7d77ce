"""The command line with the real worker: a model, a run, stop, resume, the adapter."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.paths import RESOURCES
from tests.e2e.cli_driver import Fettle
from tests.e2e.host_driver import until

pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STEPS = 50
_PATIENCE = 240.0


@pytest.fixture(scope="module")
def fettle() -> Iterator[Fettle]:
    home = Path(tempfile.mkdtemp(prefix="ft-"))
    fettle = Fettle(home, FETTLE_IDLE_SECONDS="60")
    made = fettle("sample-model", home / "model", "--family", "llama", "--json", timeout=_PATIENCE)
    assert made.code == 0, made.err
    assert made.last["bytes"] > 100_000
    (home / "spec.toml").write_text(_spec(home), encoding="utf-8")
    yield fettle
    pid = int((home / "host" / "lock").read_text(encoding="utf-8"))
    psutil.Process(pid).kill()
    shutil.rmtree(home, ignore_errors=True)


def _spec(home: Path) -> str:
    return f"""\
name = "real"
[model]
path = "{home / "model"}"
[lora]
r = 8
modules_to_save = ["embed_tokens", "lm_head"]
[dataset]
path = "{RESOURCES / "samples" / "demo.jsonl"}"
[training]
max_length = 128
per_device_train_batch_size = 32
gradient_accumulation_steps = 1
max_steps = {STEPS}
learning_rate = 5e-3
gradient_checkpointing = "none"
save_steps = 5
"""


def steps(lines: list[dict[str, Any]]) -> list[int]:
    return [line["step"] for line in lines if line.get("type") == "step"]


def test_a_run_from_its_start_to_its_removal(fettle: Fettle) -> None:
    """Train, watch, stop, resume, follow from a record, show, remove."""
    run = fettle("train", fettle.home / "spec.toml", "--detach", "--json").last["run"]
    with fettle.start("follow", run, "--json") as follower:
        _wait_for_step(follower, 3)
        stopped = fettle("stop", run, "--json", timeout=_PATIENCE)
        follower.communicate(timeout=_PATIENCE)
    assert (stopped.code, stopped.last["outcome"], follower.returncode) == (0, "stopped", 10)
    at = stopped.last["step"]
    assert 3 <= at < STEPS

    resumed = fettle("resume", run, "--json", timeout=_PATIENCE)
    assert resumed.code == 0, resumed.err
    assert steps(resumed.lines) == list(range(at + 1, STEPS + 1))
    (certificate,) = resumed.of_type("resume_certificate")
    assert (certificate["verdict"], certificate["step"], certificate["attempt"]) == ("same", at, 2)
    assert certificate["loss"] == certificate["loss_before"]
    border = resumed.of_type("step")[0]["seq"]
    assert certificate["seq"] < border
    rest = fettle("follow", run, "--since", str(border), "--json")
    assert steps(rest.lines) == list(range(at + 2, STEPS + 1))
    assert steps(fettle("follow", run, "--json").lines) == list(range(1, STEPS + 1))

    shown = fettle("show", run, "--json").last
    assert (shown["state"], shown["step"], shown["attempt"]) == ("finished", STEPS, 2)
    assert shown["certificate"]["lines"] == certificate["lines"]
    told = fettle("show", run).out
    assert "Resumed, and it is the same run (attempt 2, after step" in told
    assert "Replayed loss" in told
    output = Path(shown["output"])
    assert (output / "adapter_model.safetensors").is_file()
    adapter = json.loads((output / "adapter_config.json").read_text())
    assert adapter["r"] == 8
    assert len(adapter["target_modules"]) == 14
    assert adapter["target_modules"] == sorted(adapter["target_modules"])
    assert "local_files_only" not in json.loads((output / "tokenizer_config.json").read_text())
    assert (output / "train.py").is_file()
    assert fettle("remove", run, "--yes", "--json").code == 0
    # It is hidden at once, and deleted beside other work.
    until(lambda: fettle.runs_on_disk() == [], "the folder is gone")


def _wait_for_step(follower: Any, number: int) -> None:
    for line in follower.stdout:
        if json.loads(line).get("step", 0) >= number:
            return
    raise AssertionError(f"it ended before step {number}")


def test_a_model_of_nonsense_fails_in_a_sentence(fettle: Fettle, tmp_path: Path) -> None:
    """What no check can see before the run starts is a finding, and exit 20."""
    broken = tmp_path / "model"
    shutil.copytree(fettle.home / "model", broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "hidden_size": 96}))
    result = fettle(
        "train", fettle.home / "spec.toml", "--set", f"model.path={broken}", "--json",
        timeout=_PATIENCE,
    )  # fmt: skip
    assert result.code == 20, result.out
    assert result.last["outcome"] == "failed"
    [finding] = [f for f in result.of_type("finding") if f["severity"] == "error"]
    assert finding["title"]
    assert "Traceback" not in finding["title"]


def test_a_sample_model_is_not_written_over_what_is_there(fettle: Fettle) -> None:
    result = fettle("sample-model", fettle.home / "model", "--json")
    assert result.code == 2
    assert "not empty" in result.last["sentence"]
