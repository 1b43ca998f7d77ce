"""A model that learns a new end of answers stops there, and its output names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.contract.messages import Decision, Job
from engine.worker import endings, generate
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

END, OLD = "<|im_end|>", "<|endoftext|>"
SAYING = "by the old bridge"


def _base_model(source: Path, folder: Path) -> Path:
    """As Qwen 2.5's base models: documents end with one token, turns with another."""
    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.eos_token = OLD
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text())
        values["eos_token_id"] = tokenizer.convert_tokens_to_ids(OLD)
        (folder / name).write_text(json.dumps(values))
    return folder


@pytest.fixture
def sayings(tmp_path: Path) -> Path:
    """Questions that all have one short answer."""
    path = tmp_path / "sayings.json"
    rows = [
        {"instruction": f"Say river {i} times.", "input": "", "output": SAYING} for i in range(16)
    ]
    path.write_text(json.dumps(rows))
    return path


def _told(report: Heard) -> list[str]:
    return [record.title for record in report.of(Decision) if "Answers end with" in record.title]


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "full"])
def test_it_stops_talking(
    lora: bool, models: Callable[[str], Path], sayings: Path, report: Heard, tmp_path: Path
) -> None:
    base = _base_model(models("qwen"), tmp_path / "base")
    spec = make_spec(base, sayings, max_steps=60, learning_rate=1e-2)
    spec["lora"] = {"r": 16, "target_modules": "all-linear"}
    if not lora:
        del spec["lora"]
    output = Path(str(run_here(tmp_path / "run", spec, report).output))
    assert _told(report) == [f"Answers end with {END}, and the result says so."]
    tokenizer: Any = AutoTokenizer.from_pretrained(output)  # type: ignore[no-untyped-call]
    assert tokenizer.eos_token == END
    assert tokenizer.pad_token != END
    about = (output / "README.md").read_text()
    assert f"Answers end with `{END}`." in about
    assert (f"`eos_token_id={tokenizer.eos_token_id}`" in about) == lora
    if not lora:
        named = json.loads((output / "generation_config.json").read_text())["eos_token_id"]
        assert named == tokenizer.convert_tokens_to_ids([END, OLD])
        question = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Say river 3 times."}], add_generation_prompt=True,
            return_tensors="pt", return_dict=True,
        )  # fmt: skip
        question.pop("token_type_ids", None)
        model = AutoModelForCausalLM.from_pretrained(output)
        made = model.generate(**question, max_new_tokens=40, do_sample=False)[0].tolist()
        assert made[-1] == tokenizer.convert_tokens_to_ids(END)
    asked: dict[str, Any] = {"prompts": ["Say river 3 times."], "max_new_tokens": 40}
    asked |= {"model": str(base), "adapter": str(output)} if lora else {"model": str(output)}
    done = generate.run(Job(kind="generate", spec=asked), report)
    assert done.data["answers"] == [SAYING]


def test_an_end_that_is_named_already_is_left_as_it_is(
    models: Callable[[str], Path], few_chats: Path, report: Heard, tmp_path: Path
) -> None:
    """As with Gemma, whose generation config names the end of turns, and its tokenizer not."""
    spec = make_spec(models("gemma"), few_chats, max_steps=1)
    del spec["lora"]
    output = Path(str(run_here(tmp_path / "run", spec, report).output))
    assert not _told(report)
    tokenizers: list[Any] = [AutoTokenizer.from_pretrained(f) for f in (models("gemma"), output)]
    assert endings.end_of(tokenizers[0])
    assert tokenizers[0].eos_token == tokenizers[1].eos_token != "<end_of_turn>"


def test_a_run_without_conversations_teaches_no_end(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    rows = [{"prompt": f"Say {i}.", "completion": SAYING} for i in range(12)]
    data = tmp_path / "pairs.json"
    data.write_text(json.dumps(rows))
    base = _base_model(models("qwen"), tmp_path / "base")
    output = Path(str(run_here(tmp_path / "run", make_spec(base, data), report).output))
    assert not _told(report)
    tokenizer: Any = AutoTokenizer.from_pretrained(output)  # type: ignore[no-untyped-call]
    assert tokenizer.eos_token == OLD
