"""How long a step takes, estimated from a card's published rates. Pure.

Matrix products run at a share of the card's rate; what only moves memory (norms, activations,
unpacking 4-bit weights) comes on top at a share of its bandwidth, since one stream runs them in
turn. Below a size the launches of so many small kernels are what takes the time. A processor runs
what it has launched itself, so that on it they come on top of the work. What earlier runs here took
beside their estimates is a factor on all of it.
"""

from __future__ import annotations

import msgspec

from engine.contract.spec import Spec
from engine.planning.choices import is_cpu, point_of, way_of
from engine.planning.form import Form, Point, value
from engine.planning.hardware import Machine, Profile
from engine.planning.plan import Timing
from engine.planning.safe_mode import OffloadWay

COMPUTE_SHARE = 0.65
"""Of the tensor rate that large matrix products reach; published LoRA runs: 0.5 to 0.82."""
TRAFFIC_SHARE = 0.75
"""Of the bandwidth that elementwise kernels reach."""
LAUNCH_SECONDS = 6e-6
"""Python and the driver, for one operation."""
CPU_LAUNCH_SECONDS = 10e-6
"""On a processor: Python and torch, with what autograd keeps; measured on Llamas of 2 to 16 layers
with one thread, see resources/hardware/README.md."""
CORE_BYTES_PER_SECOND = 7e9
"""Of what only moves memory on one core, which has fresh memory for each result; measured there."""
LAYER_LAUNCHES = {"none": 640, "full": 906, "offload": 950}
"""Operations of one layer in a step of PEFT's LoRA, by checkpointing; counted on Llama-3-8B."""
COPY_BYTES_PER_SECOND: dict[OffloadWay, float] = {"pinned": 25e9, "ring": 10e9, "blocking": 9.6e9}
"""Between card and RAM: PCIe 4.0 × 16 from pinned memory; a ring is filled by the processor."""
_UPDATE_BYTES = {
    "adamw_torch": 28, "adamw_torch_fused": 28, "adamw_8bit": 16, "paged_adamw_8bit": 16,
    "sgd": 12, "adafactor": 20,
}  # fmt: skip
"""Read and written by the optimizer for each trained weight in fp32, gradient included."""


def timing(form: Form, spec: Spec, machine: Machine, steps: int | None = None) -> Timing:
    """The estimate; ``steps`` are those of the whole run."""
    point, card = point_of(spec), machine.profile
    way = way_of(spec, machine)
    accumulation = spec.training.gradient_accumulation_steps
    parts = _micro_batch(form, spec, point, card, way)
    hidden = 0.0 if is_cpu(machine) else min(parts["kernel launches"], _work(parts))
    update = value(form.trainable, point) * _UPDATE_BYTES[spec.training.optim]
    added = _added(parts, hidden, way)
    if not added["kernel launches"]:
        del parts["kernel launches"]
    learnt = machine.time
    micro_batches = accumulation * learnt.ratio
    shares = {name: micro_batches * seconds for name, seconds in added.items() if seconds > 0}
    shares["optimizer"] = learnt.ratio * update / _traffic_rate(card)
    step = sum(shares.values())
    known = steps if steps is not None else max(spec.training.max_steps, 0) or None
    tokens = point.batch * point.length * accumulation
    return Timing(
        step_seconds=step,
        step_tokens=tokens,
        tokens_per_second=tokens / step,
        total_seconds=step * known if known else None,
        bound_by=max(parts, key=lambda name: parts[name]),
        parts=shares,
        hidden_seconds=micro_batches * hidden,
        fixed_seconds=micro_batches * _of_weights(form, point) / _traffic_rate(card),
        learnt=learnt,
    )


def _work(parts: dict[str, float]) -> float:
    """What launches can be hidden behind, on a card."""
    return parts.get("compute", 0.0) + parts.get("memory traffic", 0.0)


def _added(parts: dict[str, float], hidden: float, way: OffloadWay | None) -> dict[str, float]:
    """What each part adds to a micro-batch: launches and copies as far as nothing hides them."""
    launches, copies = parts["kernel launches"] - hidden, parts["offload copies"]
    busy = _work(parts) + launches
    return {
        **parts,
        "kernel launches": launches,
        "offload copies": copies if way == "blocking" else max(copies - busy, 0.0),
    }


def _of_weights(form: Form, point: Point) -> float:
    """Bytes that a micro-batch moves however few tokens it has."""
    without = msgspec.structs.replace(point, batch=0, length=0)
    return max(value(form.saved_bytes_moved, without), 0.0)


def _traffic_rate(card: Profile) -> float:
    """Bytes a second of what only moves memory."""
    shared = card.bandwidth_bytes_per_second * TRAFFIC_SHARE
    return min(shared, card.cores * CORE_BYTES_PER_SECOND) if card.cores else shared


def _micro_batch(
    form: Form, spec: Spec, point: Point, card: Profile, way: OffloadWay | None
) -> dict[str, float]:
    """Seconds of one micro-batch by what they go into."""
    half = spec.training.precision in ("bf16", "fp16")
    rate = card.half_flops if half else card.single_flops
    flops = value(form.forward_flops, point) + value(form.backward_flops, point)
    moved = value(form.saved_bytes_moved, point)
    copied = 2 * value(form.ram, point) if way else 0.0
    launches = form.layers * LAYER_LAUNCHES[spec.training.gradient_checkpointing]
    each = CPU_LAUNCH_SECONDS if card.memory_bytes is None else LAUNCH_SECONDS
    return {
        "compute": max(flops, 1.0) / (rate * COMPUTE_SHARE),
        "memory traffic": max(moved, 0.0) / _traffic_rate(card),
        "kernel launches": launches * each,
        "offload copies": copied / COPY_BYTES_PER_SECOND[way or "pinned"],
    }
