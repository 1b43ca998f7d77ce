"""Trying what a model does with a few tokens, without a trace of it in what is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.worker import rng
from engine.worker.evaluating import evaluation_mode

COUNT = 8
"""Tokens of a short sample."""
MISFITS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError)
"""What a model raises that cannot do what it is asked."""
_MACHINE = re.compile(
    r"out of memory|not enough memory|(CUDA|HIP) (driver )?error|CU(BLAS|DNN|SOLVER)_STATUS", re.I
)


@contextmanager
def trying(model: Any) -> Iterator[None]:
    """Meanwhile a model is in evaluation mode, without gradients; afterwards it is as before, and
    so is what random numbers are drawn from."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with rng.undisturbed(), torch.no_grad(), evaluation_mode(model, last=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def some_tokens(model: Any, number: int) -> torch.Tensor:
    """A short sample, another one for each number: (1, COUNT)."""
    vocabulary = model.config.get_text_config().vocab_size
    first = 5 + number * COUNT
    # Far from each other: neighbours in a vocabulary are alike.
    ids = [(place * 37 + 11) % vocabulary for place in range(first, first + COUNT)]
    return torch.tensor([ids], device=model.device)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether it says nothing about the model: the card or memory failed, and torch has no class of
    its own for most of that."""
    return isinstance(error, torch.OutOfMemoryError) or _MACHINE.search(str(error)) is not None
