"""Activations in plain RAM, for machines on which pinned memory is scarce or hangs."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint


def checkpoint_in_ram(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Checkpoint a layer and keep its input in pageable RAM; both copies block."""
    with save_on_cpu(pin_memory=False):
        return checkpoint(function, *args, use_reentrant=False, **kwargs)


def offload_to_ram(model: torch.nn.Module) -> None:
    """Let every checkpointed layer keep its input that way; transformers' own way pins memory."""
    inner: Any = model
    base = inner.get_base_model() if hasattr(model, "get_base_model") else inner
    base._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=checkpoint_in_ram)
