"""Changes to a spec that save memory or spend it, before anybody has worked out how much. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.contract.effects import changes_result, effect_of, sentence_of
from engine.contract.spec import Spec
from engine.contract.spec_rules import EMBEDDING_MODULES
from engine.planning.figures import count

_CHECKPOINTING = ("none", "full", "offload")
_SLOW_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
_LEAST_RANK, _MOST_RANK = 4, 256
STEP = 64
"""Lengths are offered in multiples of it: kernels run best so."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could be done to a spec."""

    title: str
    patch: dict[str, Any]
    effect: str = ""
    """On the result; empty where the mathematics stay the same."""

    @property
    def keeps_result(self) -> bool:
        """Whether it counts as the same result, see :mod:`engine.contract.effects`."""
        return not changes_result(self.patch)


def joined(first: Change, second: Change) -> Change:
    """Both changes as one."""
    return Change(
        title=f"{first.title}, {second.title[:1].lower()}{second.title[1:]}",
        patch={**first.patch, **second.patch},
        effect=f"{first.effect} {second.effect}".strip(),
    )


# ---------------------------------------------------------------- what keeps the result


def batches(spec: Spec) -> Iterator[Change]:
    """Smaller micro-batches with the same effective batch, largest first."""
    batch = spec.training.per_device_train_batch_size
    for smaller in range(batch // 2, 0, -1):
        if batch % smaller == 0:
            yield _batch(spec, smaller)


def larger_batch(spec: Spec) -> Iterator[Change]:
    """The next larger micro-batch with the same effective batch."""
    training = spec.training
    batch, accumulation = training.per_device_train_batch_size, training.gradient_accumulation_steps
    effective = batch * accumulation
    larger = (b for b in range(batch + 1, min(effective, 4 * batch) + 1) if effective % b == 0)
    for found in larger:
        yield _batch(spec, found)
        return


def _batch(spec: Spec, batch: int) -> Change:
    training = spec.training
    old, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    accumulation = old * steps // batch
    patch = {
        "training.per_device_train_batch_size": batch,
        "training.gradient_accumulation_steps": accumulation,
    }
    raw: dict[str, Any] = msgspec.to_builtins(spec)
    return Change(
        title=f"Batch {old} → {batch}, accumulation {steps} → {accumulation}",
        patch=patch,
        effect="" if effect_of(patch, raw) == "same" else sentence_of(patch, raw),
    )


def stronger_checkpointing(spec: Spec) -> Iterator[Change]:
    """What keeps fewer activations on the card."""
    now = spec.training.gradient_checkpointing
    titles = {"full": f"Checkpointing {now} → full", "offload": "Offload activations to RAM"}
    for stronger in _CHECKPOINTING[_CHECKPOINTING.index(now) + 1 :]:
        yield _checkpointing(titles[stronger], stronger)


def weaker_checkpointing(spec: Spec) -> Iterator[Change]:
    """What keeps more activations on the card, and computes or copies less."""
    now = spec.training.gradient_checkpointing
    if now == "offload":
        yield _checkpointing("Keep checkpoints on the card", "full")
    elif now == "full":
        yield _checkpointing("Checkpointing full → none", "none")


def _checkpointing(title: str, value: str) -> Change:
    return Change(title=title, patch={"training.gradient_checkpointing": value})


def fused_optimizer(spec: Spec) -> Iterator[Change]:
    """AdamW in one kernel, which keeps nothing meanwhile."""
    if spec.training.optim == "adamw_torch":
        yield Change(
            title="Optimizer AdamW → AdamW, fused",
            patch={"training.optim": "adamw_torch_fused"},
            effect="The step of plain AdamW takes another 4 bytes for each trained weight for a "
            "moment; fused it takes none.",
        )


def smaller_optimizer(spec: Spec) -> Iterator[Change]:
    """AdamW in 8 bits."""
    if spec.training.optim in _SLOW_OPTIMIZERS:
        yield Change(
            title="Optimizer AdamW → AdamW 8-bit",
            patch={"training.optim": "adamw_8bit"},
            effect="The optimizer's memory is rounded to 8 bits: results as good in practice, "
            "but not number for number.",
        )


# ---------------------------------------------------------------- what changes it


def shorter(spec: Spec, length: int) -> Change:
    """Samples cut at another length."""
    old = spec.training.max_length
    effect = "Longer samples are cut there." if length < old else "Fewer samples are cut."
    return Change(
        title=f"Max length {count(old)} → {count(length)}",
        patch={"training.max_length": length},
        effect=effect,
    )


def longer(spec: Spec, context: int | None = None) -> Iterator[Change]:
    """Half as long again, as far as the model was made for it."""
    length = spec.training.max_length * 3 // 2 // STEP * STEP
    length = min(length, context or length)
    if length > spec.training.max_length:
        yield shorter(spec, length)


def rank(spec: Spec, *, up: bool) -> Iterator[Change]:
    """Twice the rank, or half of it, at the same strength."""
    if not spec.lora:
        return
    old = spec.lora.r
    new = old * 2 if up else old // 2
    if not _LEAST_RANK <= new <= _MOST_RANK:
        return
    effect = "The adapter can learn more." if up else "The adapter can learn less."
    patch = {"lora.r": new, "lora.lora_alpha": spec.lora.lora_alpha * new / old}
    yield Change(title=f"Rank {old} → {new}", patch=patch, effect=effect)


def fewer_modules(spec: Spec) -> Iterator[Change]:
    """Embeddings left as they are, one by one."""
    saved = list(spec.lora.modules_to_save) if spec.lora else []
    trained = [name for name in EMBEDDING_MODULES if name in saved]
    if len(trained) == 2:
        head = _modules(
            "Train lm_head only",
            [name for name in saved if name != "embed_tokens"],
            "The output layer learns, the input embeddings stay; enough for most new text.",
        )
        yield head
        # The states of embed_tokens stay in 32 bits even then; those of lm_head do not.
        yield from (joined(head, smaller) for smaller in smaller_optimizer(spec))
    if trained:
        left = [name for name in saved if name not in trained]
        none = {"training.embedding_learning_rate": None}
        yield _modules(
            f"Leave {' and '.join(trained)} as {'they are' if len(trained) > 1 else 'it is'}",
            left,
            "New tokens and a new language are learnt less well.",
            none,
        )


def more_modules(spec: Spec) -> Iterator[Change]:
    """Both embeddings trained."""
    saved = list(spec.lora.modules_to_save) if spec.lora else []
    if spec.lora and not set(saved) & set(EMBEDDING_MODULES):
        yield _modules(
            "Train lm_head and embeddings",
            [*saved, *EMBEDDING_MODULES],
            "New tokens or another language can be learnt.",
        )


def _modules(
    title: str, modules: list[str], effect: str, also: dict[str, Any] | None = None
) -> Change:
    patch = {"lora.modules_to_save": modules, **(also or {})}
    return Change(title=title, patch=patch, effect=effect)


def fewer_bits(spec: Spec) -> Iterator[Change]:
    """Frozen weights in 4 bits."""
    if spec.lora and spec.bits != 4:
        yield Change(
            title=f"Weights {spec.bits}-bit → 4-bit",
            patch={"quantization.bits": 4},
            effect="Frozen weights are rounded to 4 bits (QLoRA): usually as good.",
        )


def adapter_instead(spec: Spec) -> Iterator[Change]:
    """LoRA where all weights were to be trained, plain and in 4 bits."""
    if spec.lora:
        return
    patch: dict[str, Any] = {"lora.r": 16}
    if spec.training.learning_rate < 1e-4:
        patch["training.learning_rate"] = 2e-4
    effect = "A small adapter learns instead of all weights, at a learning rate that suits it."
    first = Change(title="Train an adapter (LoRA)", patch=patch, effect=effect)
    yield first
    yield Change(
        title="Train an adapter on 4-bit weights (QLoRA)",
        patch={**patch, "quantization.bits": 4},
        effect=effect,
    )


def adafactor(spec: Spec) -> Iterator[Change]:
    """The optimizer with the least memory, where much is trained."""
    much = not spec.lora or set(spec.lora.modules_to_save) & set(EMBEDDING_MODULES)
    if much and spec.training.optim != "adafactor":
        yield Change(
            title="Optimizer → Adafactor",
            patch={"training.optim": "adafactor"},
            effect="Another rule than AdamW: close to it, but another result.",
        )
