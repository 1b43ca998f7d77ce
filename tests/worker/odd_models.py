"""Tiny random models of families that differ from the usual ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

_COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
    # So large that layers count for something.
    "initializer_range": 0.2,
}  # fmt: skip
_GRANITE = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16, "mamba_n_groups": 1}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
_DENSE = {"num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 64}
ODD: dict[str, dict[str, Any]] = {
    "granitemoe": {"num_local_experts": 4, "router_aux_loss_coef": 0.5},
    # As Granite 4 micro.
    "granite_dense": {
        **_GRANITE, **_DENSE, "model_type": "granitemoehybrid", "router_aux_loss_coef": 0.01,
        "layer_types": ["attention", "attention"], "position_embedding_type": "rope",
    },
    "granite_mamba": {
        **_GRANITE, **_DENSE, "model_type": "granitemoehybrid", "router_aux_loss_coef": 0.0,
        "layer_types": ["mamba", "attention"],
    },
    "phimoe": {"num_local_experts": 4, "router_aux_loss_coef": 0.5},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.5},
    "qwen3_5_text": _LINEAR,
    "gpt_oss": {
        "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "bloom": {"n_layer": 2, "n_head": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.2},
    "mamba": {"state_size": 16, "time_step_rank": 8},
    "modernbert-decoder": {"layer_types": ["sliding_attention", "full_attention"]},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 64, "logits_soft_cap": 3.0},
    "xlstm": {"num_heads": 4, "num_blocks": 2, "output_logit_soft_cap": 3.0},
    "llama4_text": {
        "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 64,
        "layer_types": ["full_attention", "full_attention"],
    },
    "stablelm": {},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}  # fmt: skip


def config_of(kind: str, **fields: Any) -> Any:
    """The config of one of :data:`ODD`."""
    values = {**_COMMON, **ODD[kind], **fields}
    return CONFIG_MAPPING[values.pop("model_type", kind)](**values)


def write_odd_model(folder: Path, kind: str, tokenizer_of: Path, **fields: Any) -> Path:
    """Write such a model with the tokenizer of another one."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)  # type: ignore[no-untyped-call]
    config = config_of(
        kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id, **fields,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
