"""Forms made by hand, of a Llama of 8 billion weights: enough for plans, no trace needed."""

from __future__ import annotations

from engine.contract.spec import (
    DatasetSpec,
    LoraSpec,
    ModelSpec,
    QuantizationSpec,
    Spec,
    TrainingSpec,
)
from engine.planning.form import Coefficients, Form, Segment
from engine.planning.hardware import Machine, PlatformKind, find

HIDDEN, LAYERS, VOCABULARY, LINEAR = 4096, 32, 128_256, 6_979_321_856
EMBEDDING = VOCABULARY * HIDDEN
WEIGHTS = LINEAR + 2 * EMBEDDING + (2 * LAYERS + 1) * HIDDEN
ADAPTER = 2_621_440
"""Adapter weights for each of the rank."""
STATES = {"adamw_torch": 8.0, "adamw_torch_fused": 8.0, "adamw_8bit": 2.03, "sgd": 0.0,
          "adafactor": 0.1, "paged_adamw_8bit": 0.0}  # fmt: skip


def spec_of(**training: object) -> Spec:
    """QLoRA of an 8B model with these settings of ``training``."""
    return Spec(
        name="plan",
        model=ModelSpec(path="meta-llama/Llama-3.1-8B"),
        quantization=QuantizationSpec(),
        lora=LoraSpec(),
        dataset=DatasetSpec(path="not-there.jsonl"),
        training=TrainingSpec(**training),  # type: ignore[arg-type]
    )


def machine(
    profile: str = "rtx-3090", platform: PlatformKind = "linux", **facts: object
) -> Machine:
    """A machine with a bundled card of which all but 400 MiB is free."""
    card = find(profile)
    assert card is not None
    available = card.memory_bytes - (400 << 20) if card.memory_bytes else None
    values: dict[str, object] = {
        "name": card.name, "profile": card, "platform": platform, "is_detected": False,
        "available_bytes": available, "ram_bytes": 64 << 30,
    }  # fmt: skip
    return Machine(**{**values, **facts})  # type: ignore[arg-type]


def form_of(spec: Spec) -> Form:
    """The form of a settled or unsettled spec of that model."""
    full = not spec.lora
    saved = list(spec.lora.modules_to_save) if spec.lora else []
    trained = float(WEIGHTS if full else EMBEDDING * len(saved))
    rank = 0.0 if full else float(ADAPTER)
    half = 4.0 if spec.training.precision == "fp32" else 2.0
    linear = {4: 0.52, 8: 1.0, 16: half}[spec.bits] * LINEAR
    frozen = 0.0 if full else linear + (WEIGHTS - LINEAR) * half
    state = STATES[spec.training.optim]
    kept = {"none": 229 * 1024.0, "full": HIDDEN * half, "offload": 0.0}
    tokens = kept[spec.training.gradient_checkpointing] * LAYERS
    steady: dict[str, Coefficients] = {
        "weights": (frozen, 0, 0, 0, 0, 0),
        "trained_weights": (trained * 4, 0, 0, 0, 0, 0),
        "adapter": (0, 0, 0, 0, rank * 4, 0),
        "optimizer": (trained * state, 0, 0, 0, rank * state, 0),
    }
    gradients: Coefficients = (trained * 4, 0, 0, 0, rank * 4, 0)
    backward: dict[str, Coefficients] = {
        **steady,
        "gradients": gradients,
        "activations": (0, 0, tokens, 0, 0, 8.0),
        "recompute": (0, 0, 229 * 1024.0 if tokens < 1e7 else 0.0, 0, 0, 0),
        "logits": (64e6, 0, 24.0 * HIDDEN, 0, 0, 0),
        "inputs": (0, 0, 16.0, 0, 0, 0),
    }
    flops = 2.0 * WEIGHTS
    again = spec.training.gradient_checkpointing != "none"
    return Form(
        layers=LAYERS,
        parameters=(WEIGHTS, 0, 0, 0, 0, 0),
        trainable=(trained, 0, 0, 0, rank, 0),
        adapter_file=(trained * 4, 0, 0, 0, rank * 4, 0),
        segments=[
            Segment(name="backward", moment="train", parts=backward),
            Segment(name="optimizer", moment="train", parts={**steady, "gradients": gradients}),
            Segment(name="load", moment="resume", parts=steady),
            Segment(
                name="evaluate",
                moment="evaluate",
                parts={**steady, "logits": (64e6, 0, 12.0 * HIDDEN, 0, 0, 0)},
            ),
        ],
        ram=(0, 0, HIDDEN * half * LAYERS, 0, 0, 0)
        if spec.training.gradient_checkpointing == "offload"
        else (0, 0, 0, 0, 0, 0),
        forward_flops=(0, 0, flops, 0, 0, 0),
        backward_flops=(0, 0, flops * (2 if again else 1), 0, 0, 0),
        saved_bytes_moved=(frozen * 3, 0, 40.0 * HIDDEN * LAYERS, 0, 0, 0),
    )
