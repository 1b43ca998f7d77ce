"""The model's head, computed where there is something to learn, and for the loss alone.

TRL's fused head never has all logits at once. What else it finds, entropy and the share of tokens
that were guessed right, is for metrics that nobody here looks at, and costs further passes over the
logits; and without Triton, on Windows and on processors, it computes prompts as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig
from trl.trainer import utils as trl_utils

ALONE = ("log_probs",)
WITH_METRICS = ("log_probs", "entropy", "is_top1")
"""What TRL's ``SFTTrainer`` asks of the head."""


def outputs(config: PreTrainedConfig) -> tuple[str, ...]:
    """What is asked of the head of a model like this. Those with experts may have a loss for how
    these are chosen, which TRL adds: there it keeps its metrics."""
    has_routers = hasattr(config.get_text_config(), "output_router_logits")
    return WITH_METRICS if has_routers else ALONE


def suffices(model: Any) -> bool:
    """Whether :func:`loss` is all of the model's loss."""
    return outputs(model.config) == ALONE


def add_to(model: Any) -> None:
    """Put the head in, maybe in place of TRL's; a model may have an adapter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    trl_utils.add_fused_lm_head(base, outputs=outputs(base.config))


def loss(model: Any, inputs: dict[str, Any], items: torch.Tensor) -> torch.Tensor:
    """Sum of the losses of the labels in ``inputs``, divided by ``items``, or by 1 if there are
    none; a scalar. It is that of TRL's ``compute_loss`` for ``nll``."""
    with at_targets():
        found = model(**inputs, use_cache=False, fused_lm_head=True)
    summed: torch.Tensor = -found.log_probs.sum()
    return summed / items.clamp(min=1)


@contextmanager
def at_targets() -> Iterator[None]:
    """Meanwhile only positions with a target go through a head.

    WORKAROUND(https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/utils.py): it picks them
    where it has Triton. Elsewhere it computes all, for the sake of Neuron, which compiles each
    shape anew. This is the question it asks; its kernels have one of their own.
    """
    asked = trl_utils._use_triton
    trl_utils._use_triton = _yes
    try:
        yield
    finally:
        trl_utils._use_triton = asked


def _yes(device: torch.device) -> bool:
    return True
