"""What a spec says of itself, in short lines, beside what is foretold of it. Pure.

A number that cannot be known before the data is tokenised is said to be unknown, with the reason.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import UNSET

from app.form_words import choice
from app.mixture import Rows
from app.words import NONE, count, counted, rate, size
from engine.contract.spec import Spec
from engine.formats import split_sizes
from engine.planning.plan import Choice


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A fact: its name on the left, its value on the right."""

    name: str
    value: str
    how: str = ""
    """Where it comes from; empty if that is plain."""


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run will be."""

    headline: str
    explanation: str


def steps(spec: Spec, row_count: int | None, about: str = "") -> Steps:
    """How many optimizer steps there will be, as far as that can be said."""
    training = spec.training
    if training.max_steps > 0:
        return Steps(
            headline=counted(training.max_steps, "step"),
            explanation=f"As max steps says. {_batch_words(spec)}",
        )
    total = total_steps(spec, row_count)
    if total is None or row_count is None:
        return Steps(
            headline=f"{_epochs(training.num_train_epochs)}",
            explanation=f"{_batch_words(spec)} How many steps that is shows once the text is cut "
            "into tokens.",
        )
    rows, _ = split_sizes(row_count, spec.dataset.eval_fraction)
    return Steps(
        headline=f"about {counted(total, 'step')}",
        explanation=f"{_epochs(training.num_train_epochs).capitalize()} of "
        f"{about}{counted(rows, 'row')}. {_batch_words(spec)}",
    )


def total_steps(spec: Spec, row_count: int | None) -> int | None:
    """Optimizer steps of the whole run; None where that is not known before tokenising."""
    training = spec.training
    if training.max_steps > 0:
        return training.max_steps
    if row_count is None or training.packing or spec.method == "pretrain":
        return None
    rows, _ = split_sizes(row_count, spec.dataset.eval_fraction)
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return math.ceil(math.ceil(rows / batch) * training.num_train_epochs)


def _batch_words(spec: Spec) -> str:
    batch = spec.training.per_device_train_batch_size
    accumulation = spec.training.gradient_accumulation_steps
    return (
        f"The weights change after every {counted(batch * accumulation, 'sample')} "
        f"({count(batch)} × {count(accumulation)})."
    )


def _epochs(number: float) -> str:
    shown = count(number) if number == round(number) else f"{number:g}"
    return f"{shown} epoch" + ("" if number == 1 else "s")


def lines(spec: Spec, rows: Rows, option_facts: str) -> list[Line]:
    """The facts of the run; "about" stands before numbers of rows that are estimated."""
    about = "" if rows.is_counted else "about "
    length = steps(spec, rows.learnt, about)
    found = [Line(name="Length", value=length.headline, how=length.explanation)]
    name = spec.model.path.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    found.append(Line(name="Model", value=name))
    if option_facts:
        found.append(Line(name="Size", value=option_facts.partition(" · ")[0]))
    found.append(Line(name="Trains", value=_trains(spec)))
    if spec.lora is not UNSET:
        found.append(Line(name="Base weights", value=_base(spec)))
    if rows.learnt is not None and rows.own is not None:
        learnt, _ = split_sizes(rows.learnt, spec.dataset.eval_fraction)
        _, held = split_sizes(rows.own, spec.dataset.eval_fraction)  # Never repeated.
        found.append(Line(name="Rows to learn from", value=f"{about}{count(learnt)}"))
        found.append(Line(name="Rows held back", value=f"{about}{count(held)}" if held else "none"))
    found.append(Line(name="Longest sample", value=f"{count(spec.training.max_length)} tokens"))
    found.append(Line(name="Learning rate", value=_rate(spec)))
    found.append(Line(name="Saves", value=_saves(spec)))
    return found


def _trains(spec: Spec) -> str:
    if spec.lora is UNSET:
        return "all weights"
    kind = "DoRA" if spec.lora.use_dora else "LoRA"
    extra = len(spec.lora.modules_to_save)
    also = f" + {counted(extra, 'layer')} in full" if extra else ""
    return f"{kind} adapter, rank {count(spec.lora.r)}{also}"


def _base(spec: Spec) -> str:
    if spec.bits == 16 or spec.quantization is UNSET:
        return "as they are"
    if spec.bits == 8:
        return "8-bit"
    return f"4-bit {spec.quantization.bnb_4bit_quant_type.upper()}"


def _rate(spec: Spec) -> str:
    schedule = choice("training.lr_scheduler_type", spec.training.lr_scheduler_type).lower()
    return f"{rate(spec.training.learning_rate)}, {schedule}"


def _saves(spec: Spec) -> str:
    training = spec.training
    when = [f"every {training.save_minutes:g} min"] if training.save_minutes else []
    when += [f"every {counted(training.save_steps, 'step')}"] if training.save_steps else []
    return " and ".join(when) + f", {training.save_total_limit} kept" if when else "at the end"


def habits(spec: Spec) -> list[Choice]:
    """What Fettle does whatever the machine, and why."""
    found = []
    if spec.training.save_minutes:
        found.append(
            Choice(
                field="Saves",
                value=f"every {spec.training.save_minutes:g} min",
                reason="That is the most a power cut or a crash can cost. Each save is verified.",
            )
        )
    if not spec.model.trust_remote_code:
        found.append(
            Choice(
                field="The model's own code",
                value="does not run",
                reason="Only weights and settings are read from its folder.",
            )
        )
    return found


def where(facts: dict[str, Any]) -> list[Line]:
    """Where the result goes, and the room there."""
    if not facts.get("store"):
        return []
    free = size(facts.get("store_free_bytes"))
    how = f"The run gets a folder of its own in {facts['store']}."
    return [Line(name="Room for results", value=free if free == NONE else f"{free} free", how=how)]
