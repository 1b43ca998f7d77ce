"""Traces a layout: a step of the model at few layers, and the form that follows from it."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from engine.planning.form import PARTS, Form, Layout, Point, Segment
from engine.worker.loading import trainable
from engine.worker.trace import fit, rounding
from engine.worker.trace import model as models
from engine.worker.trace.fit import Course, Regime
from engine.worker.trace.model import Built
from engine.worker.trace.optimizers import USUAL_RANK
from engine.worker.trace.patches import Arrangement
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.sizes import Sizes, as_coefficients, choose
from engine.worker.trace.step import Traced, trace_forward, trace_step
from engine.worker.trace.work import Work

VERSIONS = ("torch", "transformers", "peft", "trl")
_WHOLE_UP_TO = 4
"""Layers of a model that is not worth extrapolating."""
_RANK = 211
"""A prime: see :mod:`engine.worker.trace.sizes`."""
_BATCH = 2


class _Subject(msgspec.Struct):
    """The layout's model at two depths, or whole."""

    layout: Layout
    depth: int
    depths: list[int]
    built: list[Built]

    def grown(self, measure: Callable[[Built], Any]) -> Any:
        """A measure of the whole model: it grows by the same with each layer."""
        return self.between([measure(built) for built in self.built])

    def between(self, values: list[Any]) -> Any:
        """A value of the whole model from those of the depths."""
        if len(values) == 1:
            return values[0]
        share = (self.depth - self.depths[0]) / (self.depths[1] - self.depths[0])
        return values[0] + share * (values[1] - values[0])


class _Pass(msgspec.Struct):
    """What was traced in a regime."""

    regime: Regime
    sizes: Sizes
    traced: list[Traced]
    course: Course


def trace(layout: Layout, *, whole: bool = False) -> Form:
    """The form of a layout. ``whole`` traces every layer, which takes longer and gives the same.
    Raises CannotTrace."""
    began = time.perf_counter()
    subject = _build(layout, whole=whole)
    passes: list[_Pass] = []
    for regime in _regimes(layout):
        passes.append(_pass(subject, regime, passes))
    segments = [segment for done in passes for segment in _segments(subject, done)]
    return _form(subject, passes[-1], segments, time.perf_counter() - began)


def _build(layout: Layout, *, whole: bool) -> _Subject:
    depth, period = models.depth(layout.config), models.period(layout.config)
    first = _first_depth(depth, period)
    few = whole or depth <= max(_WHOLE_UP_TO, first)
    depths = [depth] if few else [first, first + period]
    rank = _RANK if layout.lora is not None else 0
    built = [models.build(layout, layers=layers, rank=rank) for layers in depths]
    return _Subject(layout, depth, depths, built)


def _first_depth(depth: int, period: int) -> int:
    """As few layers as show each kind twice: between others, and as the first or the last."""
    least = period + 2
    return least + (depth - least) % period


def _regimes(layout: Layout) -> list[Regime]:
    window = models.window(layout.config)
    begin = models.line_from(layout)
    needs_no_mask = layout.attn_implementation == "flash_attention_2"
    has_mask = layout.packing and begin is None
    if window is None or has_mask or needs_no_mask:
        lengths: list[tuple[int, int | None]] = [(0, None)]
    else:
        lengths = [(0, window - 1), (window, None)]
    alone = [
        Regime(min_batch=1, max_batch=1, line=begin == 1, min_length=least, max_length=most)
        for least, most in lengths
    ]
    if begin is None:
        return [*alone, Regime(min_batch=2)]
    return [*alone, *(replace(each, min_batch=2, max_batch=None, line=True) for each in alone)]


def _pass(subject: _Subject, regime: Regime, earlier: list[_Pass]) -> _Pass:
    """What is traced in a regime. If the fewer layers do ahead what they did in an earlier one, so
    do they backward, and all others: what was traced then stands."""
    layout = subject.layout
    dimensions = {
        size
        for value in subject.built[0].model.parameters()
        for size in (*value.shape, value.numel())
        if size % _RANK
    }
    sizes = choose(
        dimensions, batch=regime.is_batch, rank=_RANK if layout.lora is not None else 0,
        at_least=regime.min_length, at_most=regime.max_length, line=regime.line,
    )  # fmt: skip
    rows = _rows(layout, regime)
    first, *others = subject.built
    comparable = [
        done
        for done in earlier
        if _rows(layout, done.regime) is rows and done.regime.is_batch is regime.is_batch
    ]
    if comparable:
        ahead = trace_forward(layout, first, sizes, rows)
        for done in comparable:
            if ahead.begins_like(done.traced[0].recorder):
                return _Pass(regime, sizes, done.traced, done.course)
    traced = [trace_step(layout, first, sizes, rows, evaluates=True)]
    traced += [trace_step(layout, built, sizes, rows, evaluates=False) for built in others]
    return _Pass(regime, sizes, traced, _course(subject, [each.recorder for each in traced]))


def _rows(layout: Layout, regime: Regime) -> Arrangement:
    """How the rows of a batch are kept apart."""
    if regime.line:
        return "by borders"
    if layout.packing:
        return "by a mask"
    if regime.is_batch:
        return "padded" if layout.padded else "full"
    return "alone"


def _course(subject: _Subject, recorders: list[Recorder]) -> Course:
    if len(recorders) == 1:
        return Course(recorders[0].stretches())
    short, long = recorders
    return fit.extrapolate(short, long, (subject.depths[0], subject.depths[1]), subject.depth)


def _segments(subject: _Subject, done: _Pass) -> Iterator[Segment]:
    rank = subject.layout.lora is not None
    yield from fit.segments(done.course, done.regime, rank=rank)
    yield from _at_rest(subject, done)


def _at_rest(subject: _Subject, done: _Pass) -> Iterator[Segment]:
    """While a run goes on from a save, and while it writes its result, no step is under way."""
    rest = done.course.of(0, "rest")[0].copy()
    rest[PARTS.index("inputs")] = 0
    where = fit.where(done.regime)
    yield fit.segment(rest, "restore", "resume", **where)
    yield fit.segment(rest, "export", "export", **where)
    before = rest.copy()
    before[PARTS.index("optimizer")] = 0
    before[PARTS.index("transient")] = _while_loading(subject, rest)
    yield fit.segment(before, "load", "resume", **where)


def _while_loading(subject: _Subject, rest: np.ndarray) -> np.ndarray:
    """On a card, the largest matrix before it is quantized; without one, the saved weights."""
    layout = subject.layout
    if layout.device == "cuda":
        largest = max(_matrices(subject.built[0])) if layout.bits < 16 else 0
        unit = np.zeros(rest.shape[1])
        unit[0] = 2.0 * largest
        return unit
    if layout.lora is not None:
        saved: np.ndarray = rest[PARTS.index("adapter")] + rest[PARTS.index("trained_weights")]
        return saved
    unit = np.zeros(rest.shape[1])
    unit[0] = 4.0 * max(_matrices(subject.built[0]))
    return unit


def _matrices(built: Built) -> list[int]:
    """Numbers in each matrix of the base model."""
    found = [value.numel() for value in built.base.parameters()]
    for module in built.base.modules():
        if hasattr(module, "in_features"):
            found.append(module.in_features * module.out_features)
    return found


def _form(subject: _Subject, last: _Pass, segments: list[Segment], seconds: float) -> Form:
    layout, sizes = subject.layout, last.sizes

    def counted(count: Callable[[Work, str], np.ndarray], *stages: str) -> np.ndarray:
        total: np.ndarray = subject.between(
            [sum(count(each.recorder.work, stage) for stage in stages) for each in last.traced]
        )
        return total

    trained = subject.grown(lambda built: _numbers_in(built, sizes, only_trained=True))
    all_numbers = subject.grown(lambda built: _numbers_in(built, sizes, only_trained=False))
    base = all_numbers - trained if layout.lora is not None else all_numbers
    return Form(
        layers=subject.depth,
        parameters=as_coefficients(base),
        trainable=as_coefficients(trained),
        adapter_file=as_coefficients(4.0 * trained),
        segments=segments,
        ram=as_coefficients(subject.between([traced.ram for traced in last.traced])),
        forward_flops=as_coefficients(counted(Work.flops, "forward", "loss")),
        backward_flops=as_coefficients(counted(Work.flops, "backward")),
        saved_bytes_moved=as_coefficients(counted(Work.moved, "forward", "loss", "backward")),
        rounding=_rounding(layout, last),
        traced_at=[Point(batch=sizes.batch, length=sizes.length, rank=sizes.rank)],
        seconds=seconds,
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
    )


def _rounding(layout: Layout, done: _Pass) -> list[tuple[int, int]]:
    if layout.device != "cuda":
        return []
    return rounding.table(
        [traced.recorder for traced in done.traced],
        batch=_BATCH,
        rank=USUAL_RANK if layout.lora is not None else 0,
        grows=layout.gradient_checkpointing != "none" and not _trains_in_full(layout),
    )


def _trains_in_full(layout: Layout) -> bool:
    return layout.lora is None or bool(layout.lora.get("modules_to_save"))


def _numbers_in(built: Built, sizes: Sizes, *, only_trained: bool) -> np.ndarray:
    """Numbers in the weights, packed ones counted as what they stand for."""
    if only_trained:
        counts = [value.numel() for value in trainable(built.model).values()]
    else:
        packed = {id(m.weight): m for m in built.model.modules() if hasattr(m, "unpacked_numbers")}
        counts = [
            packed[id(value)].unpacked_numbers if id(value) in packed else value.numel()
            for value in built.model.parameters()
        ]
    total: np.ndarray = sum((sizes.formula(count) for count in counts), sizes.formula(0))
    return total
