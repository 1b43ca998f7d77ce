"""Loss and gradients do not depend on how rows are put into batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contract.messages import Step
from engine.worker.batches import Collator, Rows, first_tokens
from engine.worker.by_sample import BORDERS, attend_by_sample, attends_by_sample
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


WAYS: dict[str, dict[str, bool]] = {
    "masked": {}, "one line": {"one_line": True},
    "by sample": {"one_line": True, "has_borders": True},
}  # fmt: skip


def _model(folder: Path, **settings: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, **settings).eval()


def _packed(samples: Samples, **way: bool) -> Rows:
    rows = packed(samples.lengths.tolist(), 48)
    return Rows(samples=samples, rows=rows, packed=True, **way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_loss_of_their_samples(
    family: str, way: str, models: Callable[[str], Path]
) -> None:
    model = _model(models(family))
    samples = _samples()
    apart = Rows(samples=samples, rows=unpacked(len(samples)))
    together = _packed(samples, **WAYS[way])
    assert len(together) < len(apart)
    wanted, targets = _summed_loss(model, apart, 1)
    if way == "by sample":
        attend_by_sample(model)
        assert attends_by_sample(model)
        assert _summed_loss(model, apart, 3)[0] == pytest.approx(wanted, rel=1e-7), "padded rows"
    found, packed_targets = _summed_loss(model, together, 3)
    assert targets == packed_targets == samples.target_counts.sum()
    assert found == pytest.approx(wanted, rel=1e-7)


def test_samples_of_a_packed_row_do_not_see_each_other(models: Callable[[str], Path]) -> None:
    # The check above must be able to fail: without positions the loss is another.
    model = _model(models("llama"))
    batch = Collator(_packed(_samples()), pad_id=0)([0])
    with torch.no_grad():
        apart = model(**batch, use_cache=False).logits
        mixed = model(input_ids=batch["input_ids"], use_cache=False).logits
    assert not torch.allclose(apart, mixed)


def test_a_sample_longer_than_the_window_looks_back_no_further(
    models: Callable[[str], Path],
) -> None:
    model = _model(models("mistral"), sliding_window=8)
    samples = _samples()
    assert samples.lengths.max() > 16
    whole = _summed_loss(_model(models("mistral")), _packed(samples), 3)
    wanted = _summed_loss(model, _packed(samples), 3)
    assert wanted != pytest.approx(whole, rel=1e-4)
    attend_by_sample(model)
    assert _summed_loss(model, _packed(samples, **WAYS["by sample"]), 3) == pytest.approx(wanted)


def test_borders_that_do_not_come_through_are_no_silent_loss(
    models: Callable[[str], Path],
) -> None:
    model = _model(models("llama"))
    attend_by_sample(model)
    batch = Collator(_packed(_samples(), **WAYS["by sample"]), pad_id=0)([0])
    del batch[BORDERS]
    with pytest.raises(RuntimeError, match="borders"):
        model(**batch, use_cache=False)


def test_a_packed_batch_is_cut_with_its_borders() -> None:
    batch = Collator(_packed(_samples(), **WAYS["by sample"]), pad_id=0)([0])
    begin, first, second, *_ = batch[BORDERS]
    cut = first_tokens(batch, second - 1)
    assert cut[BORDERS] == [begin, first, second - 1]
    assert cut["input_ids"].tolist() == batch["input_ids"][:, : second - 1].tolist()
    assert first_tokens(batch, 10**6)[BORDERS] == batch[BORDERS]


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
