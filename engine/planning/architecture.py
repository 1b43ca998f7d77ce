"""The modules of a decoder model and the shapes of their weights, from its ``config.json``.

Only families whose modules are known exactly; for others a trace of the real class tells. Names and
shapes are those of transformers. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

Config = dict[str, Any]
Shape = tuple[int, ...]
Kind = Literal["linear", "embedding", "norm"]

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module with weights of its own."""

    name: str
    """Dotted, as ``named_modules`` of the model gives it."""
    kind: Kind
    weight: Shape
    """Of ``weight``; a linear layer's is outputs times inputs."""
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Numbers in it."""
        return numbers(self.weight) + (self.weight[0] if self.bias else 0)


Layer = Callable[[Config], Iterator[Module]]


def modules_of(config: Config) -> list[Module] | None:
    """The modules in the model's order, ``lm_head`` last even where it shares the embedding's
    weights; None for a family that is not known here. Raises KeyError if the config lacks a size.
    """
    layer = LAYERS.get(config.get("model_type", ""))
    if layer is None:
        return None
    embedding = (config["vocab_size"], config["hidden_size"])
    inside = list(layer(config))
    return [
        Module(name=EMBEDDING, kind="embedding", weight=embedding),
        *(_placed(module, i) for i in range(config["num_hidden_layers"]) for module in inside),
        _norm("model.norm", config["hidden_size"]),
        Module(name=HEAD, kind="linear", weight=embedding),
    ]


def is_tied(config: Config) -> bool:
    """Whether ``lm_head`` and ``embed_tokens`` are one matrix."""
    default = config.get("model_type") in TIED_BY_DEFAULT
    return bool(config.get("tie_word_embeddings", default))


def parameters_of(config: Config) -> int | None:
    """Weights of the model, shared ones counted once; None for a family that is not known."""
    modules = modules_of(config)
    if modules is None:
        return None
    return sum(m.parameters for m in modules if m.name != HEAD or not is_tied(config))


def numbers(shape: Shape) -> int:
    """How many numbers a tensor of this shape holds."""
    total = 1
    for size in shape:
        total *= size
    return total


def _placed(module: Module, layer: int) -> Module:
    return Module(
        name=f"model.layers.{layer}.{module.name}",
        kind=module.kind,
        weight=module.weight,
        bias=module.bias,
    )


# ---------------------------------------------------------------- families


def _llama(config: Config) -> Iterator[Module]:
    bias = bool(config.get("attention_bias", False))
    yield from _attention(config, qkv_bias=bias, o_bias=bias)
    yield from _mlp(config, bias=bool(config.get("mlp_bias", False)))
    yield from _norms(config, "input_layernorm", "post_attention_layernorm")


def _mistral(config: Config) -> Iterator[Module]:
    yield from _attention(config)
    yield from _mlp(config)
    yield from _norms(config, "input_layernorm", "post_attention_layernorm")


def _qwen2(config: Config) -> Iterator[Module]:
    yield from _attention(config, qkv_bias=True)
    yield from _mlp(config)
    yield from _norms(config, "input_layernorm", "post_attention_layernorm")


def _qwen3(config: Config) -> Iterator[Module]:
    bias = bool(config.get("attention_bias", False))
    yield from _attention(config, qkv_bias=bias, o_bias=bias)
    yield from _head_norms(config)
    yield from _mlp(config)
    yield from _norms(config, "input_layernorm", "post_attention_layernorm")


def _gemma2(config: Config) -> Iterator[Module]:
    bias = bool(config.get("attention_bias", False))
    yield from _attention(config, qkv_bias=bias, o_bias=bias)
    yield from _mlp(config)
    yield from _norms(
        config, "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )  # fmt: skip


def _gemma3(config: Config) -> Iterator[Module]:
    yield from _gemma2(config)
    yield from _head_norms(config)


def _phi3(config: Config) -> Iterator[Module]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = _widths(config)
    yield _linear("self_attn.o_proj", hidden, queries)
    yield _linear("self_attn.qkv_proj", queries + 2 * keys, hidden)
    yield _linear("mlp.gate_up_proj", 2 * inner, hidden)
    yield _linear("mlp.down_proj", hidden, inner)
    yield from _norms(config, "input_layernorm", "post_attention_layernorm")


LAYERS: dict[str, Layer] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi3": _phi3,
}
"""What a layer holds, by ``model_type``."""
TIED_BY_DEFAULT = frozenset({"gemma", "gemma2", "gemma3_text"})
"""Families in which the embeddings are one matrix unless the config says otherwise."""


def _attention(config: Config, *, qkv_bias: bool = False, o_bias: bool = False) -> Iterator[Module]:
    hidden = config["hidden_size"]
    queries, keys = _widths(config)
    yield _linear("self_attn.q_proj", queries, hidden, bias=qkv_bias)
    yield _linear("self_attn.k_proj", keys, hidden, bias=qkv_bias)
    yield _linear("self_attn.v_proj", keys, hidden, bias=qkv_bias)
    yield _linear("self_attn.o_proj", hidden, queries, bias=o_bias)


def _mlp(config: Config, *, bias: bool = False) -> Iterator[Module]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    yield _linear("mlp.gate_proj", inner, hidden, bias=bias)
    yield _linear("mlp.up_proj", inner, hidden, bias=bias)
    yield _linear("mlp.down_proj", hidden, inner, bias=bias)


def _norms(config: Config, *names: str) -> Iterator[Module]:
    yield from (_norm(name, config["hidden_size"]) for name in names)


def _head_norms(config: Config) -> Iterator[Module]:
    yield _norm("self_attn.q_norm", _head_size(config))
    yield _norm("self_attn.k_norm", _head_size(config))


def _widths(config: Config) -> tuple[int, int]:
    """Of all query heads, and of all key heads."""
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    return heads * _head_size(config), groups * _head_size(config)


def _head_size(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _linear(name: str, outputs: int, inputs: int, *, bias: bool = False) -> Module:
    return Module(name=name, kind="linear", weight=(outputs, inputs), bias=bias)


def _norm(name: str, size: int) -> Module:
    return Module(name=name, kind="norm", weight=(size,))
