"""The closed form of a step's memory: what a trace leaves, small enough to move a slider over.

A worker traces steps of the real model class on the meta device (:mod:`engine.worker.trace`) and
fits, for each *segment* of a step and each *part* of what is alive at that segment's peak, a
polynomial in micro-batch, length and rank. Here, without torch, it is only evaluated. Pure.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from operator import itemgetter
from typing import Any, Literal

import msgspec

FORMAT = 3

Part = Literal[
    "weights",  # frozen base weights, whatever their type
    "trained_weights",  # base weights that are trained in full, modules_to_save among them
    "adapter",
    "gradients",
    "optimizer",
    "activations",  # saved for the backward pass
    "recompute",  # alive only while a checkpointed layer is computed again or backward runs in it
    "logits",  # the head's tiles, the loss and what they need
    "offload",  # buffers on the card through which activations go to RAM and back
    "inputs",
    "transient",  # whatever else is alive for a moment: casts, unpacked weights, optimizer steps
    "rounding",  # what the caching allocator holds beyond what was asked for
]
PARTS: tuple[Part, ...] = Part.__args__  # type: ignore[attr-defined]

STAYS = frozenset({"weights", "trained_weights", "adapter", "optimizer"})
"""Parts that are made once and stay."""

Moment = Literal["train", "resume", "evaluate", "export"]
"""What the process is doing: each has its own segments."""

DeviceKind = Literal["cuda", "cpu"]
Precision = Literal["bf16", "fp16", "fp32"]
Checkpointing = Literal["none", "full", "offload"]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides which tensors a step makes, but for the sizes of a :class:`Point`."""

    config: dict[str, Any]
    """The model's ``config.json``."""
    device: DeviceKind
    precision: Precision
    bits: Literal[4, 8, 16] = 16
    bnb_4bit_quant_type: str = "nf4"
    bnb_4bit_use_double_quant: bool = True
    lora: dict[str, Any] | None = None
    """Fields of ``LoraSpec`` without ``r``; None trains all weights."""
    optim: str = "adamw_torch"
    gradient_checkpointing: Checkpointing = "full"
    attn_implementation: str = "sdpa"
    packing: bool = False
    padded: bool = True
    """Whether rows of a batch can be of unequal length: in pretraining all blocks are full."""
    triton: bool = True
    """Whether Triton is there, as on Linux; without it TRL's head takes more for each tile."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes that a form is evaluated at."""

    batch: int
    """per_device_train_batch_size."""
    length: int
    """Tokens of the longest row: max_length, or what the data comes to."""
    rank: int = 0
    """``lora.r``; 0 without LoRA."""

    accumulates: bool = True
    """gradient_accumulation_steps > 1: gradients are alive while the next batch is computed."""

    def monomials(self) -> tuple[float, ...]:
        """1, b, b·s, b·s², r, r·b·s, s, s² and the rows of a tile of the head: what coefficients
        are for, in this order."""
        tokens = self.batch * self.length
        return (
            1.0,
            float(self.batch),
            float(tokens),
            float(tokens) * self.length,
            float(self.rank),
            float(self.rank) * tokens,
            float(self.length),
            float(self.length) ** 2,
            float(min(self.batch * (self.length - 1), TILE_ROWS)),
        )


TILE_ROWS = 4096
"""Positions that the head computes at once; TRL's own number."""

Coefficients = tuple[float, ...]
"""Of :meth:`Point.monomials`; those left out at the end are 0."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a step, and what is alive at its peak."""

    name: str
    """``forward``, ``loss``, ``backward`` or ``optimizer`` where it trains. A stretch may have
    several: its peak is the greatest of those that hold at a point."""
    moment: Moment
    parts: dict[str, Coefficients]
    """Bytes on the device by :data:`Part`."""
    min_batch: int = 1
    max_batch: int | None = None
    min_length: int = 0
    max_length: int | None = None
    accumulates: bool | None = None
    """These five: for which points it holds; None for all. A batch of one is neither padded nor in
    line with others, and short rows need no mask for a sliding window."""

    def holds_at(self, point: Point) -> bool:
        """Whether the step at this point comes by here."""
        return (
            self.min_batch <= point.batch
            and (self.max_batch is None or point.batch <= self.max_batch)
            and self.min_length <= point.length
            and (self.max_length is None or point.length <= self.max_length)
            and (self.accumulates is None or self.accumulates == point.accumulates)
        )


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A model trained in a certain way, traced."""

    format: int = FORMAT
    layers: int
    parameters: Coefficients
    """Weights of the base model, shared ones counted once."""
    trainable: Coefficients
    """Trained weights."""
    adapter_file: Coefficients
    """Bytes of ``adapter_model.safetensors``; of the whole model where all weights train."""
    segments: list[Segment]
    ram: Coefficients
    """Bytes that offloaded activations take in the computer's memory."""
    forward_flops: Coefficients
    """Multiplications and additions of one micro-batch's forward pass."""
    backward_flops: Coefficients
    """Of its backward pass, with what checkpointing computes again."""
    saved_bytes_moved: Coefficients
    """Bytes that a micro-batch reads and writes on the device, roughly: for the roofline."""
    rounding: list[tuple[int, int]] = []
    """Tokens of a micro-batch, and bytes that the allocator then holds beyond what training asked
    for at its peak; rising. No polynomial: how blocks fit into each other is no matter of size."""
    long_from: int = 0
    long_rounding: list[tuple[int, int]] = []
    """The same for rows of so many tokens or more, where a sliding window takes masks."""
    traced_at: list[Point] = []
    seconds: float = 0.0
    """How long the trace took."""
    versions: dict[str, str] = {}
    longest: int | None = None
    """Rows of up to so many tokens it holds for; None: of any. With longer ones a sliding window
    takes masks, which only a run that has such rows is traced for."""

    def holds_for(self, length: int) -> bool:
        """Whether it holds for rows of up to so many tokens."""
        return self.longest is None or length <= self.longest


def value(coefficients: Coefficients, point: Point) -> float:
    """The polynomial at a point."""
    return _dot(coefficients, point.monomials())


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The moment of a step at which most is alive."""

    segment: str
    parts: dict[str, int]
    """Bytes by part; those without any are left out."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


def peak(form: Form, point: Point, moment: Moment = "train") -> Peak:
    """The segment with the greatest need, and what it is made of. Raises ValueError if the form
    has none of this moment."""
    found = _highest(form, point, moment)
    if not form.rounding:
        return found
    moving = _moving(found if moment == "train" else _highest(form, point, "train"))
    share = _moving(found) / max(moving, 1)
    is_long = form.long_rounding and point.length >= form.long_from
    table = form.long_rounding if is_long else form.rounding
    rounding = round(share * _rounding(table, point.batch * point.length))
    parts = {**found.parts, "rounding": rounding} if rounding else found.parts
    return Peak(segment=found.segment, parts=parts)


def _highest(form: Form, point: Point, moment: Moment) -> Peak:
    candidates = [s for s in form.segments if s.moment == moment and s.holds_at(point)]
    peaks = [Peak(segment=s.name, parts=_bytes(s, point)) for s in candidates]
    if not peaks:
        raise ValueError(f"The form has no segment of {moment}.")
    return max(peaks, key=lambda found: found.total)


def _moving(found: Peak) -> int:
    """Bytes that come and go in every step; the blocks of the others are cut once, and fit."""
    return sum(size for part, size in found.parts.items() if part not in STAYS)


def _rounding(table: list[tuple[int, int]], tokens: int) -> float:
    """Between two known sizes in proportion; beyond the greatest it grows as the tokens do."""
    last_tokens, last = table[-1]
    if tokens >= last_tokens:
        return last * tokens / last_tokens
    place = bisect_left(table, tokens, key=itemgetter(0))
    if place == 0:
        return table[0][1]
    (begin, low), (end, high) = table[place - 1 : place + 1]
    return low + (high - low) * (tokens - begin) / (end - begin)


def _bytes(segment: Segment, point: Point) -> dict[str, int]:
    # Once for all parts: a ladder evaluates hundreds of segments while a slider moves.
    monomials = point.monomials()
    found = {part: round(_dot(c, monomials)) for part, c in segment.parts.items()}
    return {part: size for part, size in found.items() if size > 0}


def _dot(coefficients: Coefficients, monomials: Coefficients) -> float:
    total: float = sum(map(operator.mul, coefficients, monomials))
    return total
