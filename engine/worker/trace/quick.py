"""Shapes of the commonest operations, without torch's own way to them on the meta device.

That way is written in Python and takes ten times as long; a trace is all such operations. Only
what is plain is done here: floating-point tensors of one type, contiguous.
"""

from __future__ import annotations

from typing import Any

import torch

_aten = torch.ops.aten
_ELEMENTWISE = {
    _aten.mul.Tensor, _aten.add.Tensor, _aten.sub.Tensor, _aten.div.Tensor, _aten.neg.default,
    _aten.rsqrt.default, _aten.pow.Tensor_Scalar, _aten.mul.Scalar, _aten.silu.default,
    _aten.sqrt.default, _aten.exp.default, _aten.gelu.default, _aten.tanh.default,
    _aten.tanh_backward.default, _aten.gelu_backward.default, _aten.silu_backward.default,
}  # fmt: skip


def made_by(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What the operation makes; None if torch has to be asked."""
    if func in _ELEMENTWISE:
        return _elementwise([value for value in args if isinstance(value, torch.Tensor)])
    if func is _aten.mm.default:
        return _product(*args)
    if func is _aten.mean.dim and not kwargs:
        return _mean(*args)
    return None


def _elementwise(tensors: list[torch.Tensor]) -> torch.Tensor | None:
    first = max(tensors, key=torch.Tensor.dim)
    shape, dtype = first.shape, first.dtype
    if not dtype.is_floating_point:
        return None
    for tensor in tensors:
        if tensor.dtype is not dtype or not tensor.is_contiguous() or not _fits(tensor, shape):
            return None
        if tensor.device.type != "meta":
            return None
    return torch.empty(shape, dtype=dtype, device="meta")


def _fits(tensor: torch.Tensor, shape: torch.Size) -> bool:
    """Whether it is broadcast to this shape, and no further."""
    if tensor.shape == shape:
        return True
    own = tensor.shape
    return all(
        size in (1, other) for size, other in zip(reversed(own), reversed(shape), strict=False)
    )


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor | None:
    if left.dtype is not right.dtype or not left.device.type == right.device.type == "meta":
        return None
    return torch.empty((left.shape[0], right.shape[1]), dtype=left.dtype, device="meta")


def _mean(tensor: torch.Tensor, dims: list[int], keep: bool = False) -> torch.Tensor | None:
    if not keep or dims != [-1] or tensor.device.type != "meta":
        return None
    return torch.empty((*tensor.shape[:-1], 1), dtype=tensor.dtype, device="meta")
