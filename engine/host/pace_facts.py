"""From a run's folder to the facts of its pace: the newest steps and what was measured then."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile, islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from engine.contract.lifecycle import Phase
from engine.contract.messages import PhaseChanged, Record, Step, Telemetry, decode_line
from engine.diagnosis.pace.shares import Facts, Pace, pace_of, recompute_share
from engine.planning.learnt import Expected
from engine.store.records import EVENTS, METRICS, UNREADABLE, lines_back
from engine.store.runs import read_run

STEPS = 200
"""The newest steps, whose time is looked at."""
_LINES = 2500
_EVENTS = 2000
_FIRST_STEPS = 3
"""Of an attempt, which compile and warm up."""
TRAINS = frozenset({Phase.FIRST_STEP, Phase.TRAINING})


def read_pace(folder: Path) -> Pace | None:
    """The pace of the newest attempt; None before there are steps. Raises StoreError, OSError."""
    metrics = list(islice(records_back(folder / METRICS), _LINES))
    attempt = metrics[0].attempt if metrics else 0
    steps = newest_steps([r for r in metrics if isinstance(r, Step) and r.attempt == attempt])
    if not steps:
        return None
    content = read_run(folder)
    events = [e for e in islice(records_back(folder / EVENTS), _EVENTS) if e.attempt == attempt]
    stretches = stretches_of(events[::-1], steps[0].at)
    samples = [r for r in metrics if isinstance(r, Telemetry) and r.attempt == attempt]
    samples = while_training(samples, steps, stretches)
    facts = facts_of(steps, samples, shares_of(stretches), content.spec, content.plan)
    return pace_of(facts)


def records_back(path: Path) -> Iterator[Record]:
    """The records of a file, the newest first."""
    for _, line in lines_back(path):
        try:
            record = decode_line(line)
        except UNREADABLE:
            continue
        if isinstance(record, Record):
            yield record


def newest_steps(steps: list[Step]) -> list[Step]:
    """Those that are looked at; given and returned the newest first."""
    if len(steps) > STEPS:
        return steps[:STEPS]
    # The attempt's beginning may be among them.
    return steps[:-_FIRST_STEPS] or steps


class Stretch(NamedTuple):
    """A time in one phase, UNIX time."""

    phase: Phase
    begin: float
    end: float


def stretches_of(events: list[Record], end: float) -> list[Stretch]:
    """An attempt's phases since training began; ``events`` in order, ``end`` of the newest step."""
    changes = [e for e in events if isinstance(e, PhaseChanged)]
    trained = list(dropwhile(lambda change: change.phase not in TRAINS, changes))
    if not trained:
        return []
    moments = [*((c.phase, c.at) for c in trained), (Phase.ENDED, max(events[-1].at, end))]
    return [Stretch(phase, a, max(a, b)) for (phase, a), (_, b) in pairwise(moments)]


def shares_of(stretches: list[Stretch]) -> dict[Phase, float]:
    """Share of the time that each phase takes."""
    spent: dict[Phase, float] = {}
    for phase, begin, end in stretches:
        spent[phase] = spent.get(phase, 0.0) + end - begin
    whole = sum(spent.values())
    return {phase: seconds / whole for phase, seconds in spent.items()} if whole else {}


def while_training(
    samples: list[Telemetry], steps: list[Step], stretches: list[Stretch]
) -> list[Telemetry]:
    """The samples that say something of these steps, the newest first."""
    begin, end = steps[-1].at - steps[-1].step_ms / 1000, steps[0].at
    pauses = [s for s in stretches if s.phase not in TRAINS and s.end >= begin]
    within = [sample for sample in samples if begin <= sample.at <= end]
    # A sample is of the second before it.
    return [x for x in within if not any(p.begin <= x.at <= p.end + 1 for p in pauses)]


def facts_of(
    steps: list[Step], samples: list[Telemetry], pauses: dict[Phase, float],
    spec: dict[str, Any], plan: dict[str, Any],
) -> Facts:  # fmt: skip
    """The facts of these steps."""
    waits = [step.wait_ms / 1000 for step in steps if step.wait_ms is not None]
    busy = [s.gpu_busy_percent / 100 for s in samples if s.gpu_busy_percent is not None]
    planned = _expected(plan)
    tokens = round(fmean(step.padded_tokens or step.tokens for step in steps))
    return Facts(
        steps=len(steps),
        step_seconds=fmean(step.step_ms for step in steps) / 1000,
        wait_seconds=fmean(waits) if waits else None,
        busy_share=fmean(busy) if busy else None,
        padding_share=_padding(steps),
        recompute_share=recompute_share(spec),
        saving_share=pauses.get(Phase.SAVING, 0.0),
        evaluating_share=pauses.get(Phase.EVALUATING, 0.0),
        planned_seconds=planned.seconds_at(tokens) if planned and planned.step_seconds else None,
        planned_parts=planned.parts if planned else {},
        has_card=any(s.vram_total_bytes is not None for s in samples)
        or any(step.vram_reserved_bytes is not None for step in steps),
        spec=spec,
    )


def _padding(steps: list[Step]) -> float | None:
    counted = [(s.tokens, s.padded_tokens) for s in steps if s.padded_tokens]
    whole = sum(padded for _, padded in counted)
    return 1 - sum(tokens for tokens, _ in counted) / whole if whole else None


def _expected(plan: dict[str, Any]) -> Expected | None:
    try:
        return msgspec.convert(plan, Expected) if plan else None
    except msgspec.ValidationError:
        return None
