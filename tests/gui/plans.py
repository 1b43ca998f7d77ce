"""Hand-made plans, as the planner would give them."""

from __future__ import annotations

from typing import Any

from engine.planning.plan import Budget, Choice, Item, Plan, Rung, Timing

GIB = 1 << 30


def gib(number: float) -> int:
    return round(number * GIB)


PARTS = (
    ("weights", "Model weights, 4-bit", 3.90, "7.2 B weights of 4 bits and their scales."),
    ("adapter", "LoRA adapter", 0.16, "42 M weights of 4 bytes."),
    ("optimizer", "Optimizer, 8-bit", 0.08, "2 bytes a trained weight."),
    ("activations", "Activations", 2.30, "Traced: saved for the backward pass."),
    ("logits", "Logits and loss", 1.20, "Traced: batch 2 × 2 048 tokens × 32 768 words."),
    ("context", "CUDA and kernels", 0.86, "Typical of this card."),
    ("inputs", "Inputs", 0.01, "Token numbers."),
    ("rounding", "Rounding", 0.01, "What the allocator holds beyond what was asked for."),
)


def rung(title: str, saves: float, speed: float, **more: Any) -> Rung:
    base = {
        "patch": {"training.per_device_train_batch_size": 3},
        "total_bytes": gib(8.5 - saves), "effect": "", "keeps_result": True, "fits": True,
    }  # fmt: skip
    return Rung(title=title, saves_bytes=gib(saves), speed=speed, **(base | more))


LADDER = [
    rung("Batch 2 → 3", -1.4, 1.18),
    rung(
        "Batch 2 → 1, accumulation 4 → 8",
        1.6,
        0.88,
        patch={
            "training.per_device_train_batch_size": 1,
            "training.gradient_accumulation_steps": 8,
        },
    ),
    rung(
        "Max length 2 048 → 3 072", -1.7, 0.97, keeps_result=False,
        patch={"training.max_length": 3072}, effect="Cuts 0.3 % of the rows instead of 2.4 %.",
    ),
    rung(
        "Train lm_head and embeddings", -4.2, 0.8, keeps_result=False, fits=False,
        patch={"lora.modules_to_save": ["embed_tokens", "lm_head"]},
    ),
]  # fmt: skip


def budget(scale: float = 1.0, moment: Any = "train") -> Budget:
    items = [
        Item(part=p, label=name, size_bytes=gib(size * scale), how=how)
        for p, name, size, how in PARTS
    ]
    total = sum(item.size_bytes for item in items)
    return Budget(
        moment=moment, segment="backward", items=items, total_bytes=total, error_bytes=gib(0.3)
    )


def plan(scale: float = 1.0, **more: Any) -> Plan:
    """A plan of a 7B model on an 11 GiB card; ``scale`` multiplies what it takes."""
    margin = 10.2 - sum(part[2] for part in PARTS) * scale
    fits = margin >= 0
    base: dict[str, Any] = {
        "machine": "RTX 2080 Ti, WSL",
        "verdict": "fits" if fits else "does_not_fit",
        "sentence": f"Fits with {margin:.1f} GiB to spare"
        if fits
        else f"Does not fit: {-margin:.1f} GiB too much",
        "card_bytes": gib(11.0),
        "available_bytes": gib(10.2),
        "budgets": [budget(scale), budget(scale, "resume"), budget(scale / 2, "evaluate")],
        "ram_bytes": gib(3.1),
        "pinned_bytes": 0,
        "trainable_parameters": 42_000_000,
        "total_parameters": 7_241_732_096,
        "adapter_file_bytes": 84_000_000,
        "checkpoint_bytes": 250_000_000,
        "timing": Timing(
            step_seconds=12.1, tokens_per_second=1350.0, total_seconds=10200, bound_by="compute"
        ),
        "choices": [
            Choice(
                field="training.precision", value="fp16", cost="Losses are scaled.",
                reason="The RTX 2080 Ti has compute capability 7.5; bf16 is there from 8.0 on.",
            ),
            Choice(
                field="model.attn_implementation", value="sdpa", reason="It is in torch itself."
            ),
            Choice(
                field="offload", value="unpinned, blocking",
                reason="WSL lets this machine pin 210 MiB.", cost="About 4 % slower.",
            ),
        ],
        "ladder": LADDER,
        "advice": [
            "Training both embeddings would cost 4.2 GiB and make the file 2.1 GiB.",
            "Resuming needs no more memory than the first start.",
        ],
    }  # fmt: skip
    return Plan(**(base | more))
