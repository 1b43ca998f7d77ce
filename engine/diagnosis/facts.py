"""What problems can speak of besides texts: the facts of :mod:`engine.planning.conflict_facts`, and
what is known of the run's end. What is not known is not in the table. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from engine.contract.messages import Step, Telemetry
from engine.contract.spec import Spec
from engine.contract.spec_rules import EMBEDDING_MODULES
from engine.contract.validate import check
from engine.diagnosis.evidence import Evidence
from engine.planning import conflict_facts, rungs
from engine.planning.conflict_facts import Known
from engine.planning.conflict_machine import machine_facts

Table = dict[str, Any]

_GIB = 2**30
_RECENT = 10
"""Steps and samples that count as now."""
_LEAST_BEFORE = 10
"""Steps that it takes to know the usual one."""


def facts_of(evidence: Evidence) -> Table:
    """All that is known, by name."""
    spec, _ = check(evidence.spec)
    table = _planning_facts(evidence, spec)
    table |= _end_facts(evidence)
    table |= _memory_facts(evidence, table)
    table |= _pace_facts(evidence)
    table |= _fix_facts(spec) if spec else {}
    return {name: value for name, value in table.items() if value is not None}


def _planning_facts(evidence: Evidence, spec: Spec | None) -> Table:
    machine, config = evidence.machine, evidence.config
    if spec is not None:
        return conflict_facts.facts_of(spec, machine, config, None, Known())
    packages = machine.packages if machine else {}
    return {**machine_facts(machine, 0), **conflict_facts.package_facts(packages, {}, machine)}


def _end_facts(evidence: Evidence) -> Table:
    return {
        "end.how": evidence.how,
        "end.code": evidence.exit_code if evidence.signal is None else None,
        "end.signal": evidence.signal,
        "end.oom_kills": evidence.oom_kills,
        "error.code": evidence.error_code or None,
        "run.phase": evidence.phase.replace(" ", "_") or None,
        "run.step": evidence.step,
        "run.is_resumed": evidence.is_resumed,
        "run.has_stepped": bool(evidence.steps),
        "run.has_save": None if evidence.saved_step is None else evidence.saved_step > 0,
        "run.saved_step": evidence.saved_step,
    }


# ---------------------------------------------------------------- memory


def _memory_facts(evidence: Evidence, table: Table) -> Table:
    share = _card_share(evidence.telemetry)
    ram = max((t.ram_used_bytes or 0 for t in evidence.telemetry), default=0)
    total_gib = table.get("machine.ram_gib")
    peak = evidence.plan.get("peak_bytes")
    peak_gib = peak / _GIB if isinstance(peak, int) and peak else None
    card_gib = table.get("gpu.memory_gib")
    return {
        "memory.card_share": share,
        "memory.card_percent": None if share is None else round(100 * share),
        "memory.ram_gib": ram / _GIB if ram else None,
        "memory.ram_share": ram / _GIB / total_gib if ram and total_gib else None,
        "plan.peak_gib": peak_gib,
        "plan.share": peak_gib / card_gib if peak_gib and card_gib else None,
    }


def _card_share(samples: tuple[Telemetry, ...]) -> float | None:
    """How full the card was in the end: the most of the last samples, since one may come late."""
    shares = [
        sample.vram_used_bytes / sample.vram_total_bytes
        for sample in samples[-_RECENT:]
        if sample.vram_used_bytes is not None and sample.vram_total_bytes
    ]
    return max(shares, default=None)


# ---------------------------------------------------------------- pace and loss


def _pace_facts(evidence: Evidence) -> Table:
    last = evidence.steps[-1] if evidence.steps else None
    recent = evidence.telemetry[-_RECENT:]
    return {
        "loss.is_number": None if last is None else last.loss is not None,
        "speed.slowdown": _slowdown(evidence.steps),
        "card.busy_percent": _mean([t.gpu_busy_percent for t in recent]),
        "worker.cpu_percent": _mean([t.cpu_percent for t in recent]),
    }


def _slowdown(steps: tuple[Step, ...]) -> float | None:
    """How many times as long as before the last steps took."""
    before, now = steps[:-_RECENT], steps[-_RECENT:]
    if len(before) < _LEAST_BEFORE:
        return None
    usual = statistics.median(step.step_ms for step in before)
    return statistics.median(step.step_ms for step in now) / usual if usual > 0 else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


# ---------------------------------------------------------------- what could be changed


def _fix_facts(spec: Spec) -> Table:
    """New values of settings, for patches."""
    training = spec.training
    batch = next(rungs.batches(spec), None)
    stronger = next(rungs.stronger_checkpointing(spec), None)
    smaller = next(rungs.smaller_optimizer(spec), None)
    patch = batch.patch if batch else {}
    half = training.max_length // 2 // rungs.STEP * rungs.STEP
    saved = spec.lora.modules_to_save if spec.lora else []
    others = [name for name in saved if name.rpartition(".")[2] not in EMBEDDING_MODULES]
    return {
        "fix.batch": patch.get("training.per_device_train_batch_size"),
        "fix.accumulation": patch.get("training.gradient_accumulation_steps"),
        "fix.checkpointing": stronger.patch["training.gradient_checkpointing"]
        if stronger
        else None,
        "fix.optim": smaller.patch["training.optim"] if smaller else None,
        "fix.half_length": half or None,
        "fix.saved_without_embeddings": others,
        "run.trains_embeddings": len(others) < len(saved),
    }


_NAMES = """
end.how end.code end.signal end.oom_kills error.code run.phase run.step run.is_resumed
run.has_stepped
run.has_save run.saved_step run.trains_embeddings
memory.card_share memory.card_percent memory.ram_gib memory.ram_share
plan.peak_gib plan.share loss.is_number speed.slowdown card.busy_percent worker.cpu_percent
fix.batch fix.accumulation fix.checkpointing fix.optim fix.half_length fix.saved_without_embeddings
crash.library
"""


def names() -> Iterator[str]:
    """All facts there are besides those that conflicts know."""
    yield from _NAMES.split()


_KNOWN = frozenset(names())


def is_fact(name: str) -> bool:
    """Whether a problem may speak of it; groups of its patterns (``match.``) apart."""
    return name in _KNOWN or conflict_facts.is_fact(name)
