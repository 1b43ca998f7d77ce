"""Attention within each sample of a batch that is one long row, in torch's own kernels.

Rows of unequal length cost twice: padding is computed, and a mask, which keeps it or the other
samples of a packed row out, makes SDPA compute all pairs of tokens and throw most away. Only flash
attention, which many cards and Windows lack, is told where samples end. Here samples lie one behind
the other, and SDPA is called for each by itself: the same numbers without padding and mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_SAMPLE = "sdpa_by_sample"
BORDERS = "sample_borders"
"""Name in a batch of the places between samples: the first is 0, the last the row's length."""
MODELS = frozenset({
    "apertus", "arcee", "cohere", "cohere2", "exaone4", "gemma", "gemma3_text", "glm", "glm4",
    "gpt2", "gpt_bigcode", "gpt_neox", "granite", "helium", "internlm3", "llama", "ministral3",
    "mistral", "mixtral", "olmo", "olmo2", "olmo3", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3",
    "qwen3_moe", "seed_oss", "smollm3", "starcoder2",
})  # fmt: skip
"""In these nothing but attention looks at other tokens, and it is told of the borders. Others may
have layers, such as convolutions, that look into the sample before."""
_FLASH_CAPABILITY, _FLASH_HEAD = 8, 256
"""Least compute capability and largest head of flash attention in torch."""


def attend_by_sample(model: Any) -> None:
    """Let a model that computes with SDPA attend within samples, if it is known to. It then takes a
    batch of several samples as one row, with their borders."""
    is_own = type(model).__module__.startswith("transformers.")
    if is_own and model.config.model_type in MODELS and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(BY_SAMPLE)
        if torch.backends.cuda.is_flash_attention_available():
            # cuDNN would build a plan for every new length.
            torch.backends.cuda.enable_cudnn_sdp(False)


def attends_by_sample(model: Any) -> bool:
    """Whether it does."""
    return bool(model.config._attn_implementation == BY_SAMPLE)


def would_attend_by_sample(config: Mapping[str, Any], attn_implementation: str) -> bool:
    """Whether the model of a config.json will."""
    return config.get("model_type") in MODELS and attn_implementation in ("auto", "sdpa")


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
    the result is (rows, tokens, heads, head size). With ``sample_borders`` each stretch between two
    of them is a sample. Raises RuntimeError if there are samples whose borders did not come."""
    tensors = (query, key, value)
    if sample_borders is not None:
        lengths = [end - begin for begin, end in pairwise(sample_borders)]
        return apart(tensors, lengths, window=sliding_window, **_asked(kwargs)), None
    if attention_mask is None:
        return one(tensors, window=None, **_asked(kwargs)), None
    if not attention_mask.numel():
        raise RuntimeError("This model does not pass the borders of samples on.")
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, *tensors, attention_mask, sliding_window=sliding_window, **kwargs
    )


def _asked(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"dropout": kwargs.get("dropout") or 0.0, "scale": kwargs.get("scaling")}


def apart(tensors: Sequence[torch.Tensor], lengths: list[int], **kwargs: Any) -> torch.Tensor:
    """Attention of samples of these lengths, one by one: query, key and value are (1, heads,
    tokens, head size), the result is (1, tokens, heads, head size)."""
    if are_alike(lengths):
        return together(tensors, len(lengths), **kwargs)
    # Views whose gradients come back as one tensor; those of slices are as large as all.
    samples = zip(*(torch.split(each, lengths, dim=2) for each in tensors), strict=True)
    return torch.cat([one(sample, **kwargs) for sample in samples], dim=1)


def are_alike(lengths: Sequence[int]) -> bool:
    """Whether all are of one length."""
    return len(set(lengths)) == 1


def together(tensors: Sequence[torch.Tensor], number: int, **kwargs: Any) -> torch.Tensor:
    """As :func:`apart` for so many samples of one length, as rows of one batch."""
    _, _, tokens, size = tensors[0].shape
    shape = (-1, number, tokens // number, size)
    rows = [each.reshape(shape).transpose(0, 1) for each in tensors]
    return one(rows, **kwargs).flatten(0, 1)[None]


def one(
    sample: Sequence[torch.Tensor], *, window: int | None, dropout: float, scale: float | None
) -> torch.Tensor:
    """Attention within a sample, or several of one length as rows, none of which sees further back
    than ``window`` tokens."""
    query, key, value = sample
    band = _band(query, window)
    shares = key.shape[1] != query.shape[1] and band is None and may_share_heads(query)
    if not shares:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    # A single query, as where text is written with a cache, sees all keys.
    is_causal = band is None and query.shape[2] > 1
    found = F.scaled_dot_product_attention(
        query, key, value, attn_mask=band, dropout_p=dropout, is_causal=is_causal, scale=scale,
        enable_gqa=shares,
    )  # fmt: skip
    return found.transpose(1, 2).contiguous()


def may_share_heads(query: torch.Tensor) -> bool:
    """Whether several heads may have one key and value. On a card only flash attention can do so;
    without it, torch would take the kernel that keeps all scores."""
    if query.device.type != "cuda":
        return True
    has_flash = torch.backends.cuda.is_flash_attention_available()
    major, _ = torch.cuda.get_device_capability(query.device)
    # Weights in fp32 and rotary embeddings make queries of fp32, which autocast then casts.
    casts = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if casts else query.dtype
    half = dtype in (torch.float16, torch.bfloat16)
    return has_flash and major >= _FLASH_CAPABILITY and half and query.shape[-1] <= _FLASH_HEAD


def _band(query: torch.Tensor, window: int | None) -> torch.Tensor | None:
    """The mask of a sample that is longer than what its tokens look back at: (rows, 1, tokens,
    tokens)."""
    rows, _, length, _ = query.shape
    if window is None or length <= window:
        return None
    every = torch.ones(rows, 1, length, length, dtype=torch.bool, device=query.device)
    return every.tril().triu(1 - window)


def _mask(**kwargs: Any) -> torch.Tensor | None:
    """SDPA's own, but an empty one where transformers found that there are several samples in a
    row without padding."""
    if kwargs["attention_mask"] is not None or kwargs["allow_is_causal_skip"]:
        found: torch.Tensor | None = sdpa_mask(**kwargs)
        return found
    return torch.empty(0, 0, 0, 0, dtype=torch.bool, device=kwargs.get("device"))


AttentionInterface.register(BY_SAMPLE, attention)
AttentionMaskInterface.register(BY_SAMPLE, _mask)
