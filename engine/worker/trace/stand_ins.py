"""What stands in on the meta device for kernels that run only where there is a card.

Everything here takes and keeps the memory that the real thing takes and keeps, and computes
nothing. Sources: torch 2.13 (SDPA's choice and flash attention's buffers), bitsandbytes 0.50
(``MatMul4Bit``, ``MatMul8bitLt``), TRL 1.16 (``chunked_logprob``).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import register_flop_formula

_aten = torch.ops.aten
_BLOCK = 64
"""Weights that share one scale, in bitsandbytes' 4-bit formats."""
_NESTED_BLOCK = 256


class FlashAttention(torch.autograd.Function):
    """Keeps q, k, v, the result, a mask, and one number a row and head, instead of all scores."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any) -> torch.Tensor:
        result = torch.empty_like(query)
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, result, sums, mask)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        query, key, value, _, sums, _ = ctx.saved_tensors
        softmax = torch.empty_like(sums)  # noqa: F841 - takes memory while the kernel runs
        # Gradients of q are summed up in fp32, those of shared k and v for each head by itself.
        summed = torch.empty_like(query, dtype=torch.float32)  # noqa: F841
        wide = (
            [torch.empty_like(query), torch.empty_like(query)]
            if key.shape[1] != query.shape[1]
            else []
        )
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del wide
        return (*found, None)


class _Unpacked4(torch.autograd.Function):
    """Unpacks the weight in forward and again in backward; the input is not kept. The bias is added
    within the product."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: Linear4bit) -> torch.Tensor:
        ctx.layer = layer
        scales = layer.unpacked_scales(), layer.unpacked_scales()  # noqa: F841
        return inputs @ layer.unpacked(inputs.dtype).t()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        gradient, layer = gradients[0], ctx.layer
        scales = layer.unpacked_scales()
        weight = layer.unpacked(gradient.dtype)
        del scales
        return gradient @ weight, None


class Linear4bit(nn.Linear):
    """A layer whose frozen weight takes half a byte a number, and its scales."""

    def __init__(self, linear: nn.Linear, *, double: bool, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias, self._dtype = linear.bias, dtype
        self.unpacked_numbers = count = linear.weight.numel()
        self._blocks = -(-count // _BLOCK)
        self.weight = nn.Parameter(_bytes(-(-count // 2)), requires_grad=False)
        if double:
            nested = -(-self._blocks // _NESTED_BLOCK)
            scales = [_bytes(self._blocks), _bytes(4 * nested), _bytes(4 * (256 + 16 + 1))]
        else:
            scales = [_bytes(4 * self._blocks), _bytes(4 * 16)]
        self._double = double
        self.is_adapted = False
        """Whether an adapter adds to its result, which PEFT then copies first."""
        for place, scale in enumerate(scales):
            self.register_buffer(f"scale_{place}", scale)

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight as numbers."""
        return torch.empty(self.out_features, self.in_features, dtype=dtype, device="meta")

    def unpacked_scales(self) -> torch.Tensor | None:
        """The scales as numbers, where they are packed too."""
        return _bytes(4 * self._blocks) if self._double else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: Any = _Unpacked4.apply(inputs.to(self._dtype), self)  # type: ignore[no-untyped-call]
        result = result.to(inputs.dtype)
        return result.clone() if self.is_adapted else result  # type: ignore[no-any-return]


class _Unpacked8(torch.autograd.Function):
    """Multiplies in int8; unpacks the weight in backward, and keeps nothing for it, see
    :mod:`engine.worker.int8_inputs`."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: Linear8bit) -> torch.Tensor:
        ctx.layer = layer
        packed = _packed8(inputs.reshape(-1, inputs.shape[-1]).to(torch.float16))
        sums = torch._int_mm(packed, layer.weight.t())
        half = torch.empty_like(sums, dtype=torch.float16)
        return half.to(inputs.dtype).view(*inputs.shape[:-1], layer.out_features)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        weight = ctx.layer.weight.to(gradients[0].dtype)
        return gradients[0] @ weight, None


def _packed8(half: torch.Tensor) -> torch.Tensor:
    """A byte a number and a scale a row, after a look for outliers."""
    scales = half.new_empty(half.shape[0], dtype=torch.float32)  # noqa: F841
    packed = torch.empty_like(half, dtype=torch.int8)
    sizes = torch.empty_like(half)
    outliers = torch.empty_like(half, dtype=torch.bool)  # noqa: F841
    del sizes
    return packed


@register_flop_formula(_aten._int_mm)
def _int_mm_flop(left: Any, right: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """torch counts the products of every type but this."""
    return 2 * int(left[0]) * int(left[1]) * int(right[1])


class Linear8bit(nn.Linear):
    """A layer whose frozen weight takes a byte a number, and a scale a row."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        weight = torch.empty_like(linear.weight, dtype=torch.int8, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale_0", _bytes(4 * linear.out_features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _Unpacked8.apply(inputs, self)  # type: ignore[no-untyped-call, no-any-return]


def _bytes(count: int) -> torch.Tensor:
    return torch.empty(count, dtype=torch.uint8, device="meta")


_LOW = {
    F.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.bmm,
    torch.Tensor.mm, torch.Tensor.bmm, torch.addmm, torch.baddbmm, F.conv1d,
    F.scaled_dot_product_attention,
}  # fmt: skip
_HIGH = {
    torch.exp, torch.Tensor.exp, torch.log, torch.Tensor.log, torch.pow, torch.Tensor.pow,
    torch.Tensor.__pow__, torch.rsqrt, torch.Tensor.rsqrt, torch.reciprocal, F.softplus,
    F.layer_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.log_softmax, torch.cumsum,
    torch.Tensor.cumsum, torch.sum, torch.Tensor.sum, torch.prod, torch.Tensor.prod, torch.norm,
    torch.Tensor.norm,
}  # fmt: skip


class Kernels(TorchFunctionMode):
    """Takes the place of the dispatcher's choices, which it does not make for meta: attention,
    dropout and the casts of autocast."""

    def __init__(self, device: str, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.autocast_dtype = autocast
        self._device = device
        self._depth = 0
        self._is_off = False
        self._casts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def is_autocasting(self) -> bool:
        """Whether casts are made now."""
        return self._depth > 0 and self.autocast_dtype is not None

    @property
    def autocasts_on_card(self) -> bool:
        """Whether a model computes under autocast on a card."""
        return self._device == "cuda" and self.autocast_dtype is not None

    def casting(self, function: Any) -> Any:
        """The function, with these kernels and autocast while it runs."""

        def cast_within(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            try:
                with self if self._is_off else nullcontext():
                    return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._casts.clear()

        return cast_within

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.backward:
            return self._backward(*args, **kwargs)
        if self.is_autocasting and self.autocast_dtype is not None:
            if func in _LOW:
                args = tuple(self._cast(value, self.autocast_dtype) for value in args)
            elif func in _HIGH and kwargs.get("dtype") is None:
                args = tuple(_widened(value) for value in args)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is F.dropout and self._device == "cuda" and _drops(args, kwargs):
            return torch.native_dropout(args[0], 0.5, True)[0]
        return func(*args, **kwargs)

    def _backward(self, *args: Any, **kwargs: Any) -> None:
        """A mode is off in what it calls, but in there layers are computed again."""
        self._is_off = True
        try:
            torch.autograd.backward(*args, **kwargs)
        finally:
            self._is_off = False

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        """As autocast does it: casts of trained weights are kept until it is left."""
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if value.dtype is dtype:
            return value
        if not (value.is_leaf and value.requires_grad and torch.is_grad_enabled()):
            return value.to(dtype)
        if id(value) not in self._casts:
            self._casts[id(value)] = (value, value.to(dtype))
        return self._casts[id(value)][1]

    def _attention(
        self, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        if self._device == "cpu":
            mask = None if attn_mask is None else _as_float(attn_mask, query.dtype)
            return _aten._scaled_dot_product_flash_attention_for_cpu(  # type: ignore[no-any-return]
                query, key, value, dropout_p, is_causal, attn_mask=mask, scale=scale
            )[0]
        mask = None if attn_mask is None else _as_float(attn_mask, query.dtype)
        result: Any = FlashAttention.apply(query, key, value, mask)  # type: ignore[no-untyped-call]
        return result  # type: ignore[no-any-return]


def _widened(value: Any) -> Any:
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


def _as_float(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """SDPA adds the mask to the scores."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.where(
        mask,
        torch.empty((), dtype=dtype, device="meta"),
        torch.empty((), dtype=dtype, device="meta"),
    )


def _drops(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    share = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", True)
    return bool(share and training)
