"""What operations make, without torch's own way to it on the meta device but for the first time.

That way is largely written in Python and takes ten times as long; a trace is all such operations,
and most are those of another layer once more. What one makes follows from the shapes and types of
what it takes, so it is remembered by these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from engine.worker.trace.work import Cost, cost_of


class _Made(NamedTuple):
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    cost: Cost


class Memory:
    """For one pass."""

    def __init__(self) -> None:
        self._known: dict[Any, _Made] = {}

    def make(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Cost, bool]:
        """What the operation makes, what that costs, and whether it is one tensor with a storage of
        its own. Not for views."""
        if func._schema.is_mutable:
            made = func(*args, **kwargs)
            return made, cost_of(func, args, kwargs, made), False
        tensors: list[torch.Tensor] = []
        key = (func, _key(args, tensors), _key(kwargs.items(), tensors) if kwargs else ())
        known = self._known.get(key)
        if known is not None:
            made = torch.empty_strided(known.shape, known.stride, dtype=known.dtype, device="meta")
            return made, known.cost, True
        made = func(*args, **kwargs)
        cost, is_new = cost_of(func, args, kwargs, made), _is_new(made, tensors)
        if is_new:
            self._known[key] = _Made(made.shape, made.stride(), made.dtype, cost)
        return made, cost, is_new


def _key(values: Any, tensors: list[torch.Tensor]) -> tuple[Any, ...]:
    """What a result depends on; ``tensors`` gets those among the values."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
            found.append((value.shape, value.stride(), value.dtype, value.is_meta))
        elif isinstance(value, list | tuple):
            found.append(_key(value, tensors))
        else:
            # 1, 1.0 and True are equal, and make tensors of different types.
            found.append((type(value), value))
    return tuple(found)


def _is_new(made: Any, tensors: list[torch.Tensor]) -> bool:
    """Whether it is a tensor on the meta device that fills a storage of its own."""
    if not isinstance(made, torch.Tensor) or not made.is_meta:
        return False
    storage = made.untyped_storage()
    if storage.nbytes() != made.numel() * made.element_size():
        return False
    return all(storage._cdata != tensor.untyped_storage()._cdata for tensor in tensors)
