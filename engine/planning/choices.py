"""What ``auto`` comes to on a machine, each with its reason and its cost. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract import patching
from engine.contract.spec import Spec
from engine.planning import figures
from engine.planning.form import DeviceKind, Point, Precision
from engine.planning.hardware import Machine
from engine.planning.plan import Choice
from engine.planning.safe_mode import OffloadWay, SafeMode, choose, situation_of

BF16_CAPABILITY = (8, 0)
FLASH_CAPABILITY = (8, 0)

_OPTIMIZERS = {
    "adamw_torch": "8 bytes a trained weight.",
    "adamw_torch_fused": "8 bytes a trained weight.",
    "adamw_8bit": "2 bytes a trained weight; its memory is rounded to 8 bits.",
    "paged_adamw_8bit": "2 bytes a trained weight, in RAM if need be.",
    "sgd": "No memory of its own; needs a learning rate of another size.",
    "adafactor": "A few bytes a row and column; another rule than AdamW.",
}


def patched(spec: Spec, patch: dict[str, Any]) -> Spec:
    """The spec with dotted fields set; None removes one. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(patching.patched(msgspec.to_builtins(spec), [patch]), Spec)


def point_of(spec: Spec) -> Point:
    """The sizes of the spec's longest batch."""
    return Point(
        batch=spec.training.per_device_train_batch_size,
        length=spec.training.max_length,
        rank=spec.lora.r if spec.lora else 0,
        accumulates=spec.training.gradient_accumulation_steps > 1,
    )


def device_of(machine: Machine) -> DeviceKind:
    """What the worker computes on there."""
    return "cpu" if is_cpu(machine) else "cuda"


def is_cpu(machine: Machine) -> bool:
    """Whether it has no card to compute on."""
    return machine.profile.compute_capability is None


def precision_of(spec: Spec, machine: Machine) -> tuple[Precision, Choice]:
    """The number format of the computation, as the worker takes it."""
    wanted = spec.training.precision
    found, reason = _cpu_precision(wanted) if is_cpu(machine) else _card_precision(wanted, machine)
    return found, Choice(
        field="training.precision", value=found, reason=reason, cost=_precision_cost(found, wanted)
    )


def _cpu_precision(wanted: str) -> tuple[Precision, str]:
    if wanted == "bf16":
        return "bf16", "As asked."
    if wanted == "fp16":
        return "fp32", "fp16 is refused: processors do not compute in it."
    return "fp32", "There is no GPU; without one fp32 is the quickest that is exact."


def _card_precision(wanted: str, machine: Machine) -> tuple[Precision, str]:
    card = machine.profile
    capability = card.compute_capability or (0, 0)
    has_bf16 = card.has_bf16 and capability >= BF16_CAPABILITY
    number = ".".join(map(str, capability))
    lacks = f"has compute capability {number}; bf16 is in hardware from 8.0 on"
    if wanted == "bf16" and not has_bf16:
        return "fp16", f"bf16 is refused: the {card.name} {lacks}, and emulated it crawls."
    if wanted == "auto" and has_bf16:
        return "bf16", f"The {card.name} has bf16 in hardware: half the memory, range of fp32."
    if wanted == "auto":
        return "fp16", f"The {card.name} {lacks}."
    return ("bf16" if wanted == "bf16" else "fp16" if wanted == "fp16" else "fp32"), "As asked."


def _precision_cost(found: Precision, wanted: str) -> str:
    if found == "fp16":
        return "Losses are scaled so that small gradients survive; a step may be left out."
    return "Twice the memory of half precision." if found == "fp32" and wanted == "fp32" else ""


def attention_of(spec: Spec, machine: Machine) -> Choice:
    """How attention is computed."""
    wanted = spec.model.attn_implementation
    field = "model.attn_implementation"
    capability = machine.profile.compute_capability
    if wanted == "flash_attention_2" and (capability is None or capability < FLASH_CAPABILITY):
        card = machine.profile.name
        reason = (
            f"flash_attention_2 is refused: it needs compute capability 8.0; the {card} has less."
        )
        return Choice(field=field, value="sdpa", reason=reason, cost="Slower on long samples.")
    if wanted != "auto":
        cost = "Keeps a table of length × length a head." if wanted == "eager" else ""
        return Choice(field=field, value=wanted, reason="As asked.", cost=cost)
    return Choice(
        field=field,
        value="sdpa",
        reason="It is in torch itself, needs no build and takes the quickest kernel there is. "
        "The few models that cannot use it compute attention step by step.",
        cost="Gemma 2 and others that attend with a mask need one for packed rows; it grows with "
        "the square of the length."
        if spec.packs_rows
        else "",
    )


def safety_of(spec: Spec, machine: Machine) -> SafeMode:
    """The safe mode that the run takes there."""
    return choose(spec.hardware.safe_mode, situation_of(machine))


def settle(spec: Spec, machine: Machine) -> tuple[Spec, list[Choice]]:
    """The spec with everything that was ``auto`` settled for the machine, and why."""
    precision, first = precision_of(spec, machine)
    attention, optimizer = attention_of(spec, machine), optimizer_of(spec, machine)
    patch = {
        "training.precision": precision,
        "model.attn_implementation": attention.value,
        "training.optim": optimizer.value,
    }
    if spec.quantization and spec.bits == 4:
        wanted = spec.quantization.bnb_4bit_compute_dtype
        patch["quantization.bnb_4bit_compute_dtype"] = precision if wanted == "auto" else wanted
    return patched(spec, patch), [first, attention, optimizer, _checkpointing(spec)]


def optimizer_of(spec: Spec, machine: Machine) -> Choice:
    """The optimizer: as asked, but not paged where that fails."""
    wanted = spec.training.optim
    line = next(
        (ln for ln in safety_of(spec, machine).lines if ln.action == "paged_optimizers"), None
    )
    if wanted == "paged_adamw_8bit" and line:
        found = "adamw_8bit"
        reason = f"{line.title} {line.reason}"
        return Choice(field="training.optim", value=found, reason=reason, cost=line.cost)
    return Choice(
        field="training.optim", value=wanted, reason="As asked.", cost=_OPTIMIZERS[wanted]
    )


def _checkpointing(spec: Spec) -> Choice:
    costs = {
        "none": "All activations stay on the card until the backward pass.",
        "full": "Each layer is computed a second time: about a third more work.",
        "offload": "As full, and each layer's input travels to RAM and back.",
    }
    wanted = spec.training.gradient_checkpointing
    return Choice(
        field="training.gradient_checkpointing", value=wanted, reason="As asked.",
        cost=costs[wanted],
    )  # fmt: skip


def way_of(spec: Spec, machine: Machine) -> OffloadWay | None:
    """How activations would travel to RAM; None where nothing does."""
    if spec.training.gradient_checkpointing != "offload" or is_cpu(machine):
        return None
    return safety_of(spec, machine).offload


def pinned_bytes(spec: Spec, machine: Machine, ram_bytes: int) -> int:
    """What of the computer's memory the run pins for ``ram_bytes`` of activations."""
    way = way_of(spec, machine)
    if way == "ring":
        return safety_of(spec, machine).ring_bytes
    return ram_bytes if way == "pinned" else 0


def offload_choice(spec: Spec, machine: Machine, ram_bytes: int) -> Choice | None:
    """The way that offloaded activations take, and why; None where nothing is offloaded."""
    way = way_of(spec, machine)
    if way is None:
        return None
    size = figures.gib(ram_bytes)
    line = next((ln for ln in safety_of(spec, machine).lines if ln.action == "offload"), None)
    value = {
        "pinned": f"pinned, {size}",
        "ring": f"{size} through a pinned ring of "
        f"{figures.gib(pinned_bytes(spec, machine, ram_bytes))}",
        "blocking": f"{size}, unpinned, blocking",
    }[way]
    reason = "Copies from pinned memory run beside the computation."
    return Choice(
        field="offload",
        value=value,
        reason=line.reason if line else reason,
        cost=line.cost if line else "",
    )


def safety_choices(spec: Spec, machine: Machine) -> list[Choice]:
    """What else safe mode leaves out there, a choice a line."""
    told = ("offload", "paged_optimizers", "fp16", "flash_attention")
    lines = [ln for ln in safety_of(spec, machine).lines if ln.action not in told]
    return [
        Choice(field=f"safe_mode.{ln.action}", value=ln.title, reason=ln.reason, cost=ln.cost)
        for ln in lines
    ]
