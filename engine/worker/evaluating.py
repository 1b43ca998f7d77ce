"""Putting a model into evaluation and back without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_BLOCK = 64
_ROWS = 32


@contextmanager
def evaluation_mode(model: Any, *, last: bool) -> Iterator[None]:
    """No dropout inside; ``last`` says that nothing is trained afterwards.

    WORKAROUND(bitsandbytes 0.50): on CPUs with AVX512-BF16 a 4-bit layer in evaluation repacks its
    weights for good and rounds their scales to bf16, so that training after an evaluation is
    another training; layers of odd size cannot be repacked and raise. So these layers stay in
    training mode, in which they compute the same, but for the last evaluation, whose loss
    must be what a freshly loaded model gives.
    """
    model.eval()
    for layer in _repacking_layers(model):
        layer.training = not (last and _can_be_repacked(layer))
    try:
        yield
    finally:
        model.train()


def _repacking_layers(model: Any) -> Iterator[Any]:
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            yield module


def _can_be_repacked(layer: Any) -> bool:
    return bool(layer.in_features % _BLOCK == 0 and layer.out_features % _ROWS == 0)
