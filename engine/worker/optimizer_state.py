"""An optimizer's state as named tensors and plain values, and back, tensor by tensor.

torch's own ``state_dict`` numbers parameters and converts what it loads; here everything goes by
parameter name and keeps its type, so that 8-bit states and a changed order survive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import torch


class OptimizerState(msgspec.Struct, frozen=True, kw_only=True):
    """What an optimizer remembers beside its tensors; fit for JSON."""

    groups: list[dict[str, Any]]
    """Settings of each group, with ``names`` of its parameters."""
    scalars: dict[str, dict[str, Any]]
    """By parameter name: values that are no tensors."""
    kind: str = ""
    """Which optimizer it is, as :func:`kind_of` tells; empty in saves by an older Fettle."""


class StateMismatch(ValueError):
    """The saved state belongs to another set of trained weights."""


class OtherOptimizer(StateMismatch):
    """The saved state is that of another optimizer, which this one cannot go on with."""

    def __init__(self, saved: str) -> None:
        super().__init__(f"The save holds the memory of {saved}.")
        self.saved = saved
        """A value of ``training.optim`` that can go on with it."""


_NAMES = {
    "torch.AdamW": "adamw_torch",
    "bitsandbytes.AdamW": "adamw_8bit",
    "torch.SGD": "sgd",
    "transformers.Adafactor": "adafactor",
}
"""What each kind is in a spec. A fused and a plain AdamW remember the same; so do a paged and a
plain one of 8 bits."""
_MARKS = {
    "amsgrad": "torch.AdamW",
    "t_beta3": "bitsandbytes.AdamW",
    "nesterov": "torch.SGD",
    "clip_threshold": "transformers.Adafactor",
}
"""A setting of its groups that only that kind has: saves by an older Fettle do not name it."""
_WAYS = frozenset({"fused", "foreach", "capturable", "differentiable"})
"""Settings of a group that say how a step is computed, not what: the spec's hold."""


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """Library and class. Optimizers of the same kind remember the same."""
    found = type(optimizer)
    return f"{found.__module__.partition('.')[0]}.{found.__name__}"


def bare(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer without accelerate's wrapper."""
    found: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return found


def describe(
    optimizer: torch.optim.Optimizer, names: dict[int, str]
) -> tuple[OptimizerState, dict[str, torch.Tensor]]:
    """State and tensors; ``names`` is by ``id`` of a parameter. Tensors are not copied."""
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        scalars[name] = {key: value for key, value in state.items() if not torch.is_tensor(value)}
        found = {f"{name}//{key}": value for key, value in state.items() if torch.is_tensor(value)}
        tensors |= found
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        | {"names": [names[id(parameter)] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    return OptimizerState(groups=groups, scalars=scalars, kind=kind_of(optimizer)), tensors


def restore(
    optimizer: torch.optim.Optimizer,
    state: OptimizerState,
    tensors: Iterable[tuple[str, torch.Tensor]],
    parameters: dict[str, torch.nn.Parameter],
) -> None:
    """Put a saved state back. Raises :class:`StateMismatch`, its kind :class:`OtherOptimizer`
    before anything is changed."""
    _must_be_of_kind(optimizer, state)
    _restore_groups(optimizer, state, parameters)
    places = _prepare_bitsandbytes(optimizer)
    for name, values in state.scalars.items():
        parameter = parameters[name]
        if places:
            # Makes the buffers in the kind of memory that they had, paged or not.
            group, place = places[id(parameter)]
            optimizer.init_state(optimizer.param_groups[group], parameter, group, place)  # type: ignore[attr-defined]
        optimizer.state[parameter].update(values)
    for name, tensor in tensors:
        parameter_name, _, key = name.rpartition("//")
        parameter = parameters[parameter_name]
        _restore_tensor(optimizer, parameter, key, tensor)


def _must_be_of_kind(optimizer: torch.optim.Optimizer, state: OptimizerState) -> None:
    marks = {key for group in state.groups for key in group}
    saved = state.kind or next((_MARKS[key] for key in _MARKS if key in marks), "")
    if saved in _NAMES and saved != kind_of(optimizer):
        is_fused = saved == "torch.AdamW" and any(group.get("fused") for group in state.groups)
        raise OtherOptimizer("adamw_torch_fused" if is_fused else _NAMES[saved])


def _restore_groups(
    optimizer: torch.optim.Optimizer, state: OptimizerState,
    parameters: dict[str, torch.nn.Parameter],
) -> None:  # fmt: skip
    names = {id(parameter): name for name, parameter in parameters.items()}
    now = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    if now != [group["names"] for group in state.groups]:
        raise StateMismatch("The save holds the optimizer of other trained weights.")
    for group, saved in zip(optimizer.param_groups, state.groups, strict=True):
        for key, value in saved.items():
            if key != "names" and key not in _WAYS:
                group[key] = tuple(value) if isinstance(group.get(key), tuple) else value


def _prepare_bitsandbytes(optimizer: torch.optim.Optimizer) -> dict[int, tuple[int, int]]:
    """(group, place) by ``id`` of the parameter, for optimizers of bitsandbytes; else empty."""
    if not hasattr(optimizer, "check_overrides"):
        return {}
    optimizer.check_overrides()
    return {
        id(parameter): (group_place, place)
        for group_place, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"])
    }


def _restore_tensor(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, key: str, tensor: torch.Tensor
) -> None:
    state = optimizer.state[parameter]
    if torch.is_tensor(state.get(key)):
        state[key].copy_(tensor)
    else:
        state[key] = tensor.to(_device_of(optimizer, parameter, key))


def _device_of(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, key: str
) -> torch.device:
    """Where the optimizer expects a tensor: step counters stay in RAM unless kernels are fused."""
    if key != "step":
        return parameter.device
    group = next(
        group for group in optimizer.param_groups
        if any(member is parameter for member in group["params"])
    )  # fmt: skip
    on_card = group.get("fused") or group.get("capturable")
    return parameter.device if on_card else torch.device("cpu")
