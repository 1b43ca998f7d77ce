"""Samples share a row only where the model keeps them apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.contract.messages import CheckpointSaved, Decision, Job, ResumeCertificate, Step
from engine.store.checkpoints import FOLDER, name_of
from engine.worker import rehearse_job, row_check, target_head
from engine.worker.loading import DTYPES, Compute
from tests.worker.conftest import Heard, make_spec, run_here
from tests.worker.odd_models import config_of, write_odd_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

APART = ("granitemoe", "llama4_text", "mixtral", "olmoe", "phimoe", "stablelm")
MIXED = (
    "bloom", "gpt_oss", "granite_dense", "granite_mamba", "mamba", "opt", "qwen3_5_text",
    "recurrent_gemma", "xlstm",
)  # fmt: skip


def _model(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    config = config_of(kind, vocab_size=97, pad_token_id=0)
    return AutoModelForCausalLM.from_config(config).to(dtype)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [*APART, *MIXED])
def test_what_a_model_makes_of_a_packed_row_is_found_out(
    kind: str, precision: Literal["fp32", "bf16"]
) -> None:
    compute = Compute(device="cpu", precision=precision)
    assert row_check.keeps_apart(_model(kind, DTYPES[precision]), compute) == (kind in APART)


def test_trying_leaves_modes_and_random_numbers_as_they_were() -> None:
    model = _model("stablelm").train()
    model.lm_head.eval()
    before = torch.get_rng_state()
    assert row_check.keeps_apart(model, Compute(device="cpu", precision="fp32"))
    assert torch.equal(before, torch.get_rng_state())
    assert [m for m in model.modules() if not m.training] == [model.lm_head]


def _losses(report: Heard) -> list[float]:
    return [record.loss for record in report.of(Step)]


def _told(report: Heard) -> list[str]:
    return [record.title for record in report.of(Decision) if "not packed" in record.title]


def test_such_a_model_is_trained_and_resumed_with_a_sample_in_each_row(
    models: Callable[[str], Path], few_chats: Path, tmp_path: Path
) -> None:
    model = write_odd_model(tmp_path / "model", "qwen3_5_text", models("llama"))
    reports = {name: Heard() for name in ("packed", "alone", "resumed")}
    try:
        for name in ("packed", "alone"):
            spec = make_spec(model, few_chats, packing=name == "packed", max_length=400)
            spec["lora"]["target_modules"] = ["q_proj"]
            spec["training"]["save_steps"] = 2
            run_here(tmp_path / name, spec, reports[name])
        spec["training"]["packing"] = True
        saved = reports["packed"].of(CheckpointSaved)
        assert [record.step for record in saved][:1] == [2]
        checkpoint = str(tmp_path / "packed" / FOLDER / name_of(2))
        run_here(tmp_path / "resumed", spec, reports["resumed"], checkpoint=checkpoint)
    finally:
        for report in reports.values():
            report.close()
    assert [len(_told(report)) for report in reports.values()] == [1, 0, 1]
    losses = {name: _losses(report) for name, report in reports.items()}
    assert losses["packed"] == losses["alone"]
    assert losses["resumed"] == losses["packed"][2:]
    script = (tmp_path / "packed" / "output" / "train.py").read_text()
    assert "packing=False" in script


def test_its_rehearsal_tries_the_same_rows(
    models: Callable[[str], Path], few_chats: Path, report: Heard, tmp_path: Path
) -> None:
    model = write_odd_model(tmp_path / "model", "qwen3_5_text", models("llama"))
    spec = make_spec(model, few_chats, packing=True, max_length=400, max_steps=-1)
    spec["training"]["num_train_epochs"] = 1.0
    spec["lora"]["target_modules"] = ["q_proj"]
    folder = tmp_path / "rehearsal"
    done = rehearse_job.run(Job(kind="rehearse", folder=str(folder), spec=spec), report)
    assert _told(report)
    assert done.data["total_steps"] == 7


@pytest.mark.parametrize("was_packed", [True, False])
def test_a_run_that_goes_on_keeps_the_rows_of_its_save(
    models: Callable[[str], Path],
    few_chats: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    was_packed: bool,
) -> None:
    """Whatever is found out about the model by then: its place in the data is counted in rows."""
    spec = make_spec(models("llama"), few_chats, packing=True, max_length=400)
    spec["training"]["save_steps"] = 2
    calm, first, second = Heard(), Heard(), Heard()
    monkeypatch.setattr(row_check, "attends_by_sample", lambda _model: False)
    monkeypatch.setattr(row_check, "keeps_apart", lambda *_: was_packed)
    try:
        run_here(tmp_path / "calm", spec, calm)
        run_here(tmp_path / "run", spec, first)
        monkeypatch.setattr(row_check, "keeps_apart", lambda *_: not was_packed)
        checkpoint = str(tmp_path / "run" / FOLDER / name_of(2))
        run_here(tmp_path / "run", spec, second, checkpoint=checkpoint)
    finally:
        for report in (calm, first, second):
            report.close()
    assert _losses(second) == _losses(calm)[2:]
    (certificate,) = second.of(ResumeCertificate)
    assert certificate.verdict == "same"
    told = [d.title for d in second.of(Decision) if "as at the save" in d.title]
    assert len(told) == 1
    assert told[0].startswith("Samples go on sharing" if was_packed else "Each sample goes on")


@pytest.mark.parametrize(
    ("error", "is_machine"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA driver error: device not ready"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("The size of tensor a (8) must match the size of tensor b (16)"), False),
        (AttributeError("no attribute 'position_ids'"), False),
    ],
)
def test_what_the_card_fails_at_says_nothing_about_the_model(
    error: Exception, is_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("stablelm")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(model, "forward", fail)
    compute = Compute(device="cpu", precision="fp32")
    if is_machine:
        with pytest.raises(type(error)):
            row_check.keeps_apart(model, compute)
    else:
        assert not row_check.keeps_apart(model, compute)


def test_a_head_that_gives_no_numbers_is_not_called_another() -> None:
    model = _model("stablelm")
    target_head.add_to(model)
    assert target_head.misfit(model) == ""
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    assert target_head.misfit(model) == ""
