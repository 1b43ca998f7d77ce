"""Where a model's head is more than TRL's takes it for, the loss is that of its own logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.contract.messages import Decision, Step
from engine.worker import target_head
from tests.worker.conftest import Heard, make_spec, run_here
from tests.worker.odd_models import ODD, write_odd_model
from tests.worker.test_target_head import batch, gradients
from tests.worker.test_trace_truth import tokenizer
from tests.worker.trace_truth import FAMILIES, Case, trainer_of

__all__ = ["tokenizer"]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

OTHER = ("llama4_text", "modernbert-decoder", "recurrent_gemma", "xlstm")


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.close()


def _trainer(
    family: str, tokenizer: Any, folder: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch,
    **fields: Any,
) -> Any:  # fmt: skip
    if family in ODD:
        values = {**ODD[family], "model_type": family, "lru_width": 96}
        monkeypatch.setitem(FAMILIES, family, values)
    attention = "eager" if family in ("gemma2", "xlstm") else "sdpa"
    case = Case(
        family=family, batch=2, length=24, checkpointing="none",
        attention=attention, **{"lora": {"r": 8}, **fields},
    )  # fmt: skip
    return trainer_of(case, tokenizer, heard, folder)


def _told(heard: Heard) -> list[str]:
    return [record.title for record in heard.of(Decision) if "logits" in record.title]


@pytest.mark.parametrize("family", OTHER)
def test_the_loss_and_its_gradients_are_those_of_the_models_own_logits(
    family: str, tokenizer: Any, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _trainer(family, tokenizer, tmp_path, heard, monkeypatch, lora=None)
    assert len(_told(heard)) == 1
    inputs, items = batch(), torch.tensor(12)
    ours.aux_loss_enabled = False
    loss = ours.compute_loss(ours.model, dict(inputs), num_items_in_batch=items)
    labels = inputs.pop("labels")
    logits = ours.model(**inputs, use_cache=False).logits
    theirs = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(loss, theirs)
    found, expected = gradients(ours.model, loss), gradients(ours.model, theirs)
    assert found
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "lora", [{"r": 8, "target_modules": ["q_proj", "qkv_proj"]}, None], ids=["adapter", "full"]
)
@pytest.mark.parametrize("family", [*sorted(FAMILIES), "granitemoe", "olmoe", "stablelm"])
def test_heads_that_are_as_trl_takes_them_are_left_to_it(
    family: str, lora: Any, precision: str, tokenizer: Any, tmp_path: Path, heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _trainer(family, tokenizer, tmp_path, heard, monkeypatch, lora=lora, precision=precision)
    assert not _told(heard)


def test_rows_with_nothing_to_learn_have_no_loss_and_gradients_of_zero(
    tokenizer: Any, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _trainer("modernbert-decoder", tokenizer, tmp_path, heard, monkeypatch)
    items = torch.tensor(0)
    loss = ours.compute_loss(ours.model, batch(learnt=0), num_items_in_batch=items)
    assert float(loss.detach()) == 0
    assert not any(gradient.any() for gradient in gradients(ours.model, loss))


def test_experts_are_balanced_there_too(
    tokenizer: Any, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _trainer("mixtral", tokenizer, tmp_path, heard, monkeypatch, lora=None)
    ours.model.train()
    inputs, items = batch(), torch.tensor(12)
    usual, _ = target_head.loss(ours.model, dict(inputs), items, experts=0.25)
    own, _ = target_head.own_loss(ours.model, dict(inputs), items, experts=0.25)
    torch.testing.assert_close(own, usual)
    for one, other in zip(
        gradients(ours.model, own), gradients(ours.model, usual), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_such_a_model_trains(
    models: Callable[[str], Path], few_chats: Path, report: Heard, tmp_path: Path
) -> None:
    model = write_odd_model(tmp_path / "model", "modernbert-decoder", models("llama"))
    spec = make_spec(model, few_chats, max_length=400, max_steps=8, learning_rate=1e-2)
    del spec["lora"]
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    losses = [record.loss for record in report.of(Step)]
    assert losses[-1] < losses[0] - 0.5
