"""What is worth saying of a spec's embeddings. Pure."""

from __future__ import annotations

from typing import Any

from engine.contract.spec import Spec
from engine.planning.architecture import is_tied
from engine.planning.embeddings import HEAD, INPUT, Option, Way, embedding_rate, options
from engine.planning.figures import count, file_size, gib

ByWay = dict[Way, Option]


def advice(spec: Spec, config: dict[str, Any]) -> list[str]:
    """Sentences for a spec and its model's config; empty where there is nothing to say."""
    sizes = config.get("text_config", config)
    found = options(spec, sizes)
    by_way = {option.way: option for option in found}
    chosen = next((option for option in found if option.is_chosen), None)
    if chosen is None:
        return []
    if chosen.way == "none":
        return [_offer(sizes, by_way)] if spec.method == "pretrain" else []
    if chosen.way == "tokens":
        return [_of_tokens(spec, chosen, by_way["none"]), *_own_rate(spec)]
    return [
        _price(sizes, chosen, by_way["none"]),
        *_tie(sizes, chosen.way),
        *_cheaper(spec, chosen, by_way),
        *_own_rate(spec),
    ]


def _offer(config: dict[str, Any], by_way: ByWay) -> str:
    head, both = (gib(by_way[way].cost.total_bytes) for way in ("head", "both"))
    price = f"training them would take {both}"
    if not is_tied(config):
        price = f"training lm_head would take {head}, both {both}"
    return (
        "The embeddings stay as they are, which suits a language that the model knows. For another "
        f"language, {price} more memory."
    )


def _of_tokens(spec: Spec, chosen: Option, none: Option) -> str:
    number = len(spec.lora.trainable_tokens) if spec.lora else 0
    whose = "1 token is" if number == 1 else f"{number} tokens are"
    file = ""
    if chosen.file_bytes is not None and none.file_bytes is not None:
        file = f": {file_size(chosen.file_bytes - none.file_bytes)} more in the adapter's file"
    return (
        f"Only the rows of {whose} trained{file}. While a batch is computed it takes about "
        f"{gib(chosen.cost.passing_bytes)} for a copy of the matrix and its gradient."
    )


def _price(config: dict[str, Any], chosen: Option, none: Option) -> str:
    cost = chosen.cost
    layers = {"head": HEAD, "input": INPUT}.get(chosen.way, f"{INPUT} and {HEAD}")
    shape = f"{count(config['vocab_size'])} × {count(config['hidden_size'])}"
    text = (
        f"Training {layers} ({shape}) takes {gib(cost.total_bytes)} more memory: "
        f"{gib(cost.weights_bytes)} for a copy in fp32, {gib(cost.gradients_bytes)} for gradients, "
        f"{gib(cost.optimizer_bytes)} for the optimizer."
    )
    if chosen.file_bytes is None or none.file_bytes is None:
        return text
    return (
        f"{text} The adapter's file becomes {file_size(chosen.file_bytes)} instead of "
        f"{file_size(none.file_bytes)}."
    )


def _tie(config: dict[str, Any], way: Way) -> list[str]:
    if not is_tied(config):
        return []
    if way == "both":
        text = "they are trained once, but the file holds them twice."
        return [f"In this model the two are one matrix: {text}"]
    one, other = (HEAD, INPUT) if way == "head" else (INPUT, HEAD)
    text = f"Trained alone, {one} becomes a matrix of its own, and {other} stays as it was."
    return [f"In this model {INPUT} and {HEAD} are one matrix. {text}"]


def _cheaper(spec: Spec, chosen: Option, by_way: ByWay) -> list[str]:
    """What would do with less."""
    found = []
    saved = chosen.cost.total_bytes - by_way["head"].cost.total_bytes
    if chosen.way != "head" and saved > 0:
        found.append(f"lm_head alone takes {gib(saved)} less, and is enough for most new text.")
    if chosen.way != "head" and spec.training.optim == "adamw_8bit":
        less = gib(chosen.cost.optimizer_bytes)
        found.append(
            f"adamw_8bit keeps the state of {INPUT} in 32 bits; adafactor would take about {less} "
            "less."
        )
    tokens = "name them in lora.trainable_tokens instead: only their rows are trained and saved."
    return [*found, f"For a few new tokens, {tokens}"]


def _own_rate(spec: Spec) -> list[str]:
    if spec.training.embedding_learning_rate is not None:
        return []
    rate = f"training.embedding_learning_rate = {embedding_rate(spec):g}"
    return [f"Embeddings do better with a rate of their own: {rate} is a tenth of learning_rate."]
