"""From a spec, its traced form and a machine to a plan with its reasons. Pure, a few milliseconds.

:func:`engine.planning.choices.settle` gives the spec that is to be traced.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.planning import budget, choices, figures
from engine.planning.choices import is_cpu, point_of, settle
from engine.planning.embedding_words import advice
from engine.planning.form import Form, peak, value
from engine.planning.hardware import Machine
from engine.planning.ladder import Forms, file_bytes_of, ladder
from engine.planning.learnt import Expected
from engine.planning.plan import Budget, Choice, Plan
from engine.planning.roofline import timing

_PAGED_STATE_BYTES = 2.03
"""Of a paged 8-bit optimizer for each trained weight: it is on the card only when it is needed."""


def make_plan(
    spec: Spec,
    form: Form,
    machine: Machine,
    *,
    steps: int | None = None,
    forms: Forms | None = None,
    config: dict[str, Any] | None = None,
    traced: bool = True,
) -> Plan:
    """The plan. ``form`` is that of the settled spec, ``forms`` gives those of other specs for the
    ladder, ``steps`` are those of the whole run; with the model's ``config`` there is advice on its
    embeddings, and the file's size is exact. Raises ValueError if the form has no training."""
    settled, chosen = settle(spec, machine)
    point = point_of(settled)
    found = budget.sizes(form, settled, machine)
    verdict, sentence = budget.verdict_of(found, machine)
    budgets = [budget.budget(form, settled, machine, m) for m in budget.moments_of(form)]
    ram = max(round(value(form.ram, point)), 0)
    if offload := choices.offload_choice(settled, machine, ram):
        chosen.append(offload)
    return Plan(
        machine=machine.name,
        verdict=verdict,
        sentence=sentence,
        card_bytes=machine.profile.memory_bytes,
        available_bytes=budget.limit_bytes(machine),
        budgets=budgets,
        ram_bytes=budgets[0].total_bytes if is_cpu(machine) else found.ram_bytes,
        pinned_bytes=choices.pinned_bytes(settled, machine, ram),
        trainable_parameters=round(value(form.trainable, point)),
        total_parameters=round(value(form.parameters, point)),
        adapter_file_bytes=file_bytes_of(settled, form, config),
        checkpoint_bytes=_checkpoint_bytes(form, settled),
        timing=timing(form, settled, machine, steps),
        choices=[*chosen, *_elsewhere(settled, machine)],
        ladder=ladder(settled, form, machine, forms, config),
        advice=[*_notes(budgets, machine), *(advice(settled, config) if config else [])],
        spec=to_raw(settled),
        traced=traced,
    )


def _checkpoint_bytes(form: Form, spec: Spec) -> int:
    """Trained weights in fp32 and the optimizer's memory, as a checkpoint keeps them."""
    point = point_of(spec)
    trained = value(form.trainable, point)
    states = peak(form, point).parts.get("optimizer", 0)
    if spec.training.optim == "paged_adamw_8bit":
        states = round(_PAGED_STATE_BYTES * trained)
    return round(4 * trained) + states


def _elsewhere(spec: Spec, machine: Machine) -> list[Choice]:
    """Choices that no field of the spec stands for."""
    safety = choices.safety_choices(spec, machine)
    loader = Choice(
        field="loader",
        value="no extra processes, nothing pinned",
        reason="Samples are tokenised beforehand and lie in memory, so there is nothing to "
        "prepare during a step.",
    )
    plain = [] if any(c.field == "safe_mode.loader_workers" for c in safety) else [loader]
    return [*plain, *_cards(machine), *safety]


def _cards(machine: Machine) -> list[Choice]:
    number = machine.profile.card_count
    if number < 2:
        return []
    return [
        Choice(
            field="cards",
            value=f"1 of {number}",
            reason="Data parallel training is one process a card, each with the whole model and a "
            "batch of its own: the memory is that of one card, not their sum.",
            cost=f"The effective batch of {number} processes is {number} times this one's.",
        )
    ]


def _notes(budgets: list[Budget], machine: Machine) -> list[str]:
    """What is worth a sentence beside the verdict."""
    notes = []
    train = budgets[0].total_bytes
    resume = next((b.total_bytes for b in budgets if b.moment == "resume"), None)
    if resume is not None and resume > train:
        more = figures.gib(resume - train)
        notes.append(f"Resuming needs {more} more than training for a moment.")
    elif resume is not None:
        notes.append("Resuming needs no more memory than the first start.")
    if machine.profile.card_count > 1:
        notes.append("Figures are for each card: every one holds the whole model.")
    return notes


def expectation(plan: Plan, machine: Machine) -> dict[str, Any]:
    """What of the plan goes into a run's folder, so that the run can teach; empty where the plan
    was not made for the card that the run gets. A processor is only taught how long steps take."""
    if not machine.is_detected:
        return {}
    peak = plan.budgets[0].total_bytes - budget.learnt_bytes(machine)
    expected = Expected(
        card=machine.processor or machine.profile.name,
        driver=machine.driver or "",
        torch=machine.packages.get("torch", ""),
        peak_bytes=0 if is_cpu(machine) else peak,
        context_bytes=machine.profile.context_bytes,
        step_seconds=plan.timing.step_seconds if plan.timing else 0.0,
        parts=plan.timing.parts if plan.timing else {},
        step_tokens=plan.timing.step_tokens if plan.timing else 0,
        hidden_seconds=plan.timing.hidden_seconds if plan.timing else 0.0,
        fixed_seconds=plan.timing.fixed_seconds if plan.timing else 0.0,
        time_ratio=machine.time.ratio,
    )
    raw: dict[str, Any] = msgspec.to_builtins(expected)
    return raw
