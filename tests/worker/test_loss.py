"""Loss and gradients do not depend on how rows are put into batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contract.messages import Step
from engine.worker.batches import Collator, Rows
from engine.worker.packing import packed, unpacked
from engine.worker.samples import Samples
from tests.worker.conftest import FAMILIES, Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def _samples(count: int = 12) -> Samples:
    parts = []
    for index in range(count):
        length = 3 + (index * 7) % 19
        ids = [(index * 31 + k * k) % 590 for k in range(length)]
        parts.append((ids, [k > length // 3 for k in range(length)]))
    return Samples.of(parts)


def _summed_loss(model: Any, rows: Rows, size: int) -> tuple[float, int]:
    """Sum of token losses over all rows by plain cross entropy, and the number of targets."""
    collate = Collator(rows, pad_id=0)
    total, targets = 0.0, 0
    for at in range(0, len(rows), size):
        batch = collate(range(at, min(at + size, len(rows))))
        labels = batch.pop("labels")[:, 1:].reshape(-1)
        with torch.no_grad():
            # With a cache, transformers does not look for the borders of samples. TRL has none.
            logits = model(**batch, use_cache=False).logits[:, :-1].reshape(len(labels), -1)
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        targets += int((labels != -100).sum())
    return total, targets


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_loss_of_their_samples(
    family: str, one_line: bool, models: Callable[[str], Path]
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models(family), dtype=torch.float64)
    model.eval()
    samples = _samples()
    apart = Rows(samples=samples, rows=unpacked(len(samples)))
    together = Rows(
        samples=samples, rows=packed(samples.lengths.tolist(), 48), packed=True, one_line=one_line
    )
    assert len(together) < len(apart)
    wanted, targets = _summed_loss(model, apart, 1)
    found, packed_targets = _summed_loss(model, together, 3)
    assert targets == packed_targets == samples.target_counts.sum()
    assert found == pytest.approx(wanted, rel=1e-7)


def test_samples_of_a_packed_row_do_not_see_each_other(models: Callable[[str], Path]) -> None:
    # The check above must be able to fail: without positions the loss is another.
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models("llama"), dtype=torch.float64)
    samples = _samples()
    rows = Rows(samples=samples, rows=packed(samples.lengths.tolist(), 48), packed=True)
    batch = Collator(rows, pad_id=0)([0])
    with torch.no_grad():
        apart = model(**batch, use_cache=False).logits
        mixed = model(input_ids=batch["input_ids"], use_cache=False).logits
    assert not torch.allclose(apart, mixed)


SPLITS = [(8, 1), (4, 2), (2, 4), (1, 8)]


@pytest.mark.parametrize("packing", [False, True])
def test_batch_and_accumulation_give_the_same_steps(
    packing: bool, models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    """54 rows make six windows of 8 and a last one of 6; the norms cover two epochs of them."""
    seen = {}
    for size, accumulate in SPLITS:
        report = Heard()
        spec = make_spec(
            models("llama"), chats, per_device_train_batch_size=size, packing=packing,
            gradient_accumulation_steps=accumulate, max_steps=9, lr_scheduler_type="constant",
        )  # fmt: skip
        run_here(tmp_path / f"{size}x{accumulate}", spec, report)
        seen[size] = [(s.loss, s.grad_norm, s.target_tokens) for s in report.of(Step)]
        report.close()
    assert len(seen[8]) == 9
    if not packing:
        assert seen[8][6][2] < seen[8][0][2], "the last window of an epoch is a partial one"
    for size, _ in SPLITS[1:]:
        for step, wanted in zip(seen[size], seen[8], strict=True):
            assert step == pytest.approx(wanted, rel=2e-5)


def test_gradients_are_equal_number_by_number(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.methods.sft.train import Trainer

    taken: list[dict[str, torch.Tensor]] = []

    def keep(self: Any, model: Any) -> torch.Tensor:
        named = model.named_parameters()
        taken.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        return torch.tensor(1.0)

    monkeypatch.setattr(Trainer, "_clip_grad_norm", keep, raising=False)
    for size, accumulate in SPLITS:
        report = Heard()
        spec = make_spec(
            models("llama"), chats, per_device_train_batch_size=size, max_steps=1,
            gradient_accumulation_steps=accumulate,
        )  # fmt: skip
        run_here(tmp_path / f"{size}", spec, report)
        report.close()
    assert len(taken) == len(SPLITS)
    assert sum(float(g.abs().sum()) for g in taken[0].values()) > 0
    for other in taken[1:]:
        for name, gradient in taken[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-7)
