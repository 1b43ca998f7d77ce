"""Attention is what the model has: Gemma 2 caps its scores, which torch's kernel cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from engine.contract.messages import Step
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_a_model_without_sdpa_trains_with_auto(
    models: Callable[[str], Path], chats: Path, report: Heard, tmp_path: Path
) -> None:
    model = tmp_path / "gemma2"
    tokenizer = AutoTokenizer.from_pretrained(models("gemma"))
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=32,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    done = run_here(tmp_path / "run", make_spec(model, chats, packing=True), report)
    assert done.outcome == "finished"
    steps = report.of(Step)
    assert len(steps) == 4
    assert all(step.grad_norm > 0 for step in steps)
