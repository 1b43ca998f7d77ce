"""Training the rows of single tokens, and what is said about rows that nobody has trained."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.contract.spec import LoraSpec
from engine.contract.validate import check
from engine.planning.adapter import forecast
from engine.planning.embeddings import cost_of
from engine.store import checkpoints
from engine.worker.failures import JobError
from engine.worker.loading import ids_of
from engine.worker.recipe import script
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning"),
]
Models = Callable[[str], Path]
TOKENS = {"llama": "<|start_header_id|>", "qwen": "<|im_start|>"}


def spec_with_tokens(model: Path, data: Path, family: str, **training: Any) -> dict[str, Any]:
    spec = make_spec(model, data, embedding_learning_rate=1e-2, **training)
    spec["lora"]["trainable_tokens"] = [TOKENS[family]]
    return spec


def rows(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


@pytest.mark.parametrize("family", TOKENS)
def test_only_the_rows_of_the_tokens_change(
    family: str, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    folder, spec = models(family), spec_with_tokens(models(family), chats, family)
    done = run_here(tmp_path / "run", spec, report)
    assert done.outcome == "finished"
    plain = AutoModelForCausalLM.from_pretrained(folder)
    before = [weight.detach().clone() for weight in rows(plain)]
    trained = PeftModel.from_pretrained(plain, done.output).merge_and_unload()
    own = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(TOKENS[family])
    for old, new in zip(before, rows(trained), strict=True):
        changed = (old != new).any(dim=1).nonzero().flatten().tolist()
        assert changed == [own]


@pytest.mark.parametrize("family", TOKENS)
def test_the_file_is_as_forecast(
    family: str, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    spec = spec_with_tokens(models(family), chats, family, max_steps=1)
    done = run_here(tmp_path / "run", spec, report)
    config = AutoConfig.from_pretrained(models(family)).to_dict()
    told = forecast(config, LoraSpec(**spec["lora"]))
    assert told is not None
    file = Path(str(done.output)) / "adapter_model.safetensors"
    assert told.file_bytes == file.stat().st_size
    assert told.trainable == sum(tensor.numel() for tensor in load_file(file).values())


@pytest.mark.parametrize("family", TOKENS)
def test_resume_goes_on_with_the_same_rows(
    family: str, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    spec = spec_with_tokens(models(family), chats, family, save_steps=2)
    whole = run_here(tmp_path / "whole", spec, report)
    save = dict(checkpoints.published(tmp_path / "whole"))[2]
    again = run_here(tmp_path / "again", spec, report, checkpoint=str(save))
    first, second = (
        load_file(Path(str(done.output)) / "adapter_model.safetensors") for done in (whole, again)
    )
    assert any("trainable_tokens_delta" in name for name in first)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_8bit", "adafactor", "sgd"])
@pytest.mark.parametrize("family", TOKENS)
def test_optimizer_states_are_as_large_as_told(
    family: str, optim: str, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    raw = make_spec(models(family), chats, max_steps=1, optim=optim, save_steps=1)
    raw["lora"]["modules_to_save"] = ["embed_tokens", "lm_head"]
    run_here(tmp_path / "run", raw, report)
    save = dict(checkpoints.published(tmp_path / "run"))[1]
    states = load_file(save / "optimizer.safetensors")
    embeddings = [v for k, v in states.items() if "embed_tokens" in k or "lm_head" in k]
    real = sum(tensor.numel() * tensor.element_size() for tensor in embeddings)
    spec, _ = check(raw)
    assert spec is not None
    config = AutoConfig.from_pretrained(models(family)).to_dict()
    told = cost_of("both", spec, config).optimizer_bytes
    # The code book of 8-bit states is a few kilobytes, whatever the model.
    assert real == pytest.approx(told, rel=0.01, abs=4200 if "8bit" in optim else 16)


def test_the_script_repeats_it_with_plain_trl(models: Models, texts: Path, tmp_path: Path) -> None:
    raw = spec_with_tokens(models("qwen"), texts, "qwen", max_steps=1)
    spec, complaints = check({**raw, "method": "pretrain"})
    assert spec is not None, complaints
    (tmp_path / "train.py").write_text(script(spec))
    AutoTokenizer.from_pretrained(models("qwen")).save_pretrained(tmp_path)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    saved = load_file(tmp_path / "repeated" / "adapter_model.safetensors")
    assert any("trainable_tokens_delta" in name for name in saved)


def test_a_token_that_is_not_there_is_named(models: Models) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    with pytest.raises(JobError, match="<\\|nowhere\\|>"):
        ids_of(["<|eot_id|>", "<|nowhere|>"], tokenizer)
    assert len(ids_of(["<|eot_id|>", "<|eot_id|>"], tokenizer)) == 1
