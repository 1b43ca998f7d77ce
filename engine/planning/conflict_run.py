"""What follows from a spec together with config, card and data, for conflict rules. Pure."""

from __future__ import annotations

import math
from typing import Any

from engine.contract.spec import Spec
from engine.planning import adapter
from engine.planning.layer_names import layer_facts
from engine.planning.model_facts import is_sound, linear_names

Table = dict[str, Any]

_GIB = 2**30
_MOMENT_BYTES = {"adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "sgd": 0.0, "adafactor": 0.1}
"""Of optimizer state in a checkpoint for each trained number; 8 for those not named."""
_LEARNERS_OF_BNB = ("adamw_8bit", "paged_adamw_8bit")


def run_facts(spec: Spec, table: Table, config: dict[str, Any] | None, rows: int | None) -> Table:
    """As ``run.<name>``; ``table`` has what is known of card and spec; ``rows`` of the dataset."""
    training = spec.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    learnt = None
    # What pretrain learns from are pieces of text, whose number is only known once it is tokenised.
    if rows is not None and spec.method != "pretrain":
        learnt = max(math.floor(rows * (1 - spec.dataset.eval_fraction)), 1)
    return {
        "run.method": spec.method,
        "run.bits": spec.bits,
        "run.kind": "lora" if spec.lora else "full",
        "run.precision": _precision(spec, table),
        "run.attention": _attention(spec),
        "run.needs_bitsandbytes": spec.bits != 16 or training.optim in _LEARNERS_OF_BNB,
        "run.effective_batch": batch,
        "run.rows": learnt,
        **_steps(spec, batch, learnt),
        **_adapter_facts(spec, table, config),
        **_checkpoint_facts(spec, config),
    }


def _precision(spec: Spec, table: Table) -> str | None:
    """What the worker computes in; None if the card is not known."""
    wanted = spec.training.precision
    if wanted != "auto":
        return wanted
    if table.get("gpu.is_there") is False:
        return "fp32"
    capability = table.get("gpu.capability")
    return None if capability is None else "bf16" if capability >= (8, 0) else "fp16"


def _attention(spec: Spec) -> str:
    wanted = spec.model.attn_implementation
    return "sdpa" if wanted == "auto" else wanted


def _steps(spec: Spec, batch: int, rows: int | None) -> Table:
    """Steps and passes over the data, as far as the rows are known."""
    training = spec.training
    an_epoch = None if rows is None else math.ceil(rows / batch)
    limited = training.max_steps if training.max_steps > 0 else None
    steps = limited
    if steps is None and an_epoch is not None and not training.packing:
        steps = max(1, math.ceil(training.num_train_epochs * an_epoch))
    passes = None if limited else training.num_train_epochs
    if limited and an_epoch is not None and not training.packing:
        passes = limited / an_epoch
    return {
        "run.steps": steps,
        "run.passes": passes,
        "run.fitting_batch": None if rows is None else min(rows, _batch(spec)),
        "run.fitting_accumulation": None if rows is None else max(rows // _batch(spec), 1),
    }


def _batch(spec: Spec) -> int:
    return spec.training.per_device_train_batch_size


def _adapter_facts(spec: Spec, table: Table, config: dict[str, Any] | None) -> Table:
    lora = spec.lora
    rate = spec.training.learning_rate
    found: Table = {
        "run.tenth_of_rate": float(f"{rate / 10:.3g}"),
        "run.embedding_rate": spec.training.embedding_learning_rate or 0.0,
    }
    if not lora:
        return found
    targets = lora.target_modules if isinstance(lora.target_modules, list) else []
    kept = [name for name in targets if _last(name) != "lm_head"]
    layers = [name for name in targets if _last(name) != "embed_tokens"]
    linear = linear_names(config) if config else None
    saved = [name for name in lora.modules_to_save if linear and _last(name) in linear]
    scale = lora.lora_alpha / (math.sqrt(lora.r) if lora.use_rslora else lora.r)
    return found | {
        **layer_facts(lora, config),
        "run.adapter_scale": scale,
        "run.twice_rank": 2.0 * lora.r,
        "run.targets": [_last(name) for name in targets],
        "run.named_targets": lora.target_modules,
        "run.saved": [_last(name) for name in lora.modules_to_save],
        "run.targets_without_head": kept or "all-linear",
        "run.targets_without_embeddings": layers or "all-linear",
        "run.saved_with_head": [*lora.modules_to_save, "lm_head"],
        "run.saved_with_embeddings": sorted({*lora.modules_to_save, "embed_tokens", "lm_head"}),
        "run.saved_linear": saved if linear else None,
        "run.saved_linear_count": len(saved) if linear else None,
        "run.saved_without_linear": [n for n in lora.modules_to_save if n not in saved],
        "run.model_layers": sorted(linear) if linear else None,
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _checkpoint_facts(spec: Spec, config: dict[str, Any] | None) -> Table:
    if not config or not is_sound(config):
        return {}
    try:
        forecast = adapter.forecast(config, spec.lora or None)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return {}  # a config that lacks a size, or has it as a text
    if forecast is None:
        return {}
    each = 4 + _MOMENT_BYTES.get(spec.training.optim, 8.0)
    size = forecast.trainable * each / _GIB
    saves = size * (spec.training.save_total_limit + 1)
    return {"run.checkpoint_gib": size, "run.saves_gib": saves}
