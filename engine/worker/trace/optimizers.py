"""The optimizers of a spec on the meta device: their states, and what a step takes for a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.optimization import Adafactor
from transformers.trainer_pt_utils import get_parameter_names

from engine.planning.form import DeviceKind
from engine.worker.loading import trainable
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.sizes import Sizes

_NOT_DECAYED = [
    r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)",
]  # fmt: skip
"""As in transformers' Trainer: these are a group of their own."""
SMALLEST_8BIT = 4096
"""bitsandbytes keeps states of fewer numbers in fp32."""
_BLOCK = 256
_PAGED_FROM = 100_000


def make(optim: str, device: DeviceKind, model: nn.Module) -> torch.optim.Optimizer | None:
    """The optimizer; None for those whose kernels take nothing for a moment, so that there is
    nothing to run: see :func:`reserve_states`."""
    groups = _groups(model)
    foreach = device == "cuda"
    if optim == "adamw_torch":
        return torch.optim.AdamW(groups, lr=1e-4, foreach=foreach)
    if optim == "sgd":
        return torch.optim.SGD(groups, lr=1e-4, foreach=foreach)
    if optim == "adafactor":
        return Adafactor(groups, lr=1e-4, scale_parameter=False, relative_step=False)  # type: ignore[no-untyped-call]
    return None


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    decayed = set(get_parameter_names(model, [nn.LayerNorm], _NOT_DECAYED))
    found = trainable(model)
    first = [value for name, value in found.items() if name in decayed]
    rest = [value for name, value in found.items() if name not in decayed]
    return [{"params": group} for group in (first, rest) if group]


def reserve_states(
    optim: str, device: DeviceKind, model: nn.Module, sizes: Sizes, recorder: Recorder
) -> np.ndarray:
    """Take the place of the states of a fused or 8-bit optimizer; gives the bytes that lie in
    RAM instead."""
    in_ram = np.zeros_like(sizes.formula(0))
    for parameter in trainable(model).values():
        count = sizes.formula(parameter.numel())
        states = 8.0 * count
        if optim != "adamw_torch_fused" and parameter.numel() >= SMALLEST_8BIT:
            states = (2.0 + 8.0 / _BLOCK) * count
        if optim.startswith("paged") and device == "cuda" and parameter.numel() >= _PAGED_FROM:
            in_ram = in_ram + 2.0 * count
            states = states - 2.0 * count
        recorder.reserve(states, "optimizer")
    return in_ram
