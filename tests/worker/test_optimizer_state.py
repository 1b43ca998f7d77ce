"""Another optimizer than the save's: it goes on as asked for, or refuses, and forgets nothing."""

from __future__ import annotations

from typing import Any

import bitsandbytes
import msgspec
import pytest
import torch
from transformers import Adafactor

from engine.worker import optimizer_state
from engine.worker.optimizer_state import OptimizerState, OtherOptimizer

pytestmark = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adamw_torch": (torch.optim.AdamW, {"fused": False}),
    "adamw_torch_fused": (torch.optim.AdamW, {"fused": True}),
    "adamw_8bit": (bitsandbytes.optim.AdamW, {"optim_bits": 8}),
    "paged_adamw_8bit": (bitsandbytes.optim.AdamW, {"optim_bits": 8, "is_paged": True}),
    "sgd": (torch.optim.SGD, {}),
    "adafactor": (Adafactor, {"scale_parameter": False, "relative_step": False}),
}
SAME = [{"adamw_torch", "adamw_torch_fused"}, {"adamw_8bit", "paged_adamw_8bit"}]
PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b]


def made(name: str) -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 64 * 128).reshape(64, 128).clone())
    kind, settings = KINDS[name]
    return kind([parameter], lr=1e-2, **settings), parameter


def trained(name: str, steps: int) -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
    optimizer, parameter = made(name)
    step(optimizer, parameter, steps)
    return optimizer, parameter


def step(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, steps: int) -> None:
    for _ in range(steps):
        parameter.grad = parameter.detach() ** 2
        optimizer.step()


def saved(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, *, is_old: bool = False
) -> tuple[OptimizerState, dict[str, torch.Tensor]]:
    """As it comes from the disk; ``is_old``: by a Fettle that did not name the kind."""
    described, tensors = optimizer_state.describe(optimizer, {id(parameter): "w"})
    state = msgspec.json.decode(msgspec.json.encode(described), type=OptimizerState)
    copied = {name: tensor.clone() for name, tensor in tensors.items()}
    return (msgspec.structs.replace(state, kind="") if is_old else state), copied


@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if set(pair) in SAME])
def test_what_remembers_the_same_goes_on_as_it_was_asked_for(before: str, after: str) -> None:
    optimizer, parameter = trained(before, 5)
    state, tensors = saved(optimizer, parameter)
    other, its = made(after)
    its.data.copy_(parameter.data)
    optimizer_state.restore(other, state, tensors.items(), {"w": its})
    asked = KINDS[after][1].get("fused")
    assert other.param_groups[0].get("fused") == asked
    step(optimizer, parameter, 3)
    step(other, its, 3)
    torch.testing.assert_close(its, parameter, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if set(pair) not in SAME])
def test_what_would_be_forgotten_is_refused(before: str, after: str, is_old: bool) -> None:
    optimizer, parameter = trained(before, 2)
    state, tensors = saved(optimizer, parameter, is_old=is_old)
    other, its = made(after)
    with pytest.raises(OtherOptimizer) as caught:
        optimizer_state.restore(other, state, tensors.items(), {"w": its})
    saved_by = caught.value.saved
    assert saved_by == before or {saved_by, before} in SAME
    assert not other.state
