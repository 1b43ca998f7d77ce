"""Traces a layout: a step of the model at few layers, and the form that follows from it."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from msgspec.structs import replace

from engine.planning.form import PARTS, Form, Layout, Point, Segment
from engine.worker.trace import fit, rounding
from engine.worker.trace import model as models
from engine.worker.trace.fit import Course, Regime
from engine.worker.trace.model import Built
from engine.worker.trace.optimizers import USUAL_RANK
from engine.worker.trace.patches import Arrangement
from engine.worker.trace.recording import Recording
from engine.worker.trace.shallower import without
from engine.worker.trace.sizes import Sizes, as_coefficients, choose
from engine.worker.trace.step import Traced, trace_step
from engine.worker.trace.subject import (
    But,
    Subject,
    build_subject,
    model_of,
    repeating,
    window_of,
)

VERSIONS = ("torch", "transformers", "peft", "trl")
_BATCH = 2


class _Pass(msgspec.Struct):
    """What was traced in a regime."""

    regime: Regime
    sizes: Sizes
    traced: Traced
    recordings: list[Recording]
    """Of the step of fewer layers and of that of more; or of all layers."""
    course: Course


class _Uneven(Exception):
    """Layers with a window and those without are not alike."""


def trace(layout: Layout, *, longest: int | None = None, whole: bool = False) -> Form:
    """The form of a layout. It holds for rows of any length, or, if ``longest`` is within a sliding
    window, of less than the window. ``whole`` traces every layer, which takes longer and gives the
    same. Raises CannotTrace."""
    began = time.perf_counter()
    window = window_of(layout)
    up_to = window - 1 if window and longest and longest < window else None
    try:
        subject = build_subject(layout, up_to, whole=whole)
        passes = _passes(subject)
    except _Uneven:
        subject = repeating(layout, up_to, models.period(layout.config))
        passes = _passes(subject)
    segments = [segment for done in passes for segment in _segments(subject, done)]
    return _form(subject, passes, segments, began)


def _passes(subject: Subject) -> list[_Pass]:
    passes: list[_Pass] = []
    for regime in _regimes(subject.layout, subject.longest):
        passes.append(_pass(subject, regime, passes))
    return passes


def _regimes(layout: Layout, longest: int | None) -> list[Regime]:
    window = window_of(layout)
    begin = models.line_from(layout)
    lengths: list[tuple[int, int | None]] = [(0, None)]
    if window is not None:
        lengths = [(0, window - 1), (window, None)]
    if longest is not None:
        del lengths[1:]
    alone = [
        Regime(min_batch=1, max_batch=1, line=begin == 1, min_length=least, max_length=most)
        for least, most in lengths
    ]
    several = [replace(each, min_batch=2, max_batch=None, line=begin is not None) for each in alone]
    return [*alone, *several]


def _pass(subject: Subject, regime: Regime, earlier: list[_Pass]) -> _Pass:
    """What is traced in a regime. If the layers do ahead what they did in an earlier one, so do
    they backward, and all others: what was traced then stands."""
    layout = subject.layout
    sizes = choose(
        subject.dimensions(), batch=regime.is_batch, rank=subject.rank,
        at_least=regime.min_length, at_most=regime.max_length, line=regime.line,
    )  # fmt: skip
    rows = _rows(layout, regime)
    comparable = [
        done
        for done in earlier
        if _rows(layout, done.regime) is rows and done.regime.is_batch is regime.is_batch
    ]
    if comparable and subject.computes_all:
        return replace(comparable[0], regime=regime, sizes=sizes)
    same: list[_Pass] = []

    def is_known(ahead: Recording) -> bool:
        same.extend(done for done in comparable if ahead.begins_like(done.recordings[-1]))
        return bool(same)

    traced = trace_step(layout, subject.built, sizes, rows, is_known)
    if traced is None:
        return replace(same[0], regime=regime, sizes=sizes)
    recordings = _recordings(subject, traced.recording, sizes, rows)
    return _Pass(regime, sizes, traced, recordings, subject.course(recordings))


def _recordings(
    subject: Subject, deep: Recording, sizes: Sizes, rows: Arrangement
) -> list[Recording]:
    """The step of fewer layers, traced only if it does not follow from that of more, and that; or
    that of all."""
    if subject.cut is None:
        return [deep]
    shallower = without(deep, subject.cut)
    if shallower is None and subject.alternating:
        raise _Uneven
    if shallower is None:
        fewer = model_of(subject.layout, subject.traced_depth - subject.cut.period)
        traced = trace_step(subject.layout, fewer, sizes, rows)
        assert traced is not None
        shallower = traced.recording
    return [shallower, deep.without_evaluation()]


def _rows(layout: Layout, regime: Regime) -> Arrangement:
    """How the rows of a batch are kept apart."""
    if regime.line:
        return "by borders"
    if layout.packing:
        return "by a mask"
    if regime.is_batch:
        return "padded" if layout.padded else "full"
    return "alone"


def _segments(subject: Subject, done: _Pass) -> Iterator[Segment]:
    rank = subject.layout.lora is not None
    yield from fit.segments(done.course, done.regime, rank=rank)
    yield from _at_rest(subject, done)


def _at_rest(subject: Subject, done: _Pass) -> Iterator[Segment]:
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


def _while_loading(subject: Subject, rest: np.ndarray) -> np.ndarray:
    """On a card, the largest matrix before it is quantized; without one, the saved weights."""
    layout = subject.layout
    if layout.device == "cuda":
        largest = max(models.matrices(subject.built)) if layout.bits < 16 else 0
        unit = np.zeros(rest.shape[1])
        unit[0] = 2.0 * largest
        return unit
    if layout.lora is not None:
        saved: np.ndarray = rest[PARTS.index("adapter")] + rest[PARTS.index("trained_weights")]
        return saved
    unit = np.zeros(rest.shape[1])
    unit[0] = 4.0 * max(models.matrices(subject.built))
    return unit


def _form(subject: Subject, passes: list[_Pass], segments: list[Segment], began: float) -> Form:
    # Where some rows are longer than a window, those within it: the same as without the others.
    within = [done for done in passes if done.regime.min_length == 0]
    layout, last, beyond = subject.layout, within[-1], passes[-1]
    sizes = last.sizes
    work, ram = last.traced.work, last.traced.ram

    def counted(count: Callable[[str, But], np.ndarray], *stages: str) -> np.ndarray:
        total: np.ndarray = subject.grown(lambda but: sum(count(stage, but) for stage in stages))
        return total

    def in_ram(but: But) -> np.ndarray:
        return sum((size for layer, size in ram if layer not in but), sizes.formula(0))

    def numbers(weights: dict[int, int]) -> np.ndarray:
        """``weights`` by their id; of each, for how many numbers it stands."""
        layer_of = subject.built.layer_of
        total: np.ndarray = subject.grown(
            lambda but: sum(
                (sizes.formula(n) for key, n in weights.items() if layer_of.get(key) not in but),
                sizes.formula(0),
            )
        )
        return total

    trained = numbers(_trained(subject.built))
    all_numbers = numbers(_weights(subject.built))
    base = all_numbers - trained if layout.lora is not None else all_numbers
    return Form(
        layers=subject.depth,
        parameters=as_coefficients(base),
        trainable=as_coefficients(trained),
        adapter_file=as_coefficients(4.0 * trained),
        segments=segments,
        ram=as_coefficients(subject.grown(in_ram)),
        forward_flops=as_coefficients(counted(work.flops, "forward", "loss")),
        backward_flops=as_coefficients(counted(work.flops, "backward")),
        saved_bytes_moved=as_coefficients(counted(work.moved, "forward", "loss", "backward")),
        rounding=_rounding(layout, last),
        long_from=beyond.regime.min_length,
        long_rounding=[] if beyond.course is last.course else _rounding(layout, beyond),
        traced_at=[Point(batch=sizes.batch, length=sizes.length, rank=sizes.rank)],
        seconds=time.perf_counter() - began,
        longest=subject.longest,
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
    )


def _rounding(layout: Layout, done: _Pass) -> list[tuple[int, int]]:
    if layout.device != "cuda":
        return []
    return rounding.table(
        done.recordings,
        batch=_BATCH,
        rank=USUAL_RANK if layout.lora is not None else 0,
        grows=layout.gradient_checkpointing != "none" and not _trains_in_full(layout),
    )


def _trains_in_full(layout: Layout) -> bool:
    return layout.lora is None or bool(layout.lora.get("modules_to_save"))


def _trained(built: Built) -> dict[int, int]:
    """How many numbers each trained weight has, by its id."""
    return {id(value): value.numel() for value in built.trained.values()}


def _weights(built: Built) -> dict[int, int]:
    """How many numbers each weight has, packed ones as many as they stand for, by its id."""
    packed = {id(m.weight): m for m in built.model.modules() if hasattr(m, "unpacked_numbers")}
    return {
        id(value): packed[id(value)].unpacked_numbers if id(value) in packed else value.numel()
        for value in built.model.parameters()
    }
