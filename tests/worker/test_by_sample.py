"""Attention by sample in every model that is said to have it: what a sample gives is what it gives
alone, and nothing looks into the one before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig

from engine.worker import by_sample
from engine.worker.by_sample import (
    BORDERS,
    MODELS,
    attend_by_sample,
    attends_by_sample,
    would_attend_by_sample,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

LENGTHS = [5, 9, 1, 3]
_WINDOW = 4
_SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "sliding_window": _WINDOW, "sliding_window_pattern": 2, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}  # fmt: skip
_OTHER_NAMES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_NO_DROPOUT = dict.fromkeys(
    ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "residual_dropout",
     "hidden_dropout", "embedding_dropout"), 0.0,
)  # fmt: skip


def _tiny(kind: str) -> Any:
    names = _OTHER_NAMES if kind in ("gpt2", "gpt_bigcode") else {}
    config = CONFIG_MAPPING[kind](**{**_SIZES, **names, **_NO_DROPOUT})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]


def _logits(model: Any, ids: torch.Tensor, **more: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, use_cache=False, **more).logits
    return found


def _gradients(model: Any, batches: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Of a training step with checkpointing."""
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.zero_grad()
    for batch in batches:
        model(**batch, use_cache=False).logits.square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


# Not every version of transformers has all of them.
@pytest.mark.parametrize("lengths", [LENGTHS, [6, 6, 6]], ids=["unequal", "alike"])
@pytest.mark.parametrize("kind", sorted(MODELS & set(CONFIG_MAPPING)))
def test_samples_in_line_give_what_each_gives_alone(kind: str, lengths: list[int]) -> None:
    model = _tiny(kind)
    ids = torch.randint(3, 60, (1, sum(lengths)), generator=torch.Generator().manual_seed(1))
    alone = torch.cat([_logits(model, part) for part in ids.split(lengths, dim=1)], dim=1)
    assert would_attend_by_sample(model.config.to_dict(), "auto")
    attend_by_sample(model)
    assert attends_by_sample(model)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    borders = {BORDERS: [0, *torch.tensor(lengths).cumsum(0).tolist()]}
    in_line = _logits(model, ids, position_ids=positions, **borders)
    torch.testing.assert_close(in_line, alone, rtol=1e-5, atol=1e-6)
    mixed = _logits(model, ids, position_ids=torch.arange(sum(lengths))[None])
    assert not torch.allclose(mixed, alone, rtol=1e-3, atol=1e-4), "the check must be able to fail"
    apart = _gradients(model, [{"input_ids": part} for part in ids.split(lengths, dim=1)])
    line = _gradients(model, [{"input_ids": ids, "position_ids": positions, **borders}])
    assert line.keys() == apart.keys()
    for name, gradient in line.items():
        scale = max(float(apart[name].abs().max()), 1e-3)
        torch.testing.assert_close(gradient / scale, apart[name] / scale, rtol=1e-3, atol=2e-4)


def test_a_card_without_flash_attention_never_keeps_all_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its other quick kernels want a key for each head; with fewer torch takes the plain one."""
    asked: list[tuple[int, int, bool]] = []
    true = torch.nn.functional.scaled_dot_product_attention

    def ask(query: torch.Tensor, key: torch.Tensor, *rest: Any, **how: Any) -> torch.Tensor:
        asked.append((query.shape[1], key.shape[1], how["enable_gqa"]))
        return true(query, key, *rest, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", ask)
    tensors = [torch.rand(1, heads, 6, 8) for heads in (4, 2, 2)]
    shared = by_sample.one(tensors, window=None, dropout=0.0, scale=None)
    monkeypatch.setattr(by_sample, "may_share_heads", lambda query: False)
    torch.testing.assert_close(by_sample.one(tensors, window=None, dropout=0.0, scale=None), shared)
    assert asked == [(4, 2, True), (4, 4, False)]


def test_text_is_written_with_a_cache_as_before() -> None:
    torch.manual_seed(0)
    sizes = {**_SIZES, "sliding_window": None}
    model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes)).eval()  # type: ignore[no-untyped-call]
    ids = torch.randint(3, 60, (1, 7))
    before = model.generate(ids, max_new_tokens=8, do_sample=False)
    attend_by_sample(model)
    assert model.generate(ids, max_new_tokens=8, do_sample=False).tolist() == before.tolist()


def test_others_keep_the_attention_that_they_have() -> None:
    model = _tiny("opt")
    attend_by_sample(model)
    assert not attends_by_sample(model)
    assert not would_attend_by_sample({"model_type": "opt"}, "auto")
    assert not would_attend_by_sample({"model_type": "llama"}, "eager")
    assert not would_attend_by_sample({}, "auto")


@pytest.mark.parametrize(
    ("dtype", "autocast", "shares"),
    [
        (torch.float32, None, False),
        (torch.float32, torch.bfloat16, True),
        (torch.bfloat16, None, True),
        (torch.float16, torch.bfloat16, True),
    ],
)
def test_heads_share_keys_where_attention_is_computed_in_half_precision(
    dtype: torch.dtype, autocast: torch.dtype | None, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in fp32 under autocast make queries of fp32."""
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: autocast is not None)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: autocast)
    query: Any = SimpleNamespace(device=torch.device("cuda"), dtype=dtype, shape=(1, 8, 5, 64))
    assert by_sample.may_share_heads(query) == shares
