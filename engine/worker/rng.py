"""All random state of the process: taken, kept, put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import torch


class RandomState(msgspec.Struct, frozen=True, kw_only=True):
    """State of every generator that training draws from."""

    python: list[Any]
    numpy: list[Any]
    tensors: dict[str, torch.Tensor]
    """``torch``, and ``cuda.0`` … where there are cards."""


def take() -> RandomState:
    """The state now."""
    version, words, gauss = random.getstate()
    words_of: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, cached = words_of
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states = torch.cuda.get_rng_state_all()
        tensors |= {f"cuda.{index}": state for index, state in enumerate(states)}
    return RandomState(
        python=[version, list(words), gauss],
        numpy=[name, keys.tolist(), position, has_gauss, cached],
        tensors=tensors,
    )


def put_back(state: RandomState) -> None:
    """Go on from that state. A card that is not there any more is left out."""
    version, words, gauss = state.python
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state.numpy
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state.tensors["torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in state.tensors:
                torch.cuda.set_rng_state(state.tensors[f"cuda.{index}"], index)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What happens inside leaves no trace in the random state."""
    state = take()
    try:
        yield
    finally:
        put_back(state)
