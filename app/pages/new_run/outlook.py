"""What will come of a spec: only what follows from it and from what is known, in short lines. Pure.

Memory and time are not foretold here. A number that cannot be known before the data is tokenised is
said to be unknown, with the reason.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import UNSET

from app.form_words import choice
from app.words import NONE, count, counted, rate, size
from engine.contract.spec import Spec
from engine.formats import split_sizes


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A fact: its name on the left, its value on the right."""

    name: str
    value: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that Fettle chose, and why."""

    title: str
    reason: str


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run will be."""

    headline: str
    explanation: str


def steps(spec: Spec, row_count: int | None) -> Steps:
    """How many optimizer steps there will be, as far as that can be said."""
    training = spec.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    if training.max_steps > 0:
        return Steps(
            headline=counted(training.max_steps, "step"),
            explanation=f"As max steps says. {_batch_words(spec)}",
        )
    if row_count is None or training.packing or spec.method == "pretrain":
        return Steps(
            headline=f"{_epochs(training.num_train_epochs)}",
            explanation=f"{_batch_words(spec)} How many steps that is shows once the text is cut "
            "into tokens.",
        )
    rows, _ = split_sizes(row_count, spec.dataset.eval_fraction)
    total = math.ceil(math.ceil(rows / batch) * training.num_train_epochs)
    return Steps(
        headline=f"about {counted(total, 'step')}",
        explanation=f"{_epochs(training.num_train_epochs).capitalize()} of "
        f"{counted(rows, 'row')}. {_batch_words(spec)}",
    )


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


def lines(spec: Spec, row_count: int | None, option_facts: str) -> list[Line]:
    """The facts of the run."""
    found = [Line(name="Model", value=spec.model.path.rstrip("/\\").replace("\\", "/"))]
    found[0] = Line(name="Model", value=found[0].value.rpartition("/")[2])
    if option_facts:
        found.append(Line(name="Size", value=option_facts.partition(" · ")[0]))
    found.append(Line(name="Trains", value=_trains(spec)))
    if spec.lora is not UNSET:
        found.append(Line(name="Base weights", value=_base(spec)))
    if row_count is not None:
        rows, held = split_sizes(row_count, spec.dataset.eval_fraction)
        found.append(Line(name="Rows to learn from", value=count(rows)))
        found.append(Line(name="Rows held back", value=count(held) if held else "none"))
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


def choices(spec: Spec, facts: dict[str, Any]) -> list[Choice]:
    """What is chosen for the person, and why."""
    found = []
    if spec.training.precision == "auto":
        found.append(_precision(facts))
    if spec.training.gradient_checkpointing == "full":
        found.append(
            Choice(
                title="Activations are computed again",
                reason="Much less memory, about a quarter slower. Checkpointing: None turns it "
                "off.",
            )
        )
    if spec.training.save_minutes:
        found.append(
            Choice(
                title=f"Saves every {spec.training.save_minutes:g} minutes",
                reason="That is the most a power cut or a crash can cost. Each save is verified.",
            )
        )
    if facts.get("is_wsl") and spec.hardware.safe_mode == "auto":
        found.append(
            Choice(
                title="Safe mode is on",
                reason="Under WSL pinned memory is known to fail, so Fettle pins none.",
            )
        )
    if not spec.model.trust_remote_code:
        found.append(
            Choice(
                title="The model's own code does not run",
                reason="Only weights and settings are read from its folder.",
            )
        )
    return found


def _precision(facts: dict[str, Any]) -> Choice:
    gpu = first_gpu(facts)
    if not facts:
        return Choice(
            title="Precision is chosen by the card",
            reason="bf16 where the card has it, fp16 on older ones, fp32 without a GPU.",
        )
    if gpu is None:
        return Choice(title="Computes in fp32", reason="No GPU was found on this machine.")
    name = str(gpu.get("name") or "the card")
    if has_bf16(gpu):
        return Choice(title="Computes in bf16", reason=f"{name} has it; no loss scaling needed.")
    return Choice(title="Computes in fp16", reason=f"{name} has no bf16.")


def first_gpu(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The first card of the engine's machine."""
    gpus = facts.get("gpus") or []
    return gpus[0] if gpus and isinstance(gpus[0], dict) else None


def has_bf16(gpu: dict[str, Any]) -> bool:
    """Whether a card computes in bf16: from compute capability 8.0 on."""
    capability = gpu.get("compute_capability") or (0, 0)
    return int(capability[0]) >= 8


def machine_line(facts: dict[str, Any]) -> str:
    """The engine's machine in a few words."""
    if not facts:
        return ""
    gpu = first_gpu(facts)
    if gpu is None:
        return "for this machine: no GPU"
    parts = [str(gpu.get("name") or NONE), size(gpu.get("vram_total_bytes"))]
    parts += ["WSL"] if facts.get("is_wsl") else []
    return "for this card: " + ", ".join(part for part in parts if part != NONE)


def where(facts: dict[str, Any]) -> str:
    """Where the result goes, and the room there."""
    if not facts.get("store"):
        return ""
    free = facts.get("store_free_bytes")
    room = f" {size(free)} are free there." if free else ""
    return f"The run gets a folder of its own in {facts['store']}.{room}"
