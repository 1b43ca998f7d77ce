"""Keeps bitsandbytes from holding on to the inputs of frozen 8-bit layers."""

from __future__ import annotations

from typing import Any


def let_go() -> None:
    """From now on a frozen 8-bit layer keeps nothing of its input until the backward pass.

    WORKAROUND(https://github.com/bitsandbytes-foundation/bitsandbytes/blob/0.50.2/bitsandbytes/autograd/_functions.py):
    ``MatMul8bitLt`` puts its input on the context as a plain attribute, for a gradient that a
    frozen weight has not. Autograd's hooks do not see it, so recomputing activations frees nothing
    of it: of Gemma 2 2B it is 1.6 GiB at 2 048 tokens.
    """
    from bitsandbytes.autograd._functions import MatMul8bitLt

    original = MatMul8bitLt.forward
    if getattr(original, "lets_go", False):
        return

    def forward(ctx: Any, *args: Any) -> Any:
        result = original(ctx, *args)
        if not ctx.needs_input_grad[1]:
            ctx.tensors, ctx.tensor_states = (None, None, None), (None, None)
        return result

    forward.lets_go = True  # type: ignore[attr-defined]
    MatMul8bitLt.forward = staticmethod(forward)
