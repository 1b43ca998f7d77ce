"""The layers that an adapter's lists name, beside those that the model has. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from engine.contract.messages import Complaint
from engine.contract.spec import LoraSpec
from engine.planning import adapter
from engine.planning.adapter import ALL_LINEAR
from engine.planning.architecture import Module
from engine.planning.model_facts import every_module

_ALIKE = 0.55
_SHOWN = 8
"""Names that a hint lists where none is alike."""


def layer_facts(lora: LoraSpec, config: dict[str, Any] | None) -> dict[str, Any]:
    """As ``run.<name>``; empty where the model's layers are not known."""
    modules = every_module(config) if config else []
    if not modules:
        return {}
    plain = [module for module in modules if module.kind != "norm"]
    layers = _last_parts(module.name for module in plain)
    pattern = _pattern_hint(lora, layers)
    parts = sorted({part for m in modules for part in m.name.split(".") if not part.isdigit()})
    return {
        **_facts("targets", _targets(lora), layers, lambda name: _is_target(name, plain)),
        **_facts("saved", lora.modules_to_save, parts, lambda name: _is_saved(name, modules)),
        **({"run.targets_hint": pattern} if pattern else {}),
        "run.matching_targets": _matching(lora, plain),
    }


def no_layer(lora: LoraSpec, config: dict[str, Any] | None) -> Complaint | None:
    """What is wrong with ``target_modules`` if it names no layer of the model at all."""
    found = layer_facts(lora, config)
    if found.get("run.matching_targets") != 0:
        return None
    return Complaint(
        field="lora.target_modules",
        problem=f"The model has none of these layers: {_shown(lora.target_modules)}.",
        remedy=found["run.targets_hint"],
    )


def _shown(targets: list[str] | str) -> str:
    return targets if isinstance(targets, str) else ", ".join(targets)


def _targets(lora: LoraSpec) -> list[str]:
    """A text is a pattern, no name."""
    return lora.target_modules if isinstance(lora.target_modules, list) else []


def _pattern_hint(lora: LoraSpec, layers: list[str]) -> str:
    """What was meant by a text that is one plain name; empty for a list, and for a real pattern."""
    text = lora.target_modules
    if isinstance(text, list) or text == ALL_LINEAR or not re.fullmatch(r"[\w.]+", text):
        return ""
    if not (nearest := _nearest(text, layers)):
        return ""
    return (
        f'Perhaps you meant ["{nearest}"]. A text is a pattern for whole names, as in '
        f'".*{nearest}"; a list names layers.'
    )


def _facts(
    kind: str, named: list[str], known: list[str], is_there: Callable[[str], bool]
) -> dict[str, Any]:
    unknown = [name for name in named if not is_there(name)]
    alike = {name: _nearest(name, known) for name in unknown}
    mended = [alike.get(name, name) for name in named]
    return {
        f"run.unknown_{kind}": unknown,
        f"run.unknown_{kind}_count": len(unknown),
        f"run.{kind}_mended": list(dict.fromkeys(name for name in mended if name)),
        f"run.{kind}_hint": _hint([name for name in alike.values() if name], known),
    }


def _nearest(name: str, known: list[str]) -> str:
    """Empty if none is alike."""
    last = name.rpartition(".")[2]
    close = difflib.get_close_matches(last.lower(), known, n=1, cutoff=_ALIKE)
    return close[0] if close else ""


def _hint(nearest: list[str], known: list[str]) -> str:
    if nearest:
        return f"Perhaps you meant {' and '.join(dict.fromkeys(nearest))}."
    return f"It has {', '.join(known[:_SHOWN])}."


def _last_parts(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def _is_target(name: str, modules: list[Module]) -> bool:
    """By PEFT's rule for lists."""
    return any(m.name == name or m.name.endswith(f".{name}") for m in modules)


def _is_saved(name: str, modules: list[Module]) -> bool:
    alone = LoraSpec(modules_to_save=[name])
    return any(adapter.is_saved(module.name, alone) for module in modules)


def _matching(lora: LoraSpec, modules: list[Module]) -> int | None:
    """How many of the named layers the model has, or layers that a pattern fits; None where nothing
    is named."""
    targets = lora.target_modules
    if not targets or targets == ALL_LINEAR:
        return None
    if isinstance(targets, list):
        return sum(_is_target(name, modules) for name in targets)
    try:
        return sum(re.fullmatch(targets, module.name) is not None for module in modules)
    except re.error:
        return 0  # PEFT cannot read it either.
