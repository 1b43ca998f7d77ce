"""What stands in while a step is traced: where transformers and TRL look at values, which are not
there on the meta device, they are told what these would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal
from unittest import mock

import torch
from transformers import masking_utils
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from engine.planning.form import Layout
from engine.worker import by_sample, target_head
from engine.worker.trace.model import Built
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.sizes import Sizes

Arrangement = Literal["alone", "full", "padded", "by a mask", "by borders"]
"""How what lies in a batch is kept apart: there is one row; all are of one length, or not; packed
samples have a mask, or samples lie one behind the other and attention is told of their borders."""


class _Torch:
    """torch, as TRL's kernels should see it: they ask whether the tensors' device autocasts."""

    def __init__(self, built: Built) -> None:
        self._kernels = built.kernels

    def is_autocast_enabled(self, device: str) -> bool:
        return self._kernels.is_autocasting

    def get_autocast_dtype(self, device: str) -> torch.dtype | None:
        return self._kernels.autocast_dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def patches(
    layout: Layout, built: Built, sizes: Sizes, rows: Arrangement, recorder: Recorder
) -> Iterator[Any]:
    """Where transformers and TRL look at values, which are not there, say what they would be."""
    is_odd = rows in ("padded", "by a mask", "by borders")
    yield mock.patch.object(masking_utils, "is_tracing", _always(is_odd))
    yield mock.patch.object(masking_utils, "fast_all", _always(True))
    yield mock.patch.object(by_sample, "apart", _all_at_once)
    # Cards that lack flash attention lack bf16 as well.
    may_share = layout.device == "cpu" or layout.precision == "bf16"
    yield mock.patch.object(by_sample, "may_share_heads", _always(may_share))
    yield mock.patch.object(chunked_logprob, "TOKEN_CHUNK_SIZE", sizes.rows)
    yield mock.patch.object(chunked_logprob, "torch", _Torch(built))
    # The worst case: each position has a target, and is picked.
    yield mock.patch.object(target_head, "at_targets", nullcontext)
    yield mock.patch.object(trl_utils, "_ChunkedLogProbFunction", _Compacting)
    if layout.device == "cuda":
        yield mock.patch.object(chunked_logprob, "_addmm_fp32", _summed(recorder))
    if layout.device == "cuda" and layout.triton:
        yield mock.patch.object(chunked_logprob, "_forward_tile", _takes_nothing)
        yield mock.patch.object(chunked_logprob, "_backward_tile", _takes_nothing)


def _always(answer: bool) -> Any:
    def ask(*args: Any) -> bool:
        return answer

    return ask


def _all_at_once(
    tensors: Sequence[torch.Tensor], lengths: list[int], **kwargs: Any
) -> torch.Tensor:
    """As :func:`engine.worker.by_sample.apart`, with samples of one length for such of any. What
    each takes is so known to grow with their number; of what is there for a moment, that of all is
    counted."""
    # A split of one piece copies its gradient, as one of many does.
    whole = [torch.split(each, [each.shape[2]], dim=2)[0] for each in tensors]
    return torch.cat([by_sample.together(whole, len(lengths), **kwargs)], dim=1)


def _takes_nothing(*args: Any, **kwargs: Any) -> None:
    """A Triton kernel that works in place."""


def _summed(recorder: Recorder) -> Any:
    def addmm(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        recorder.count(2 * left.shape[0] * left.shape[1] * right.shape[1])

    return addmm


class _Compacting:
    """The kernel, of positions that were picked one by one: each has a target. Of several rows
    what comes is a copy already, and stands for the one that picking makes."""

    @staticmethod
    def apply(hidden: torch.Tensor, *rest: Any) -> Any:
        picked = hidden.clone() if hidden._is_view() else hidden
        return chunked_logprob.ChunkedLogProbFunction.apply(picked, *rest)
