"""What training changes in a model's config: set for TRL before the trainer is built, and put back
before the model is saved."""

from __future__ import annotations

from typing import Any

_CHANGED = ("num_experts", "output_router_logits", "router_aux_loss_coef", "use_cache")


class OwnSettings:
    """The model's own settings, as they were when this was made."""

    def __init__(self, config: Any) -> None:
        # Of a model that is more than text, the text's part has settings of its own.
        parts = {id(part): part for part in (config, config.get_text_config())}
        self._before = [
            (part, {name: vars(part)[name] for name in _CHANGED if name in vars(part)})
            for part in parts.values()
        ]

    def put_back(self) -> None:
        """Change the config back."""
        for part, before in self._before:
            for name in _CHANGED:
                vars(part).pop(name, None)
            vars(part).update(before)


def name_experts(config: Any) -> None:
    """Let TRL's head find the number of experts, which it looks for as ``num_experts``; where there
    are none, there is nothing to balance.

    WORKAROUND(https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/utils.py): of some
    families the config has only ``num_local_experts``; and models without experts, such as small
    ones of Granite 4, have a coefficient as well.
    """
    text = config.get_text_config()
    count = getattr(text, "num_experts", getattr(text, "num_local_experts", None))
    if count is None:
        return
    if not hasattr(text, "num_experts"):
        text.num_experts = count
    if not count and hasattr(text, "router_aux_loss_coef"):
        text.router_aux_loss_coef = 0.0
