"""Our run against a plain TRL script: the same rows in the same order give the same losses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import Step
from engine.contract.validate import check
from engine.worker.library_names import CHECKPOINTING
from engine.worker.schedule import Schedule
from tests.worker.conftest import Heard, make_spec, run_here

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]
STEPS = 30


def _plain_trl(spec: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> list[float]:
    """Losses of the recipe written as TRL's own documentation would, fed these rows in order."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    training = spec["training"]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(spec["model"]["path"]),
        processing_class=AutoTokenizer.from_pretrained(spec["model"]["path"]),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules="all-linear"
        ),
        args=SFTConfig(
            output_dir=str(folder), max_steps=STEPS, learning_rate=training["learning_rate"],
            per_device_train_batch_size=training["per_device_train_batch_size"],
            gradient_accumulation_steps=training["gradient_accumulation_steps"],
            lr_scheduler_type="cosine", warmup_steps=0.03, max_length=training["max_length"],
            assistant_only_loss=True, seed=42, logging_steps=1, **{CHECKPOINTING: True},
            train_sampling_strategy="sequential", shuffle_dataset=False, save_strategy="no",
            report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
        ),
    )  # fmt: skip
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _rows_in_our_order(spec: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The conversations that our run trains on, over all its epochs, one after the other."""
    import msgspec

    from engine.formats.dataset import read_examples, split_sizes
    from engine.formats.rendering import as_messages
    from engine.worker.samples import held_back

    sound, _ = check(spec)
    assert sound
    examples = list(read_examples(sound.dataset.path, "auto", "sft"))
    keys = [msgspec.json.encode(example) for example in examples]
    held = held_back(keys, split_sizes(len(keys), sound.dataset.eval_fraction)[1], 42)
    kept = [example for place, example in enumerate(examples) if place not in held]
    # The rows of whole epochs only: TRL's windows must end where ours do.
    schedule = Schedule(row_count=len(kept), batch=6, seed=42)
    turns = itertools.islice(schedule.turns(), count)
    return [{"messages": as_messages(kept[row])} for turn in turns for row in turn.rows]  # type: ignore[arg-type]


def test_losses_equal_those_of_a_plain_trl_script(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    spec = make_spec(
        models("llama"), chats, max_steps=STEPS, per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    run_here(tmp_path / "ours", spec, report)
    ours = [step.loss for step in report.of(Step)]
    rows = _rows_in_our_order(spec, STEPS)
    assert len(rows) == 6 * STEPS, "54 rows in windows of 6: no partial window"
    theirs = _plain_trl(spec, rows, tmp_path / "trl")
    assert len(ours) == len(theirs) == STEPS
    assert ours[-1] < ours[0] - 0.1, "the model must have learnt something"
    assert ours == pytest.approx(theirs, rel=1e-4)
