"""What training the embeddings costs, and what could be done instead. Pure.

``embed_tokens`` and ``lm_head`` have a row for each token, so they are by far the largest layers
that ``modules_to_save`` can name: they are copied in fp32, with gradients and optimizer state for
every number, and go into the adapter's file whole. :mod:`engine.planning.embedding_words` says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from engine.contract.spec import LoraSpec, Spec
from engine.planning.adapter import forecast
from engine.planning.architecture import is_tied

INPUT, HEAD = "embed_tokens", "lm_head"
Way = Literal["none", "tokens", "head", "input", "both"]
"""Neither; the rows of single tokens; one of the two layers; both."""
FP32 = 4
RATE_SHARE = 10
"""Embeddings learn this many times slower unless told otherwise."""
_STATE_BYTES = {"adamw_torch": 8.0, "adamw_torch_fused": 8.0, "adamw_8bit": 2 + 2 * 4 / 256}
"""Of the optimizer for each number. 8-bit states have a scale for each 256. The paged optimizer's
lie in RAM, sgd has none."""
_INPUT_STATE_BYTES = {**_STATE_BYTES, "adamw_8bit": 8.0}
"""For an embedding: transformers has bitsandbytes keep its states in 32 bits."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a way of training the embeddings takes, beside training the adapter alone."""

    weights_bytes: int = 0
    """The copy in fp32 that is trained."""
    gradients_bytes: int = 0
    optimizer_bytes: int = 0
    passing_bytes: int = 0
    """Only while a batch is computed."""

    @property
    def total_bytes(self) -> int:
        """On the card, at the peak."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.passing_bytes


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """A way of training the embeddings."""

    way: Way
    title: str
    effect: str
    patch: dict[str, Any]
    """Dotted field of the spec to its new value; None removes it."""
    cost: Cost
    file_bytes: int | None
    """Of the adapter; None for a family whose layers are not known."""
    is_chosen: bool


def options(spec: Spec, config: dict[str, Any], tokens: Sequence[str] = ()) -> list[Option]:
    """All ways for a spec and its model's config, the cheapest first. ``tokens`` are new to the
    model, if that is known. Empty where all weights are trained, or the sizes are not known."""
    sizes = config.get("text_config", config)
    if not spec.lora or not {"vocab_size", "hidden_size"} <= sizes.keys():
        return []
    named = list(tokens) or spec.lora.trainable_tokens
    hidden = set() if named else {"tokens"}
    hidden |= set() if way_of(spec.lora) == "input" else {"input"}
    return [_option(spec, spec.lora, sizes, way, named) for way in _TITLES if way not in hidden]


def way_of(lora: LoraSpec) -> Way:
    """How the embeddings are trained now."""
    named = {INPUT, HEAD} & set(lora.modules_to_save)
    if len(named) == 2:
        return "both"
    if named:
        return "head" if HEAD in named else "input"
    return "tokens" if lora.trainable_tokens else "none"


def cost_of(way: Way, spec: Spec, config: dict[str, Any], tokens: int = 0) -> Cost:
    """What a way takes on the card, beside the frozen weights that are there anyway."""
    rows, width = config["vocab_size"], config["hidden_size"]
    matrices = _matrices(way, is_tied(config))
    if way == "tokens":
        return _cost_of_tokens(spec, rows, width, tokens * (1 if is_tied(config) else 2))
    states = sum(_state_bytes(spec.training.optim, name, rows, width) for name in matrices)
    numbers = len(matrices) * rows * width
    return Cost(
        weights_bytes=FP32 * numbers,
        gradients_bytes=FP32 * numbers,
        optimizer_bytes=round(states),
    )


def embedding_rate(spec: Spec) -> float:
    """The spec's rate for embeddings, else a tenth of the learning rate."""
    tenth = float(f"{spec.training.learning_rate / RATE_SHARE:.2g}")
    return spec.training.embedding_learning_rate or tenth


# ---------------------------------------------------------------- costs


def _matrices(way: Way, tied: bool) -> list[str]:
    """The matrices that are trained; where both are one, it is an embedding."""
    if way == "both":
        return [INPUT] if tied else [INPUT, HEAD]
    return {"head": [HEAD], "input": [INPUT]}.get(way, [])


def _state_bytes(optim: str, layer: str, rows: int, width: int) -> float:
    if optim == "adafactor":
        return float(FP32 * (rows + width))
    by_number = _INPUT_STATE_BYTES if layer == INPUT else _STATE_BYTES
    return by_number.get(optim, 0.0) * rows * width


def _cost_of_tokens(spec: Spec, rows: int, width: int, trained_rows: int) -> Cost:
    """PEFT puts the trained rows into a copy of the matrix, whose gradient is as large."""
    trained = trained_rows * width
    each = FP32 if spec.training.precision == "fp32" else 2
    return Cost(
        weights_bytes=FP32 * trained,
        gradients_bytes=FP32 * trained,
        optimizer_bytes=round(_STATE_BYTES.get(spec.training.optim, 0.0) * trained),
        passing_bytes=2 * each * rows * width,
    )


# ---------------------------------------------------------------- options


_TITLES: dict[Way, str] = {
    "none": "Leave the embeddings as they are",
    "tokens": "Train only the new tokens",
    "head": "Train lm_head only",
    "input": "Train embed_tokens only",
    "both": "Train embed_tokens and lm_head",
}
_EFFECTS: dict[Way, str] = {
    "none": "Suits text in a language, and with tokens, that the model knows.",
    "tokens": "The rows of these tokens learn what they mean; all others stay.",
    "head": "The model learns what to write next; how it reads tokens stays.",
    "input": "The model learns to read tokens anew; what it writes stays.",
    "both": "Another language or many new tokens can be learnt.",
}


def _option(
    spec: Spec, lora: LoraSpec, config: dict[str, Any], way: Way, tokens: list[str]
) -> Option:
    wanted = {"head": [HEAD], "input": [INPUT], "both": [INPUT, HEAD]}.get(way, [])
    others = [name for name in lora.modules_to_save if name not in (INPUT, HEAD)]
    named = tokens if way == "tokens" else []
    changed = replace(lora, modules_to_save=[*others, *wanted], trainable_tokens=named)
    told = forecast(config, changed)
    return Option(
        way=way,
        title=_TITLES[way],
        effect=_EFFECTS[way],
        patch={
            "lora.modules_to_save": changed.modules_to_save,
            "lora.trainable_tokens": named,
            "training.embedding_learning_rate": None if way == "none" else embedding_rate(spec),
        },
        cost=cost_of(way, spec, config, len(named)),
        file_bytes=told.file_bytes if told else None,
        is_chosen=way == way_of(lora),
    )
