"""Our run against a plain TRL script: the same rows in the same order give the same losses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from engine.contract.messages import Step
from engine.contract.validate import check
from engine.worker.chat import Rendered
from engine.worker.library_names import CHECKPOINTING
from engine.worker.schedule import Schedule
from engine.worker.tokenise import Encoded, close, closing_id, encode_all
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
    from engine.worker.samples import held_back, row_hash

    sound, _ = check(spec)
    assert sound
    examples = list(read_examples(sound.dataset.path, "auto", "sft"))
    hashes = [row_hash(msgspec.json.encode(example), 42) for example in examples]
    held = held_back(hashes, split_sizes(len(hashes), sound.dataset.eval_fraction)[1])
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


def test_an_end_that_the_tokenizer_adds_is_learnt_as_trl_learns_it(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = models("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    begin, end = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}",
        special_tokens=[(begin, tokenizer.bos_token_id), (end, tokenizer.eos_token_id)],
    )
    prompt, completion = "The night is", " long and the train is late"
    text = prompt + completion
    rendered = Rendered(text=text, spans=[(len(prompt), len(text))], special_tokens=True)
    (encoded,) = encode_all(tokenizer, [rendered])
    closed = close(encoded, closing_id(tokenizer))
    ids, flags = closed.ids.tolist(), closed.flags.tolist()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": prompt, "completion": completion}]),
        args=SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False),
    )
    theirs = trainer.train_dataset[0]
    # TRL writes an end of its own into the text, beside the one of the tokenizer.
    assert theirs["input_ids"] == [*ids, tokenizer.eos_token_id]
    assert [label != -100 for label in theirs["labels"]] == [*flags, True]
    assert flags[-1]
    # What is not learnt is not closed either, and text without an end gets one.
    assert close(_encoded([5, 6, 1], [False] * 3), 1).flags.tolist() == [False] * 3
    closed = close(_encoded([5, 6], [False, True]), 1)
    assert closed.ids.tolist() == [5, 6, 1]
    assert closed.flags.tolist() == [False, True, True]


def _encoded(ids: list[int], flags: list[bool]) -> Encoded:
    return Encoded(np.array(ids, np.int32), np.array(flags))
