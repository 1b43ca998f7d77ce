"""Changes of a spec that take less of the card and keep the result. Pure."""

from __future__ import annotations

from typing import Any

from engine.contract.spec import TrainingSpec

_BATCH, _STEPS = "training.per_device_train_batch_size", "training.gradient_accumulation_steps"


def lighter(spec: dict[str, Any]) -> dict[str, Any]:
    """A patch, dotted field to value: half the batch with twice the accumulation, which is the same
    training; without a batch to halve, checkpointing. Empty if neither is left."""
    batch, steps, keeps = _settings(spec)
    if batch > 1:
        half = batch // 2 if batch % 2 == 0 else 1
        return {_BATCH: half, _STEPS: steps * (batch // half)}
    return {"training.gradient_checkpointing": "full"} if keeps == "none" else {}


def say_lighter(spec: dict[str, Any]) -> str:
    """The same in words, to follow an "or"; empty without a patch."""
    patch, (batch, steps, _) = lighter(spec), _settings(spec)
    if not patch:
        return "lower training.max_length"
    if _BATCH not in patch:
        return "set gradient_checkpointing to full: about a quarter slower, and the same result"
    return (
        f"resume with batch {batch} → {patch[_BATCH]} and accumulation {steps} → {patch[_STEPS]}: "
        "the same training with less memory"
    )


def _settings(spec: dict[str, Any]) -> tuple[int, int, str]:
    table, usual = spec.get("training") or {}, TrainingSpec()
    return (
        int(table.get("per_device_train_batch_size", usual.per_device_train_batch_size)),
        int(table.get("gradient_accumulation_steps", usual.gradient_accumulation_steps)),
        str(table.get("gradient_checkpointing", usual.gradient_checkpointing)),
    )
