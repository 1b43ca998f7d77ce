"""The yardstick: a plain TRL script of the same recipe, with nothing of Fettle in it.

usage: bare_trl.py MODEL_FOLDER ROWS.json STEPS BATCH ACCUMULATION MAX_LENGTH
prints ``step_ms`` and the milliseconds of each step, a line each
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Tells the time of each step, from the end of the one before."""

    def __init__(self) -> None:
        self._last = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = time.perf_counter()
        print(f"step_ms {(now - self._last) * 1000:.3f}", flush=True)
        self._last = now


def main() -> None:
    model_folder, rows_file = sys.argv[1:3]
    steps, batch, accumulation, max_length = map(int, sys.argv[3:])
    rows = json.loads(Path(rows_file).read_text(encoding="utf-8"))
    torch.manual_seed(42)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
            args=SFTConfig(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation,
                max_length=max_length,
                learning_rate=2e-4,
                lr_scheduler_type="cosine",
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                # TRL's own default computes in bf16, on a CPU too; Fettle does so on cards only.
                bf16=False,
                disable_tqdm=True,
                gradient_checkpointing=True,
                gradient_checkpointing_kwargs={"use_reentrant": False},
                dataloader_pin_memory=False,
                seed=42,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(model_folder),
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
            callbacks=[Clock()],
        )
        trainer.train()


if __name__ == "__main__":
    main()
