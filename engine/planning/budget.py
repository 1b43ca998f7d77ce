"""What each moment of a run takes on the card at its peak, item by item. Pure."""

from __future__ import annotations

import msgspec

from engine.contract.spec import Spec
from engine.planning import figures
from engine.planning.choices import is_cpu, point_of
from engine.planning.form import PARTS, Coefficients, Form, Moment, Peak, Point, peak, value
from engine.planning.hardware import Machine
from engine.planning.plan import Budget, Item, Verdict
from engine.planning.profiles import CUBLAS_THREADS

MOMENTS: tuple[Moment, ...] = ("train", "resume", "evaluate", "export")
WORKER_RAM_BYTES = 2 << 30
"""Python, torch and the CUDA libraries in the computer's memory: 1 to 2 GiB in practice."""
CPU_WORKER_BYTES = 600 << 20
"""Python and torch without CUDA, with all that training imports: 0.53 GiB measured."""

_WORDS = {
    "train": "training",
    "resume": "resuming",
    "evaluate": "evaluation",
    "export": "writing the result",
}
_OPTIMIZERS = {
    "adamw_torch": "AdamW",
    "adamw_torch_fused": "AdamW",
    "adamw_8bit": "AdamW 8-bit",
    "paged_adamw_8bit": "AdamW 8-bit, paged",
    "sgd": "SGD",
    "adafactor": "Adafactor",
}
_STATE_HOW = {
    "adamw_torch": "Two running means of 4 bytes for each trained weight.",
    "adamw_torch_fused": "Two running means of 4 bytes for each trained weight.",
    "adamw_8bit": "Two running means of 1 byte for each trained weight, and their scales.",
    "paged_adamw_8bit": "Two running means of 1 byte each trained weight; they may move to RAM.",
    "sgd": "Nothing is kept.",
    "adafactor": "A running mean for each row and each column of a trained matrix.",
}
_LABELS = {
    "adapter": "LoRA adapter",
    "gradients": "Gradients",
    "activations": "Activations",
    "recompute": "Layer being recomputed",
    "logits": "Logits and loss",
    "offload": "Offload buffers",
    "inputs": "Batch",
    "transient": "Casts and unpacked weights",
    "rounding": "Allocator rounding",
}
_HOW = {
    "adapter": "Adapter weights are kept in fp32, 4 bytes each.",
    "gradients": "One number in the weight's own type for each trained weight that has had its "
    "backward pass at this moment.",
    "activations": "What the layers keep for the backward pass.",
    "recompute": "Alive while one checkpointed layer is computed again and its backward pass runs.",
    "logits": "The head works in pieces; these are its pieces, the loss and what both need.",
    "offload": "Buffers through which activations travel to RAM and back.",
    "inputs": "Token ids, labels, positions and masks.",
    "transient": "Alive for a moment: weights in another type, 4-bit weights unpacked, sums.",
    "rounding": "The allocator hands out memory in blocks; this is what lies idle in "
    "them, found by replaying the step's blocks through a model of torch's allocator.",
}


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The peaks of a spec on a machine, in bytes."""

    train_bytes: int
    train_segment: str
    """The stretch of a step that the peak of training is in."""
    worst_bytes: int
    """Of all moments."""
    worst: Moment
    ram_bytes: int


def sizes(form: Form, spec: Spec, machine: Machine) -> Sizes:
    """The totals of all budgets and no items: quick enough for a search."""
    point = point_of(spec)
    fixed = context_bytes(machine) + machine.profile.workspace_bytes + reserve_bytes(machine)
    peaks = {m: peak(form, point, m) for m in moments_of(form)}
    totals = {m: found.total + fixed for m, found in peaks.items()}
    worst = max(totals, key=lambda moment: totals[moment])
    return Sizes(
        train_bytes=totals["train"],
        train_segment=peaks["train"].segment,
        worst_bytes=totals[worst],
        worst=worst,
        ram_bytes=ram_bytes(form, point),
    )


def moments_of(form: Form) -> list[Moment]:
    """The moments that were traced, training first."""
    known = {segment.moment for segment in form.segments}
    return [moment for moment in MOMENTS if moment in known]


def ram_bytes(form: Form, point: Point) -> int:
    """What the run takes of the computer's memory on top of a card."""
    return WORKER_RAM_BYTES + max(round(value(form.ram, point)), 0)


def context_bytes(machine: Machine) -> int:
    """What CUDA takes beside torch; where runs took less than planned, they took it here."""
    return max(_typical_bytes(machine) + min(machine.learnt_offset_bytes, 0), 0)


def reserve_bytes(machine: Machine) -> int:
    """What earlier runs on this card took beyond their plans."""
    return max(machine.learnt_offset_bytes, 0)


def learnt_bytes(machine: Machine) -> int:
    """What earlier runs add to a total. Not the offset itself: no more than all that CUDA takes can
    be left out."""
    return context_bytes(machine) + reserve_bytes(machine) - _typical_bytes(machine)


def _typical_bytes(machine: Machine) -> int:
    return CPU_WORKER_BYTES if is_cpu(machine) else machine.profile.context_bytes


# ---------------------------------------------------------------- verdict


def limit_bytes(machine: Machine) -> int | None:
    """What a run may fill: of the card, or of the computer where there is none."""
    return ram_limit_bytes(machine) if is_cpu(machine) else machine.available_bytes


def ram_limit_bytes(machine: Machine) -> int | None:
    """What a run may fill of the computer's memory; all of it where none can say what is free."""
    return machine.ram_bytes if machine.ram_free_bytes is None else machine.ram_free_bytes


def error_bytes(total: int, machine: Machine) -> int:
    """How far off a total may be."""
    return round(total * machine.error_share)


def verdict_of(found: Sizes, machine: Machine) -> tuple[Verdict, str]:
    """Whether it fits, and the sentence that says so."""
    limit = limit_bytes(machine)
    if limit is None:
        return "unknown", "The memory of the card is not known, so there is nothing to compare to."
    if ram := _ram_sentence(found, machine):
        return "does_not_fit", ram
    margin = limit - found.worst_bytes
    when = _WORDS[found.worst]
    if margin < 0:
        return "does_not_fit", (
            f"Does not fit: {when} needs {figures.gib(found.worst_bytes)}, "
            f"{figures.gib(-margin)} more than the {figures.gib(limit)} that a run may use."
        )
    error = error_bytes(found.worst_bytes, machine)
    if margin < error:
        return "tight", (
            f"Tight: {figures.gib(margin)} to spare at the peak of {when}, and the plan may be off "
            f"by {figures.gib(error)}."
        )
    return "fits", f"Fits with {figures.gib(margin)} to spare."


def fits(found: Sizes, machine: Machine) -> bool:
    """Whether a run would go through if the plan is right, tight or not."""
    return verdict_of(found, machine)[0] in ("fits", "tight")


def _ram_sentence(found: Sizes, machine: Machine) -> str:
    """Why the computer's memory is too small, if it is."""
    limit = ram_limit_bytes(machine)
    if is_cpu(machine) or limit is None or found.ram_bytes <= limit:
        return ""
    if not machine.is_detected:
        return ""  # Another machine's card: its memory is not this one's either.
    if found.ram_bytes <= WORKER_RAM_BYTES:
        return ""  # That little is a guess; what runs now is proof that it can.
    return (
        f"Does not fit into RAM: the run needs {figures.gib(found.ram_bytes)}, most of it "
        f"for offloaded activations, of the {figures.gib(limit)} that a run may use."
    )


# ---------------------------------------------------------------- items


def budget(form: Form, spec: Spec, machine: Machine, moment: Moment) -> Budget:
    """One moment's peak with all its items. Raises ValueError if the form has none of it."""
    found = peak(form, point_of(spec), moment)
    items = [_item(part, found, form, spec, moment) for part in PARTS if part in found.parts]
    items += _beside(machine)
    total = sum(item.size_bytes for item in items)
    return Budget(
        moment=moment,
        segment=found.segment,
        items=items,
        total_bytes=total,
        error_bytes=error_bytes(total, machine),
    )


def _item(part: str, found: Peak, form: Form, spec: Spec, moment: Moment) -> Item:
    point = point_of(spec)
    coefficients = _coefficients(part, found, form, point, moment)
    how = _how(part, form, spec)
    if coefficients:
        how += f" Traced: {formula(coefficients, point)}."
    return Item(part=part, label=_label(part, spec), size_bytes=found.parts[part], how=how.strip())


def _coefficients(
    part: str, found: Peak, form: Form, point: Point, moment: Moment
) -> Coefficients | None:
    """Of the segment that the peak is in; a stretch may have several of one name. None for what is
    no polynomial."""
    segments = [s for s in form.segments if s.moment == moment and s.name == found.segment]
    known = (s.parts[part] for s in segments if part in s.parts)
    return next((c for c in known if round(value(c, point)) == found.parts[part]), None)


def _label(part: str, spec: Spec) -> str:
    if part == "weights":
        return f"Model weights, {_weight_type(spec)}"
    if part == "trained_weights":
        return "Layers trained in full, fp32" if spec.lora else "Model weights, fp32"
    if part == "adapter" and spec.lora:
        return f"LoRA adapter, rank {spec.lora.r}"
    if part == "optimizer":
        return f"Optimizer, {_OPTIMIZERS[spec.training.optim]}"
    if part == "recompute" and not _recomputes(spec):
        return "A layer's backward pass"
    return _LABELS[part]


def _recomputes(spec: Spec) -> bool:
    return spec.training.gradient_checkpointing != "none"


def _weight_type(spec: Spec) -> str:
    return spec.training.precision if spec.bits == 16 else f"{spec.bits}-bit"


def _how(part: str, form: Form, spec: Spec) -> str:
    point = point_of(spec)
    if part == "weights":
        return _weights_how(round(value(form.parameters, point)), spec)
    if part == "trained_weights":
        weights = figures.count(value(form.trainable, point))
        copy = "a second copy of each layer of modules_to_save" if spec.lora else f"{weights}"
        return f"{copy} × 4 bytes: updates are smaller than half precision can add."
    if part == "optimizer":
        weights = figures.count(value(form.trainable, point))
        return f"{_STATE_HOW[spec.training.optim]} {weights} weights are trained."
    if part == "recompute" and not _recomputes(spec):
        return "Alive while the backward pass of one layer runs."
    return _HOW[part]


def _weights_how(parameters: int, spec: Spec) -> str:
    weights = f"{figures.count(parameters)} weights"
    if spec.bits == 16:
        size = 4 if spec.training.precision == "fp32" else 2
        return f"{weights} × {size} bytes."
    if spec.bits == 8:
        return f"{weights}: linear layers × 1 byte + a scale a row, all others × 2 bytes."
    double = spec.quantization and spec.quantization.bnb_4bit_use_double_quant
    scale = "1 byte + a second scale" if double else "4 bytes"
    return (
        f"{weights}: linear layers × 0.5 byte + scales ({scale} for each 64 weights), "
        "embeddings, head and norms × 2 bytes."
    )


def formula(coefficients: Coefficients, point: Point) -> str:
    """The polynomial in words: ``3.90 GiB + 8 KiB × 4 096 tokens``."""
    terms = [
        _term(c, factor, first=not index)
        for index, (c, factor) in enumerate(zip(coefficients, _factors(point), strict=False))
        if c and (point.rank or not factor.startswith("rank"))
    ]
    return " ".join([terms[0].removeprefix("+ "), *terms[1:]]) if terms else "0 bytes"


def _factors(point: Point) -> tuple[str, ...]:
    """The monomials of a point in words, in their order."""
    tokens = f"{figures.count(point.batch * point.length)} tokens"
    length, rank = figures.count(point.length), f"rank {point.rank}"
    tile = f"{figures.count(point.monomials()[-1])} positions of a tile"
    return (
        "",
        f"batch {point.batch}",
        tokens,
        f"{tokens} × {length}",
        rank,
        f"{rank} × {tokens}",
        f"length {length}",
        f"length {length} × {length}",
        tile,
    )


def _term(coefficient: float, factor: str, *, first: bool) -> str:
    sign = "-" if coefficient < 0 else "+"
    size = figures.gib(abs(coefficient), 2) if first else figures.small(abs(coefficient))
    return f"{sign} {size}" + (f" × {factor}" if factor else "")


def _beside(machine: Machine) -> list[Item]:
    """What is not tensors."""
    label = "Python and torch" if is_cpu(machine) else "CUDA and kernels"
    items = [
        Item(
            part="context",
            label=label,
            size_bytes=context_bytes(machine),
            how=_context_how(machine),
        ),
        *_workspace(machine),
    ]
    if reserve_bytes(machine):
        how = "Earlier runs on this card and driver took this much more than planned (median)."
        size = reserve_bytes(machine)
        items.append(Item(part="reserve", label="Learnt on this card", size_bytes=size, how=how))
    return items


def _context_how(machine: Machine) -> str:
    if is_cpu(machine):
        return "The interpreter with its libraries, before the first tensor; measured."
    card = machine.profile
    text = (
        f"{figures.gib(card.context_bytes, 2)} that CUDA takes before the first tensor, typical "
        "of this card."
    )
    if machine.learnt_offset_bytes < 0:
        less = figures.gib(-machine.learnt_offset_bytes)
        text += f" Less {less} that earlier runs here did not need."
    return text


def _workspace(machine: Machine) -> list[Item]:
    size = machine.profile.workspace_bytes
    if not size:
        return []
    how = (
        f"{CUBLAS_THREADS} × {figures.small(size / CUBLAS_THREADS)}: the threads of the forward "
        "and of the backward pass each keep scratch for matrix products. torch's allocator has it."
    )
    return [Item(part="workspace", label="Scratch of cuBLAS", size_bytes=size, how=how)]
