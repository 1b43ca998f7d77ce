"""Which settings bear on the result of a run that goes on with other ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from engine.contract.messages import CertificateLine, Matters
from engine.diagnosis.certificate.facts import Facts

MICRO = "training.per_device_train_batch_size"
ACCUMULATION = "training.gradient_accumulation_steps"
SEED = "training.seed"
SHAPES_DATA = ("method", "training.max_length")
"""Settings that decide which samples there are, beside those of the dataset; so does the seed, by
what is held back."""
TOLD_ELSEWHERE = (MICRO, ACCUMULATION, SEED)
"""They have lines of their own."""


_MEANT_BEFORE = {
    "dataset.chat_template": "auto", "dataset.loss_on": "answers", "dataset.fixes": [],
}  # fmt: skip
"""What a save means that is older than the setting."""


class Bearing(NamedTuple):
    """What another value of a setting means."""

    matters: Matters
    sentence: str


_HARMLESS = "It says nothing of what is computed."
_SAVES = Bearing("no", "It only decides when to save, measure and keep.")
_RECOMPUTES = Bearing(
    "no", "What is kept and what is computed again decides on memory and time, not on numbers."
)
_ORDINARY = Bearing("yes", "It holds from the next step on, and the result is another.")
_BEARINGS: dict[str, Bearing] = {
    "name": Bearing("no", _HARMLESS),
    "training.save_minutes": _SAVES,
    "training.save_steps": _SAVES,
    "training.save_total_limit": _SAVES,
    "training.eval_steps": _SAVES,
    "training.gradient_checkpointing": _RECOMPUTES,
    "hardware.safe_mode": _RECOMPUTES,
    "hardware.profile": Bearing("no", _HARMLESS),
    "hardware.gpu": Bearing("no", "Which card it is stands under Device."),
    "model.trust_remote_code": Bearing("no", _HARMLESS),
    "training.precision": Bearing("no", "What it comes to stands under Device."),
    "model.attn_implementation": Bearing(
        "last_digits", "Attention is the same formula, summed in another order."
    ),
    "training.learning_rate": Bearing(
        "yes", "Steps from here on are of another size, so the result is another."
    ),
    "model.path": Bearing(
        "yes", "Another base model under trained weights gives another model."
    ),
    "quantization.bits": Bearing(
        "yes", "The frozen weights are rounded otherwise than those that were trained with."
    ),
}  # fmt: skip
_SHAPES_WEIGHTS = (
    "lora.r", "lora.target_modules", "lora.modules_to_save", "lora.use_dora",
    "lora.trainable_tokens", "model.path", "model.revision",
)  # fmt: skip
_OTHER_WEIGHTS = Bearing("yes", "Other weights are trained, or of other sizes, than were saved.")
_SAME_WEIGHTS = Bearing("no", "The replayed loss is equal, so its weights are the same.")
_SAME_ROWS = Bearing("no", "The rows and tokens that come of it are the same.")
_OTHER_MEMORY = Bearing(
    "yes", "The save holds what another optimizer remembers, and this one cannot take that up."
)
_OPTIMIZERS: dict[frozenset[str], Bearing] = {
    frozenset({"adamw_8bit", "paged_adamw_8bit"}): Bearing(
        "no", "Its memory lies elsewhere and holds the same."
    ),
    frozenset({"adamw_torch", "adamw_torch_fused"}): Bearing(
        "last_digits", "The same rule, rounded in other places."
    ),
}


def shapes_data(field: str) -> bool:
    """Whether a setting decides which samples there are."""
    return field in SHAPES_DATA or field.startswith("dataset.")


def shapes_weights(field: str) -> bool:
    """Whether a setting decides which weights are trained, and of which sizes."""
    return field in _SHAPES_WEIGHTS


def differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Dotted fields whose values differ; a table that is not there differs by each field."""
    fields = dict.fromkeys([*before, *now])
    return [field for field in fields if _value(before, field) != _value(now, field)]


def _value(settings: dict[str, Any], field: str) -> Any:
    return settings.get(field, _MEANT_BEFORE.get(field))


def setting_lines(before: Facts, now: Facts, *, is_replay_equal: bool) -> Iterator[CertificateLine]:
    """A line for each setting that differs, and has none of its own elsewhere."""
    if before.settings is None or now.settings is None:
        return
    same_data = has_same_data(before, now)
    for field in differing(before.settings, now.settings):
        if field in TOLD_ELSEWHERE:
            continue
        old, new = before.settings.get(field), now.settings.get(field)
        bearing = bearing_of(field, old, new, same_data=same_data, is_replay_equal=is_replay_equal)
        yield CertificateLine(
            subject=field, title=field.removeprefix("training."), standing="differs",
            matters=bearing.matters, before=shown(old), now=shown(new), sentence=bearing.sentence,
        )  # fmt: skip


def has_same_data(before: Facts, now: Facts) -> bool:
    """Whether the samples are known to be those of the save."""
    both = before.data is not None and now.data is not None
    return both and before.data.digest == now.data.digest  # type: ignore[union-attr]


def bearing_of(
    field: str, old: Any, new: Any, *, same_data: bool = False, is_replay_equal: bool = False
) -> Bearing:
    """What it means that a setting has another value. ``same_data``: the samples that come of it
    are known to be the same; ``is_replay_equal``: so is what the model computes."""
    if shapes_data(field) and same_data:
        return _SAME_ROWS
    if field in ("model.path", "model.revision") and is_replay_equal:
        return _SAME_WEIGHTS
    if field == "training.optim":
        return _OPTIMIZERS.get(frozenset({str(old), str(new)}), _OTHER_MEMORY)
    if shapes_weights(field) and field not in _BEARINGS:
        return _OTHER_WEIGHTS
    return _BEARINGS.get(field, _ORDINARY)


def shown(value: Any) -> str:
    """A value of a setting as people write it: ``0.0002``, ``sdpa``, ``none``."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode().strip('"')
