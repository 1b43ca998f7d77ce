"""What a patch does to the result of a run: the one table that plans, problems, the numeric guard
and whatever goes on by itself judge by. Pure.

A field that is not in the table makes another result: a new one has to be thought of here first.
So does ``model.trust_remote_code``, since nobody may be given foreign code without being asked.
"""

from __future__ import annotations

from typing import Any, Literal

from engine.contract.patching import Patch
from engine.contract.spec import LoraSpec, TrainingSpec

Effect = Literal["same", "near", "other"]
"""``same`` is the same mathematics; ``near`` differs in rounding, or in what chance leaves out, and
is as good; ``other`` is another run."""

SAME = frozenset(
    {
        "name",
        "hardware.profile",
        "hardware.safe_mode",
        "training.gradient_checkpointing",
        "training.save_minutes",
        "training.save_steps",
        "training.save_total_limit",
        "training.eval_steps",
    }
)
NEAR = frozenset({"hardware.gpu", "model.attn_implementation"})
BATCH = "training.per_device_train_batch_size"
ACCUMULATION = "training.gradient_accumulation_steps"
"""These two keep the result together, where their product stays."""
OPTIM = "training.optim"
"""Near within one rule, other from one rule to another, for a run that begins with it: a save is
only taken up by an optimizer that remembers the same."""
_SAME_MEMORY = (
    frozenset({"adamw_torch", "adamw_torch_fused"}), frozenset({"adamw_8bit", "paged_adamw_8bit"})
)  # fmt: skip
_ADAMW = frozenset({"adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"})
_DROPOUT = "lora.lora_dropout"

_SENTENCES: dict[Effect, str] = {
    "same": "The result stays the same.",
    "near": "The result is as good, though not the same number for number.",
    "other": "That changes the result.",
}
_OTHER_DRAWS = (
    "The steps and their data stay the same; lora_dropout leaves out other inputs than before, so "
    "the result is as good, though not the same number for number."
)

_OTHER_MEMORY = (
    "The result is as good, though not the same number for number. A save made before cannot be "
    "taken up with it: the run would have to begin again."
)


def effect_of(patch: Patch, spec: dict[str, Any] | None = None) -> Effect:
    """The greatest effect of the patch's fields on a run of the raw ``spec``, as far as it is
    known."""
    found = {_effect(field, value, patch, spec or {}) for field, value in patch.items()}
    if "other" in found:
        return "other"
    return "near" if "near" in found or _draws_anew(patch, spec or {}) else "same"


def changes_result(patch: Patch, spec: dict[str, Any] | None = None) -> bool:
    """Whether a run with the patch gives another result than it would have given, so that people
    are asked first."""
    return effect_of(patch, spec) == "other"


def sentence_of(patch: Patch, spec: dict[str, Any] | None = None) -> str:
    """The effect in words; empty for no patch."""
    if not patch:
        return ""
    effect = effect_of(patch, spec)
    if effect == "near" and _draws_anew(patch, spec or {}):
        return _OTHER_DRAWS
    if effect == "near" and _forgets(patch, spec or {}):
        return _OTHER_MEMORY
    return _SENTENCES[effect]


def _effect(field: str, value: Any, patch: Patch, spec: dict[str, Any]) -> Effect:
    if field in SAME:
        return "same"
    if field in NEAR:
        return "near"
    if field == OPTIM:
        return "near" if {value, _value(spec, OPTIM, value)} <= _ADAMW else "other"
    if field in (BATCH, ACCUMULATION):
        return "same" if _keeps_effective_batch(patch, spec) else "other"
    return "other"


def _keeps_effective_batch(patch: Patch, spec: dict[str, Any]) -> bool:
    """Where the spec is not known, both of them are there to make up for each other."""
    if not spec:
        return BATCH in patch and ACCUMULATION in patch
    before = [_value(spec, BATCH), _value(spec, ACCUMULATION)]
    after = [patch.get(BATCH, before[0]), patch.get(ACCUMULATION, before[1])]
    return bool(before[0] * before[1] == after[0] * after[1])


def _draws_anew(patch: Patch, spec: dict[str, Any]) -> bool:
    """Dropout draws for a whole micro-batch at once, so that another size draws otherwise."""
    if BATCH not in patch or patch[BATCH] == _value(spec, BATCH):
        return False
    return bool(_value(spec, _DROPOUT))


def _forgets(patch: Patch, spec: dict[str, Any]) -> bool:
    """Whether the optimizer afterwards cannot take up what the one before remembered."""
    if OPTIM not in patch:
        return False
    both = {patch[OPTIM], _value(spec, OPTIM, patch[OPTIM])}
    return len(both) > 1 and not any(both <= same for same in _SAME_MEMORY)


_USUAL: dict[str, Any] = {
    BATCH: TrainingSpec().per_device_train_batch_size,
    ACCUMULATION: TrainingSpec().gradient_accumulation_steps,
    OPTIM: TrainingSpec().optim,
    _DROPOUT: LoraSpec().lora_dropout,
}


def _value(spec: dict[str, Any], field: str, unknown: Any = None) -> Any:
    """Of a raw spec; without any spec ``unknown``."""
    if not spec:
        return unknown
    table, _, name = field.partition(".")
    found = spec.get(table)
    return found.get(name, _USUAL[field]) if isinstance(found, dict) else _USUAL[field]
