"""What conflict rules can say of a model, from its ``config.json``. Pure; any config will do."""

from __future__ import annotations

from typing import Any

from engine.planning.architecture import is_tied, modules_of

Config = dict[str, Any]

_BITS_OF = {"gptq": "bits", "awq": "bits"}
_TAUGHT_POSITIONS = frozenset(
    {"gpt2", "gpt_neo", "gpt_bigcode", "opt", "biogpt", "xglm", "ctrl", "openai-gpt"}
)
"""Families whose positions are rows of a table, so that there is none beyond its end."""


def config_facts(config: Config) -> dict[str, Any]:
    """Its plain values as ``config.<name>``, and what follows from them. A value that is no plain
    one is left out; so is what cannot be told."""
    text = text_config(config)
    plain = {f"config.{k}": v for k, v in text.items() if isinstance(v, (bool, int, float, str))}
    derived = {
        "config.context": _context(text),
        "config.is_tied": _tied(config, text),
        "config.has_taught_positions": text.get("model_type") in _TAUGHT_POSITIONS,
        "config.has_softcap": bool(text.get("attn_logit_softcapping")),
        "config.expert_count": _experts(text),
        "config.smallest_dimension": _smallest_dimension(text),
        "config.has_code": isinstance(config.get("auto_map"), dict),
        "config.dtype": _dtype(text),
        **_quantised(config),
    }
    found = {name: value for name, value in derived.items() if value is not None}
    return {**plain, **found, "config.model_type": config.get("model_type", "")}


def text_config(config: Config) -> Config:
    """The part of a config that is about text; of a plain model the whole."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def linear_names(config: Config) -> frozenset[str] | None:
    """Last parts of the names of the linear layers, ``lm_head`` apart; None if not known."""
    try:
        modules = modules_of(text_config(config))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if modules is None:
        return None
    names = {module.name.rpartition(".")[2] for module in modules if module.kind == "linear"}
    return frozenset(names - {"lm_head"})


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
    try:
        modules = modules_of(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    sizes = [size for m in modules or () if m.kind == "linear" for size in m.weight]
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
