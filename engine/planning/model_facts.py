"""What conflict rules can say of a model, from its ``config.json``. Pure; any config will do."""

from __future__ import annotations

from typing import Any

from engine.planning.architecture import Module, is_tied, modules_of

Config = dict[str, Any]

_BITS_OF = {"gptq": "bits", "awq": "bits"}
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads")  # fmt: skip
_MAY_BE_NULL = ("num_key_value_heads", "head_dim")
_MOST_LAYERS = 2000
_TAUGHT_POSITIONS = frozenset(
    {"gpt2", "gpt_neo", "gpt_bigcode", "opt", "biogpt", "xglm", "ctrl", "openai-gpt"}
)
"""Families whose positions are rows of a table, so that there is none beyond its end."""


def config_facts(config: Config) -> dict[str, Any]:
    """Its plain values as ``config.<name>``, and what follows from them. A value that is no plain
    one is left out; so is what cannot be told."""
    text = text_config(config)
    kind = text["model_type"]
    plain = {f"config.{k}": v for k, v in text.items() if isinstance(v, (bool, int, float, str))}
    derived = {
        "config.context": _context(text),
        "config.is_tied": _tied(config, text),
        "config.has_taught_positions": kind in _TAUGHT_POSITIONS,
        "config.has_softcap": bool(text.get("attn_logit_softcapping")),
        "config.expert_count": _experts(text),
        "config.smallest_dimension": _smallest_dimension(text),
        "config.has_code": isinstance(config.get("auto_map"), dict),
        "config.dtype": _dtype(text),
        **_quantised(config),
    }
    found = {name: value for name, value in derived.items() if value is not None}
    return {**plain, **found, "config.model_type": _kind(config)}


def text_config(config: Config) -> Config:
    """The part of a config that is about text, of a plain model the whole; with a model_type."""
    inner = config.get("text_config")
    whole = {**config, **inner} if isinstance(inner, dict) else config
    return {**whole, "model_type": _kind(whole)}


def _kind(config: Config) -> str:
    found = config.get("model_type")
    return found if isinstance(found, str) else ""


def is_sound(config: Config) -> bool:
    """Whether the sizes in it are whole numbers that a model can have; nothing is computed from
    others."""
    sizes = [config[name] for name in _SIZES if name in config]
    sizes += [config[name] for name in _MAY_BE_NULL if config.get(name) is not None]
    return all(type(size) is int and 0 < size <= 1 << 24 for size in sizes) and (
        config.get("num_hidden_layers", 1) <= _MOST_LAYERS
    )


def _layer(config: Config) -> list[Module]:
    """What one layer, the embedding and the head hold; empty if not known."""
    one = {**config, "num_hidden_layers": 1}
    try:
        return modules_of(one) or [] if is_sound(one) else []
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return []


def every_module(config: Config) -> list[Module]:
    """All that the whole model holds; empty if not known."""
    text = text_config(config)
    try:
        return modules_of(text) or [] if is_sound(text) else []
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return []


def linear_names(config: Config) -> frozenset[str] | None:
    """Last parts of the names of the linear layers, ``lm_head`` apart; None if not known."""
    modules = _layer(text_config(config))
    if not modules:
        return None
    names = {module.name.rpartition(".")[2] for module in modules if module.kind == "linear"}
    return frozenset(names - {"lm_head"})


def context_of(config: Config | None) -> int | None:
    """Most tokens that the model was made for; None if not known."""
    return _context(text_config(config)) if config else None


def _context(config: Config) -> int | None:
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _tied(config: Config, text: Config) -> bool | None:
    """Left out of a config, it follows from the family, of which only some are known."""
    if isinstance(config.get("tie_word_embeddings"), bool):
        return bool(config["tie_word_embeddings"])
    return True if is_tied(text) else None


def _experts(config: Config) -> int:
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        value = config.get(name)
        if isinstance(value, int):
            return value
    return 0


def _smallest_dimension(config: Config) -> int | None:
    """Of all matrices that an adapter on every linear layer is put on."""
    sizes = [size for m in _layer(config) if m.kind == "linear" for size in m.weight]
    return min(sizes) if sizes else None


def _dtype(config: Config) -> str | None:
    found = config.get("dtype") or config.get("torch_dtype")
    return found if isinstance(found, str) else None


def _quantised(config: Config) -> Config:
    """How the weights are quantised already."""
    given = config.get("quantization_config")
    if not isinstance(given, dict):
        return {"config.is_quantised": False}
    method = str(given.get("quant_method") or "bitsandbytes").lower()
    found: Config = {"config.is_quantised": True, "config.quant_method": method}
    if method == "bitsandbytes":
        found["config.quantised_bits"] = 4 if given.get("load_in_4bit") else 8
    elif isinstance(given.get(_BITS_OF.get(method, "")), int):
        found["config.quantised_bits"] = given[_BITS_OF[method]]
    return found
