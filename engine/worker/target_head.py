"""The model's head, computed where something is learnt, and for the loss alone.

TRL's fused head never has all logits at once. What else it finds, entropy and the share of tokens
that were guessed right, is for metrics that nobody here looks at, and costs further passes over the
logits; and without Triton, on Windows and on processors, it computes prompts as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl.trainer import utils as trl_utils

LOSS_ONLY = ("log_probs",)
"""What is asked of the head, in TRL's words."""


def add_to(model: Any) -> None:
    """Put the head over the one that TRL's trainer gave the model, which may have an adapter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    trl_utils.add_fused_lm_head(base, outputs=LOSS_ONLY)


def loss(
    model: Any, inputs: dict[str, Any], items: torch.Tensor | None = None, *, experts: float = 0.0
) -> tuple[torch.Tensor, Any]:
    """The loss of the labels in ``inputs``, a scalar, and what the model gave: the sum over labels
    by ``items``, or by their own number; ``experts`` times the loss for how experts are chosen is
    added, where the model tells one. It is that of TRL's ``compute_loss`` for ``nll``."""
    with at_targets():
        found = model(**inputs, use_cache=False, fused_lm_head=True)
    number = found.label_mask.sum() if items is None else items
    summed: torch.Tensor = -found.log_probs.sum() / number.clamp(min=1)
    if experts and found.aux_loss is not None:
        summed = summed + experts * found.aux_loss
    return summed, found


@contextmanager
def at_targets() -> Iterator[None]:
    """Meanwhile only positions with a target go through a head.

    WORKAROUND(https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/utils.py): it picks them
    where it has Triton. Elsewhere it computes all, for the sake of Neuron, which compiles each
    shape anew. This is the question it asks; its kernels have one of their own.
    """
    asked = trl_utils._use_triton
    trl_utils._use_triton = _picks
    try:
        yield
    finally:
        trl_utils._use_triton = asked


def _picks(device: torch.device) -> bool:
    return True
