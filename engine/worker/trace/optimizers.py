"""The optimizers of a spec on the meta device: their states, and what a step takes for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.optimization import Adafactor
from transformers.trainer_pt_utils import get_parameter_names

from engine.planning.form import DeviceKind
from engine.worker.trace.model import Built
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.recording import Block
from engine.worker.trace.sizes import Sizes

_NOT_DECAYED = [
    r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)",
]  # fmt: skip
"""As in transformers' Trainer: these are a group of their own."""
SMALLEST_8BIT = 4096
"""bitsandbytes keeps states of fewer numbers in fp32."""
USUAL_RANK = 16
_BLOCK = 256
_PAGED_FROM = 100_000
_STATES = 2
_MAPS = 2 * 256 * 4
"""Bytes of the two tables of what an 8-bit state means."""


def make(optim: str, device: DeviceKind, built: Built) -> torch.optim.Optimizer | None:
    """The optimizer; None for those of which all is known: see :func:`reserve_states`."""
    if optim == "adamw_torch" and device == "cpu":
        return torch.optim.AdamW(_groups(built), lr=1e-4, foreach=False)
    if optim == "sgd":
        return torch.optim.SGD(_groups(built), lr=1e-4, foreach=device == "cuda")
    if optim == "adafactor":
        return Adafactor(  # type: ignore[no-any-return]
            _groups(built), lr=1e-4, scale_parameter=False, relative_step=False
        )
    return None


def _groups(built: Built) -> list[dict[str, Any]]:
    decayed = set(get_parameter_names(built.model, [nn.LayerNorm], _NOT_DECAYED))
    first = [value for name, value in built.trained.items() if name in decayed]
    rest = [value for name, value in built.trained.items() if name not in decayed]
    return [{"params": group} for group in (first, rest) if group]


def reserve_states(
    optim: str, device: DeviceKind, built: Built, sizes: Sizes, recorder: Recorder
) -> Iterator[tuple[int | None, np.ndarray]]:
    """Take the place of the states of AdamW on a card, fused or in 8 bit; gives the bytes that lie
    in RAM instead, with the layer whose weight they are for."""
    wide = _embeddings(built.model)
    for parameter in built.trained.values():
        layer = built.layer_of.get(id(parameter))
        count = sizes.formula(parameter.numel())
        states = 8.0 * count
        if not optim.startswith("adamw_torch") and id(parameter) not in wide:
            numbers = _usual_numel(parameter, sizes)
            states = (2.0 + 8.0 / _BLOCK) * count if numbers >= SMALLEST_8BIT else states
        if optim.startswith("paged") and device == "cuda" and parameter.numel() >= _PAGED_FROM:
            paged = states if id(parameter) in wide else 2.0 * count
            states = states - paged
            yield layer, paged
        blocks = [Block(states / _STATES, layer)] * _STATES
        recorder.reserve(states, "optimizer", layer=layer, blocks=blocks)
    if not optim.startswith("adamw_torch"):
        recorder.reserve(float(_MAPS) * sizes.formula(1), "optimizer")


def _embeddings(model: nn.Module) -> set[int]:
    """transformers has bitsandbytes keep their states in fp32."""
    return {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}


def _usual_numel(parameter: nn.Parameter, sizes: Sizes) -> int:
    """Numbers in a weight, at a usual rank instead of the one that is traced with."""
    if sizes.rank and parameter.numel() % sizes.rank == 0:
        return parameter.numel() // sizes.rank * USUAL_RANK
    return parameter.numel()


def reserve_transient(optim: str, built: Built, sizes: Sizes, recorder: Recorder) -> None:
    """What such an optimizer takes for a moment: AdamW on a card works on all weights of a group
    at once, and keeps the roots of their second moments meanwhile. Fused, it takes nothing."""
    if optim != "adamw_torch":
        return
    groups = [group["params"] for group in _groups(built)]
    largest = max(groups, key=lambda group: sum(value.numel() for value in group))
    roots = [
        Block(4.0 * sizes.formula(value.numel()), built.layer_of.get(id(value)))
        for value in largest
    ]
    whole = sum((root.formula for root in roots), sizes.formula(0))
    recorder.release(recorder.reserve(whole, "transient", blocks=roots))
