"""Training the rows of single tokens, and what is said about rows that nobody has trained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl.trainer.utils import add_fused_lm_head

from engine.contract.messages import Finding
from engine.contract.spec import LoraSpec, ModelSpec
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.adapter import forecast
from engine.planning.embeddings import cost_of
from engine.store import checkpoints
from engine.worker import untrained_tokens
from engine.worker.embedding_file import stored_rows
from engine.worker.failures import JobError
from engine.worker.loading import add_adapter, ids_of
from engine.worker.recipe import script
from engine.worker.samples import Samples
from engine.worker.trace.live_bytes import LiveBytes
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


def peak_bytes(config: dict[str, Any], lora: LoraSpec, ids: list[int]) -> int:
    """The most that is alive in a forward and backward pass with TRL's loss."""
    unused = ("model_type", "architectures", "torch_dtype")
    rest = {name: value for name, value in config.items() if name not in unused}
    built = AutoConfig.for_model(config["model_type"], **rest)
    model = add_adapter(AutoModelForCausalLM.from_config(built), lora, 0, ids)
    add_fused_lm_head(model.get_base_model())
    tokens = torch.arange(64).reshape(2, 32)
    with LiveBytes() as live:
        live.hold(model.parameters(), "weights")
        live.enter("step", "transient")
        model(input_ids=tokens, labels=tokens, fused_lm_head=True).loss.backward()
    return live.peak


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_copy_for_single_tokens_is_as_large_as_told(tied: bool, chats: Path) -> None:
    sizes = {"vocab_size": 20_000, "hidden_size": 64, "tie_word_embeddings": tied}
    shape = {
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    config = {**(catalogue.config_of("meta-llama/Llama-3.1-8B") or {}), **sizes, **shape}
    spec, _ = check(make_spec(Path("x"), chats, precision="fp32"))
    assert spec is not None
    told = cost_of("tokens", spec, config, 2).passing_bytes
    extra = peak_bytes(config, LoraSpec(r=4), [5, 6]) - peak_bytes(config, LoraSpec(r=4), [])
    assert extra == pytest.approx(told, rel=0.01)


@pytest.mark.timeout(300)
def test_the_script_repeats_it_with_plain_trl(models: Models, texts: Path, tmp_path: Path) -> None:
    raw = spec_with_tokens(models("qwen"), texts, "qwen", max_steps=1)
    spec, complaints = check({**raw, "method": "pretrain"})
    assert spec is not None, complaints
    (tmp_path / "train.py").write_text(script(spec))
    AutoTokenizer.from_pretrained(models("qwen")).save_pretrained(tmp_path)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    saved = load_file(tmp_path / "repeated" / "adapter_model.safetensors")
    assert any("trainable_tokens_delta" in name for name in saved)


def test_a_token_that_is_not_there_is_named(models: Models) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models("llama"))
    with pytest.raises(JobError, match="<\\|nowhere\\|>"):
        ids_of(["<|eot_id|>", "<|nowhere|>"], tokenizer)
    assert len(ids_of(["<|eot_id|>", "<|eot_id|>"], tokenizer)) == 1


# ---------------------------------------------------------------- rows that nobody has trained


def with_rows(models: Models, family: str, folder: Path, change: Callable[..., None]) -> Path:
    """A copy of a tiny model with some rows of its embedding changed."""
    model = AutoModelForCausalLM.from_pretrained(models(family))
    tokenizer = AutoTokenizer.from_pretrained(models(family))
    with torch.no_grad():
        change(model.get_input_embeddings().weight, tokenizer.convert_tokens_to_ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def zero(weight: torch.Tensor, ids: Callable[[str], int]) -> None:
    weight[ids("<|start_header_id|>")] = 0
    weight[ids("<|end_header_id|>")] = 1e-9


def same(weight: torch.Tensor, ids: Callable[[str], int]) -> None:
    weight[ids("<|start_header_id|>")] = weight[ids("<|end_header_id|>")]


def mean(weight: torch.Tensor, ids: Callable[[str], int]) -> None:
    weight += 1.0
    weight[ids("<|start_header_id|>")] = weight.mean(dim=0)
    weight[ids("<|end_header_id|>")] = weight.mean(dim=0) + 1e-4


def findings(report: Heard) -> list[Finding]:
    return [found for found in report.of(Finding) if found.code == "untrained_tokens"]


@pytest.mark.parametrize("change", [zero, same, mean])
def test_untrained_tokens_are_named_before_training(
    change: Callable[..., None], models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    folder = with_rows(models, "llama", tmp_path / "model", change)
    run_here(tmp_path / "run", make_spec(folder, chats, max_steps=1), report)
    (found,) = findings(report)
    assert "2 tokens" in found.title
    assert "<|start_header_id|>, <|end_header_id|>" in found.title
    assert 'lora.trainable_tokens = ["<|start_header_id|>", "<|end_header_id|>"]' in found.remedy
    assert "chat template" in found.remedy


def test_the_instruct_model_is_proposed(
    models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    folder = with_rows(models, "llama", tmp_path / "model", zero)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    spec, _ = check(make_spec(Path("meta-llama/Llama-3.1-8B"), chats))
    assert spec is not None
    token = tokenizer.convert_tokens_to_ids("<|end_header_id|>")
    samples = Samples.of([([token, token], [True, True])])
    untrained_tokens.look(spec, untrained_tokens.embedding_of(model), tokenizer, samples, report)
    (found,) = findings(report)
    assert found.title.endswith("has never learnt a token of the data: <|end_header_id|>.")
    assert found.remedy.startswith("Start from meta-llama/Llama-3.1-8B-Instruct, or train")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen", "gemma"])
def test_a_model_that_knows_its_tokens_is_not_suspected(
    family: str, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    run_here(tmp_path / "run", make_spec(models(family), chats, max_steps=1), report)
    assert findings(report) == []


@pytest.mark.parametrize(
    "lora",
    [
        None,
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_tokens": ["<|start_header_id|>", "<|end_header_id|>"]},
    ],
)
def test_rows_that_this_run_trains_are_no_trouble(
    lora: dict[str, Any] | None, models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    folder = with_rows(models, "llama", tmp_path / "model", zero)
    spec = make_spec(folder, chats, max_steps=1)
    spec.pop("lora")
    run_here(tmp_path / "run", spec if lora is None else {**spec, "lora": lora}, report)
    assert findings(report) == []


def test_a_row_that_is_not_a_number_is_refused(
    models: Models, chats: Path, report: Heard, tmp_path: Path
) -> None:
    def spoil(weight: torch.Tensor, ids: Callable[[str], int]) -> None:
        weight[ids("<|start_header_id|>"), 3] = float("nan")

    folder = with_rows(models, "llama", tmp_path / "model", spoil)
    with pytest.raises(JobError, match="start_header_id") as raised:
        run_here(tmp_path / "run", make_spec(folder, chats), report)
    assert raised.value.code == "bad_model"


def test_tokens_that_the_data_lacks_are_not_looked_for(
    models: Models, texts: Path, report: Heard, tmp_path: Path
) -> None:
    folder = with_rows(models, "llama", tmp_path / "model", zero)
    spec = {**make_spec(folder, texts, max_steps=1), "method": "pretrain"}
    run_here(tmp_path / "run", spec, report)
    assert findings(report) == []


def test_special_tokens_are_found_and_what_has_no_row_is_none_of_them() -> None:
    samples = Samples.of([(np.array([1, 5, 9, 20]), np.ones(4, np.bool_)), ([3], [True])])
    assert untrained_tokens._used(samples, [3, 4, 5, 9], 10) == [3, 5, 9]
    others = Samples.of([(np.array([1, 10, 20]), np.ones(3, np.bool_))])
    assert untrained_tokens._used(others, [0, 9], 10) == []


def test_looking_is_quick() -> None:
    """As many rows as Llama 3 has, half as wide; four million tokens of data."""
    weight = torch.randn(128256, 1024, dtype=torch.bfloat16)
    special = list(range(128000, 128256))
    tokens = np.random.default_rng(0).integers(0, 128256, 4_000_000, dtype=np.int32)
    samples = Samples.adjoining(tokens, np.ones(len(tokens), np.bool_), np.array([0, len(tokens)]))

    def once() -> float:
        start = time.perf_counter()
        used = untrained_tokens._used(samples, special, len(weight))
        untrained_tokens.judge(weight, used, special)
        return time.perf_counter() - start

    assert min(once() for _ in range(5)) < 0.25  # the best of five: the machine may be busy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_are_read_from_the_files_as_they_are(
    dtype: torch.dtype, models: Models, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(models("llama")).to(dtype)
    model.save_pretrained(tmp_path / "model")
    rows = stored_rows(ModelSpec(path=str(tmp_path / "model")))
    assert rows is not None
    places = torch.tensor([0, 7, 599])
    weight = untrained_tokens.embedding_of(model)
    assert (len(rows), tuple(rows.shape)) == (len(weight), tuple(weight.shape))
    assert torch.equal(rows[places], weight[places].float())
    assert stored_rows(ModelSpec(path="nobody/nothing")) is None
