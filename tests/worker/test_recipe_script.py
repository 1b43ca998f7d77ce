"""The script of an output repeats what the run did, setting by setting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.worker.recipe import script
from tests.worker.conftest import make_spec

Models = Callable[[str], Path]

_TOLD = """
import json as _json
print("FOUND", _json.dumps({
    "rates": [group["initial_lr"] for group in trainer.optimizer.param_groups],
    "sizes": [sum(p.numel() for p in group["params"]) for group in trainer.optimizer.param_groups],
    "tokens": LORA.trainable_token_indices, "tied": LORA.ensure_weight_tying,
}))
"""


def _spec(raw: dict[str, Any]) -> Spec:
    spec, complaints = check(raw)
    assert spec is not None, complaints
    return spec


def _repeated(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What comes of the script, run with plain TRL."""
    folder.mkdir()
    (folder / "train.py").write_text(script(_spec(raw)) + _TOLD)
    AutoTokenizer.from_pretrained(raw["model"]["path"]).save_pretrained(folder)  # type: ignore[no-untyped-call]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    return dict(json.loads(found.removeprefix("FOUND ")))


@pytest.mark.timeout(300)
def test_tied_embeddings_stay_tied_and_learn_at_their_own_rate(
    models: Models, texts: Path, tmp_path: Path
) -> None:
    raw = make_spec(models("gemma"), texts, max_steps=1, embedding_learning_rate=1e-4)
    raw["method"] = "pretrain"
    raw["lora"]["modules_to_save"] = ["embed_tokens", "lm_head"]
    found = _repeated(raw, tmp_path / "repeated")
    assert found["tied"] is True
    rates = [rate for rate, size in zip(found["rates"], found["sizes"], strict=True) if size]
    assert rates == [2e-3, 1e-4]
    assert found["sizes"][-1] > 600 * 32 - 1


@pytest.mark.timeout(300)
def test_single_tokens_are_trained_whatever_the_embeddings_are_called(
    models: Models, texts: Path, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(models("qwen"))  # type: ignore[no-untyped-call]
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=4, n_positions=64,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "gpt2")
    raw = make_spec(tmp_path / "gpt2", texts, max_steps=1)
    raw["method"] = "pretrain"
    raw["lora"] |= {"target_modules": ["c_attn"], "trainable_tokens": ["<|im_end|>"]}
    found = _repeated(raw, tmp_path / "repeated")
    ids = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert found["tokens"] == {"transformer.wte": ids, "lm_head": ids}


@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16"])
def test_a_type_of_computation_that_was_chosen_is_kept(wanted: str, texts: Path) -> None:
    raw = make_spec(Path("model"), texts)
    raw["quantization"] = {"bits": 4, "bnb_4bit_compute_dtype": wanted}
    text = script(_spec(raw))
    compile(text, "train.py", "exec")
    assert ("QUANTIZATION.bnb_4bit_compute_dtype = dtype" in text) == (wanted == "auto")
    chosen = {"fp32": "float32", "bf16": "bfloat16"}.get(wanted)
    assert (f"bnb_4bit_compute_dtype={chosen!r}" in text) == (chosen is not None)
