"""The head is asked for the loss alone, where something is learnt; and the loss is TRL's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTTrainer
from trl.trainer import utils as trl_utils

from engine.worker import target_head
from tests.worker.conftest import Heard
from tests.worker.test_trace_truth import tokenizer
from tests.worker.trace_truth import FAMILIES, Case, trainer_of

__all__ = ["tokenizer"]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

LENGTHS = (24, 17)
OF_TRL = ("log_probs", "entropy", "is_top1")
"""What its ``SFTTrainer`` asks of the head."""


def batch(vocabulary: int = 90, learnt: int = 6) -> dict[str, torch.Tensor]:
    """Two padded rows, of which the last ``learnt`` tokens are learnt."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, vocabulary, (2, max(LENGTHS)), generator=generator)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
        labels[row, length - learnt : length] = ids[row, length - learnt : length]
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def trainer(family: str, tokenizer: Any, folder: Path, **fields: Any) -> Any:
    made = trainer_of(
        Case(family=family, batch=2, length=24, checkpointing="none", **fields),
        tokenizer, Heard(), folder,
    )  # fmt: skip
    made.model.train()
    return made


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [g for g in torch.autograd.grad(loss, trained, allow_unused=True) if g is not None]


class Seen:
    """The kernel, which notes what comes to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.positions: list[int] = []
        self.asked: list[tuple[str, ...]] = []
        self._kernel = trl_utils._ChunkedLogProbFunction
        monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", self)

    def apply(self, hidden: torch.Tensor, *rest: Any) -> Any:
        """As the kernel's."""
        self.positions.append(len(hidden))
        self.asked.append(rest[-1])
        return self._kernel.apply(hidden, *rest)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("lora", [{"r": 8}, None], ids=["adapter", "full"])
def test_loss_and_gradients_are_those_of_trl(
    family: str, lora: dict[str, int] | None, tokenizer: Any, tmp_path: Path
) -> None:
    attention = "eager" if family == "gemma2" else "sdpa"
    ours = trainer(family, tokenizer, tmp_path, lora=lora, attention=attention)
    inputs, items = batch(), torch.tensor(12)
    loss = ours.compute_loss(ours.model, dict(inputs), num_items_in_batch=items)
    found = gradients(ours.model, loss)
    base = ours.model.get_base_model() if lora else ours.model
    trl_utils.add_fused_lm_head(base, outputs=OF_TRL)
    theirs = SFTTrainer.compute_loss(ours, ours.model, dict(inputs), num_items_in_batch=items)
    torch.testing.assert_close(loss, theirs, rtol=1e-6, atol=1e-6)
    expected = gradients(ours.model, theirs)
    assert found
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_only_targets_go_through_the_head_and_nothing_but_the_loss_is_asked(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trainer("llama", tokenizer, tmp_path, lora={"r": 8})
    seen = Seen(monkeypatch)
    ours.compute_loss(ours.model, batch(learnt=6), num_items_in_batch=torch.tensor(12))
    ours.loss_sum(batch(learnt=4))
    assert seen.positions == [12, 8]
    assert seen.asked == [("log_probs",)] * 2


def test_rows_with_nothing_to_learn_have_no_loss_and_gradients_of_zero(
    tokenizer: Any, tmp_path: Path
) -> None:
    ours = trainer("llama", tokenizer, tmp_path, lora={"r": 8})
    loss = ours.compute_loss(ours.model, batch(learnt=0), num_items_in_batch=torch.tensor(0))
    assert float(loss.detach()) == 0
    found = gradients(ours.model, loss)
    assert len(found) == sum(p.requires_grad for p in ours.model.parameters()) > 0
    assert not any(gradient.any() for gradient in found)


def test_the_question_is_put_back_whatever_happens() -> None:
    asked = trl_utils._use_triton

    def ends_badly() -> None:
        with target_head.at_targets():
            assert trl_utils._use_triton(torch.device("cpu"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ends_badly()
    assert trl_utils._use_triton is asked


@pytest.mark.parametrize("lora", [{"r": 4, "target_modules": ["q_proj"]}, None])
def test_experts_are_balanced_as_trl_does_and_only_while_they_are_trained(
    lora: dict[str, Any] | None, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "mixtral", {
        "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.5,
    })  # fmt: skip
    ours = trainer("mixtral", tokenizer, tmp_path, lora=lora)
    ours.current_gradient_accumulation_steps = 2
    inputs, items = batch(), torch.tensor(12)
    both = ours.compute_loss(ours.model, dict(inputs), num_items_in_batch=items)
    found = gradients(ours.model, both)
    mean, given = ours.compute_loss(ours.model, dict(inputs), return_outputs=True)
    ours.model.eval()
    alone = ours.compute_loss(ours.model, dict(inputs), num_items_in_batch=items)
    ours.model.train()
    base = ours.model.get_base_model() if lora else ours.model
    trl_utils.add_fused_lm_head(base, outputs=OF_TRL)
    theirs = SFTTrainer.compute_loss(ours, ours.model, dict(inputs), num_items_in_batch=items)
    torch.testing.assert_close(both, theirs)
    torch.testing.assert_close(mean, SFTTrainer.compute_loss(ours, ours.model, dict(inputs)))
    torch.testing.assert_close(both - alone, 0.25 * given.aux_loss)
    assert given.aux_loss > 0.1
    for one, other in zip(found, gradients(ours.model, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
