"""Attention within each sample of a packed row, in torch's own kernels.

transformers keeps packed samples apart by a mask, with which SDPA computes all pairs of a row's
tokens and throws most away; only flash attention, which many cards and Windows lack, is told where
samples end. Here SDPA is called for each sample by itself: the same numbers without a mask, for as
many pairs as the samples have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_SAMPLE = "sdpa_by_sample"
BORDERS = "sample_borders"
"""Name in a batch of the places between samples: the first is 0, the last the row's length."""
_KINDS = frozenset({"full_attention", "sliding_attention"})
"""Of layers that look at nothing but what is before them in their sample."""


def attend_by_sample(model: Any) -> None:
    """Let a model that computes with SDPA attend within samples, if it can. It then takes a batch
    of packed rows as one row, with the borders of samples."""
    if model.config._attn_implementation == "sdpa" and _can_attend(type(model), model.config):
        model.set_attn_implementation(BY_SAMPLE)


def attends_by_sample(model: Any) -> bool:
    """Whether it does."""
    return bool(model.config._attn_implementation == BY_SAMPLE)


def would_attend_by_sample(config: Mapping[str, Any], attn_implementation: str) -> bool:
    """Whether the model of a config.json will, where rows are packed."""
    name = config.get("model_type")
    if name not in CONFIG_MAPPING or attn_implementation not in ("auto", "sdpa"):
        return False
    kind = CONFIG_MAPPING[name]
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    model = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    return bool(model._supports_sdpa) and _can_attend(model, kind.from_dict(dict(config)))


def _can_attend(model: Any, config: PreTrainedConfig) -> bool:
    text = config.get_text_config()
    return (
        bool(model._supports_attention_backend)
        and _KINDS.issuperset(getattr(text, "layer_types", None) or ())
        and not getattr(text, "attention_chunk_size", None)
        and bool(getattr(text, "is_causal", True))
    )


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sample_borders: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' own for SDPA: query, key and value are (rows, heads, tokens, head size),
    the result is (rows, tokens, heads, head size). With an empty mask each stretch between two
    ``sample_borders`` is a sample. Raises RuntimeError if the borders did not come through."""
    if attention_mask is None or attention_mask.numel():
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, sliding_window=sliding_window, **kwargs
        )
    if sample_borders is None:
        raise RuntimeError("This model does not pass the borders of packed samples on.")
    lengths = [end - begin for begin, end in pairwise(sample_borders)]
    # Views whose gradients come back as one tensor; those of slices are as large as all.
    samples = zip(*(torch.split(each, lengths, dim=2) for each in (query, key, value)), strict=True)
    return torch.cat([
        sdpa_attention_forward(
            module, *sample, _band(sample[0], sliding_window), sliding_window=sliding_window,
            **kwargs,
        )[0]
        for sample in samples
    ], dim=1), None  # fmt: skip


def _band(query: torch.Tensor, window: int | None) -> torch.Tensor | None:
    """The mask of a sample that is longer than what its tokens look back at: (1, 1, tokens,
    tokens)."""
    length = query.shape[2]
    if window is None or length <= window:
        return None
    every = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return every.tril().triu(1 - window)[None, None]


def _mask(**kwargs: Any) -> torch.Tensor | None:
    """SDPA's own, but an empty one where transformers found that there are several samples in a
    row without padding."""
    if kwargs["attention_mask"] is not None or kwargs["allow_is_causal_skip"]:
        found: torch.Tensor | None = sdpa_mask(**kwargs)
        return found
    return torch.empty(0, 0, 0, 0, dtype=torch.bool, device=kwargs["device"])


AttentionInterface.register(BY_SAMPLE, attention)
AttentionMaskInterface.register(BY_SAMPLE, _mask)
