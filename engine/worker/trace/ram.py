"""Activations that go to RAM: on the meta device they only leave the card's account."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

moved: list[int] = []
"""Bytes of each tensor that went to RAM, in order; whoever counts empties it."""


def _pack(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
    moved.append(tensor.numel() * tensor.element_size())
    return tensor.shape, tensor.dtype


def _unpack(packed: tuple[torch.Size, torch.dtype]) -> torch.Tensor:
    return torch.empty(packed[0], dtype=packed[1], device="meta")


def checkpoint_to_ram(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Checkpoint a layer whose input waits in RAM, as engine.worker.offload does for real."""
    with saved_tensors_hooks(_pack, _unpack):
        return checkpoint(function, *args, **kwargs)
