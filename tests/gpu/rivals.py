"""What the closed formulas of other programs say a run takes, from their published descriptions.

accelerate ``estimate-memory``: four times the weights for training with Adam. The rule of thumb
of LLaMA-Factory's hardware table: bytes a weight by bits, and nothing for length or batch. The
formula of a desktop trainer's estimator: weights by bits, adapter, optimizer, activations of one
layer with a factor, and a constant for CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.contract.spec import Spec
from engine.planning.form import Form, Point, value

Formula = Callable[[Spec, Form, Point, dict[str, Any]], float]


def accelerate(spec: Spec, form: Form, point: Point, config: dict[str, Any]) -> float:
    """Weights, gradients and two moments of Adam, all of the weights' size."""
    return 4 * 2 * value(form.parameters, point)


def rule_of_thumb(spec: Spec, form: Form, point: Point, config: dict[str, Any]) -> float:
    """A 7B model: 60 GB in full, 16 GB with LoRA, 10 GB in 8 bits, 6 GB in 4 bits."""
    if not spec.lora:
        return value(form.parameters, point) * 60 / 7
    return value(form.parameters, point) * {16: 16, 8: 10, 4: 6}[spec.bits] / 7


def desktop_estimator(spec: Spec, form: Form, point: Point, config: dict[str, Any]) -> float:
    """No logits, no kept layer inputs, no unpacked weights; 1.4 GB for CUDA."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    narrow = size * (config.get("num_key_value_heads") or heads)
    weights = value(form.parameters, point) * {16: 2.0, 8: 1.0, 4: 2 / 3.6}[spec.bits]
    trained = value(form.trainable, point)
    state = 4 if "8bit" in spec.training.optim else 8
    tokens = point.batch * point.length
    activations = (tokens * (hidden + 2 * narrow) + 2 * tokens + 2 * tokens * inner) * 2 * 1.25
    return weights + trained * (2 + state) + activations + 1.4e9


RIVALS: dict[str, Formula] = {
    "accelerate": accelerate,
    "rule of thumb": rule_of_thumb,
    "desktop estimator": desktop_estimator,
}
