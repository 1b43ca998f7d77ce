"""The model's head, computed where something is learnt, and for the loss alone.

TRL's fused head never has all logits at once. What else it finds, entropy and the share of tokens
that were guessed right, is for metrics that nobody here looks at, and costs further passes over the
logits; and without Triton, on Windows and on processors, it computes prompts as well.

It takes every head for one linear layer with a scale and a soft cap that it knows. Where a model's
own logits are others, the loss is computed from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from trl.trainer import utils as trl_utils

from engine.worker.report import Report
from engine.worker.samples import IGNORED
from engine.worker.trying import MISFITS, is_of_the_machine, some_tokens, trying

LOSS_ONLY = ("log_probs",)
"""What is asked of the head, in TRL's words."""
_ROUNDING = {torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
_EXACT = 1e-3
"""How far the two may be from each other, as a share of the largest logit: a few times what
rounding makes of it."""

_RULED_OUT = 1e4


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


def own_loss(
    model: Any, inputs: dict[str, Any], items: torch.Tensor | None = None, *, experts: float = 0.0
) -> tuple[torch.Tensor, Any]:
    """As :func:`loss`, from the model's own logits, which are there for all positions."""
    given = {name: value for name, value in inputs.items() if name != "labels"}
    found = model(**given, use_cache=False)
    logits, labels = found.logits[:, :-1], inputs["labels"][:, 1:].to(found.logits.device)
    learnt = labels != IGNORED
    summed = F.cross_entropy(logits[learnt].float(), labels[learnt], reduction="sum")
    number = learnt.sum() if items is None else items
    summed = summed / number.clamp(min=1)
    balance = getattr(found, "aux_loss", None)
    if experts and balance is not None:
        summed = summed + experts * balance
    return summed, found


def misfit(model: Any) -> str:
    """Why TRL's head does not give what the model itself does, tried on a few tokens; empty if it
    does, or if that cannot be told."""
    ids = some_tokens(model, 0)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with trying(model):
        try:
            logits = model(**inputs, use_cache=False).logits[:, :-1].float()
        except MISFITS as error:
            if is_of_the_machine(error):
                raise
            return ""
        try:
            _, found = loss(model, {**inputs, "labels": ids})
        except MISFITS as error:
            if is_of_the_machine(error):
                raise
            return f"TRL's quicker way fails with it: {' '.join(str(error).split())[:200]}"
    own = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    if not (own.isfinite().all() and found.log_probs.isfinite().all()):
        return ""
    # Words that a model rules out have the smallest number there is.
    size = float(logits[logits.abs() < _RULED_OUT].abs().max())
    if (own - found.log_probs).abs().max() <= _rounding(model) * max(1.0, size):
        return ""
    return "Its head is more than the linear layer that TRL's quicker way takes it for."


def _rounding(model: Any) -> float:
    """The coarsest of what logits are computed in, which may be other than what they come in."""
    kinds, device = [model.get_output_embeddings().weight.dtype], model.device.type
    if torch.is_autocast_enabled(device):
        kinds.append(torch.get_autocast_dtype(device))
    return max(_ROUNDING.get(kind, _EXACT) for kind in kinds)


def tell(model: Any, why: str, report: Report) -> None:
    """Say that the loss is computed from the model's own logits."""
    config = model.config.get_text_config()
    kib = 2 * 4 * config.vocab_size / 1024
    report.decided(
        "The loss is computed from all logits of the model.",
        f"Its family is {config.model_type}. {why}",
        f"The logits of all tokens of a batch are in memory at once, about {kib:,.0f} KiB for each "
        "token. If that is too much, lower training.per_device_train_batch_size or max_length.",
    )


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
