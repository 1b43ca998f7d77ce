"""What cannot be trained is refused: exit 2, a sentence with the place, quickly, no traces."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import main, samples
from tests.allowance import is_within
from tests.e2e.bad_datasets import BAD_DATASETS, GOOD, Bad, write
from tests.e2e.bad_specs import BAD_SPECS, SOUND
from tests.e2e.cli_driver import Fettle, Result

MOST_SECONDS = 2.0
MOST_WAIT_SECONDS = 10.0


@pytest.fixture(scope="module")
def fettle() -> Iterator[Fettle]:
    """A command line whose host runs already, as it does when the window is open."""
    home = Path(tempfile.mkdtemp(prefix="fb-"))
    (home / "model").mkdir()
    (home / "model" / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (home / "good.jsonl").write_text(GOOD * 20, encoding="utf-8")
    fettle = Fettle(home, FETTLE_IDLE_SECONDS="20")
    assert fettle("runs").code == 0
    yield fettle
    shutil.rmtree(home, ignore_errors=True)


def refused(result: Result, fettle: Fettle, says: str) -> None:
    """The command was refused as it must be."""
    assert result.code == 2, result.err
    [refusal] = result.lines
    assert refusal["type"] == "refusal"
    assert refusal["sentence"]
    assert says in result.err
    assert any(says in f"{c['field']} {c['problem']}" for c in refusal["complaints"])
    assert "Traceback" not in result.err
    if result.seconds > MOST_SECONDS:  # The machine may be busy, but nothing is waited for.
        assert is_within(result.cpu_seconds, MOST_SECONDS, time.thread_time)
        assert result.seconds <= MOST_WAIT_SECONDS
    assert fettle.runs_on_disk() == []


@pytest.mark.parametrize("name", BAD_SPECS)
def test_a_bad_spec_is_refused(name: str, fettle: Fettle, tmp_path: Path) -> None:
    content, field = BAD_SPECS[name]
    path = tmp_path / "spec.toml"
    if isinstance(content, str):
        model, data = fettle.home / "model", fettle.home / "good.jsonl"
        content = content.replace("{model}", str(model)).replace("{data}", str(data)).encode()
    path.write_bytes(content)
    refused(fettle("train", path, "--json"), fettle, field)


@pytest.mark.parametrize("name", BAD_DATASETS)
def test_a_bad_dataset_is_refused(name: str, fettle: Fettle, tmp_path: Path) -> None:
    bad = BAD_DATASETS[name]
    path = tmp_path / "spec.toml"
    path.write_text(_spec(fettle, write(tmp_path, bad), bad), encoding="utf-8")
    result = fettle("train", path, "--json")
    refused(result, fettle, bad.says)
    assert result.last["complaints"][0]["field"].startswith("dataset")


def _spec(fettle: Fettle, data: Path, bad: Bad) -> str:
    head = f'method = "{bad.method}"\n'
    body = SOUND.format(model=fettle.home / "model", data=data)
    return head + body + f'format = "{bad.format}"\n'


def test_there_are_at_least_thirty_of_each() -> None:
    assert len(BAD_SPECS) >= 30
    assert len(BAD_DATASETS) >= 30


def test_the_answer_is_quick_without_a_host_too(fettle_home: Path, tmp_path: Path) -> None:
    """A cold start included: the host is started for the sake of a bad dataset."""
    cold = Fettle(fettle_home)
    bad = BAD_DATASETS["broken json at line 3"]
    path = tmp_path / "spec.toml"
    path.write_text(SOUND.format(model=tmp_path, data=write(tmp_path, bad)), encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    refused(cold("train", path, "--json"), cold, "line 3")


def test_all_complaints_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('nme = "x"\n[training]\nseed = -1\nmax_length = 0\n', encoding="utf-8")
    assert main(["train", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    fields = [c["field"] for c in json.loads(captured.out)["complaints"]]
    assert {"nme", "model", "dataset", "training.seed", "training.max_length"} <= set(fields)
    assert "Did you mean name?" in captured.err


@pytest.mark.parametrize("wrong", ["max_steps = 0", "max_steps = true", "max_stepps = 3"])
def test_files_are_looked_at_beside_wrong_settings(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.toml"
    text = f"{SOUND.format(model=tmp_path, data='gone.jsonl')}eval_fraction = 2\n[training]\n"
    path.write_text(text + wrong, encoding="utf-8")
    assert main(["train", str(path), "--json"]) == 2
    complaints = json.loads(capsys.readouterr().out)["complaints"]
    field = f"training.{wrong.split()[0]}"
    assert sorted(c["field"] for c in complaints) == sorted(
        ["dataset.eval_fraction", field, "dataset.path", "model.path"]
    )
    assert any(str(tmp_path / "gone.jsonl") in c["problem"] for c in complaints)


def test_a_command_asks_for_no_more_than_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan needs no data, a look at it no answers; a run needs both, and a name."""
    (tmp_path / "empty.jsonl").write_text('{"instruction": "a", "output": ""}\n' * 20)
    path = tmp_path / "spec.toml"

    def told(command: str, data: str) -> set[str]:
        text = SOUND.format(model="org/m", data=data).replace('name = "sound"\n', "")
        path.write_text(f"{text}[training]\nmax_steps = 0\n", encoding="utf-8")
        assert main([command, str(path), "--json"]) == 2
        return {each["field"] for each in json.loads(capsys.readouterr().out)["complaints"]}

    hub = {"model.path"}  # The hub is out of reach here.
    wrong = {"training.max_steps"}
    assert told("plan", "gone.jsonl") == wrong
    assert told("data", "gone.jsonl") - hub == wrong | {"dataset.path"}
    assert told("data", "empty.jsonl") - hub == wrong
    assert told("train", "empty.jsonl") - hub == wrong | {"name", "dataset.path"}


def test_layers_are_looked_for_beside_missing_data(fettle: Fettle, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    shape = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 512,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    text = SOUND.format(model=tmp_path, data="gone.jsonl")
    text = text.replace("[lora]", '[lora]\ntarget_modules = ["nonsense"]')
    path.write_text(text, encoding="utf-8")
    complaints = fettle("train", path, "--json").last["complaints"]
    assert {c["field"] for c in complaints} == {"dataset.path", "lora.target_modules"}


@pytest.mark.skipif(sys.platform != "linux", reason="names a place of Linux")
@pytest.mark.parametrize("place", ["afile/x", "/proc/x", "", "x" * 300])
def test_a_sample_model_in_an_impossible_place_is_refused_at_once(
    place: str, fettle_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afile").write_text("in the way", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(samples, "make", lambda *_: pytest.fail("it was tried"))
    assert main(["sample-model", place]) == 2
    assert errors.getvalue().startswith("fettle: ")
    assert re.search(r"Name a (new folder|folder elsewhere)\.\n$", errors.getvalue())
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]
