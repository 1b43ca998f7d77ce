"""What plain transformers, PEFT and torch say of a result: nothing of Fettle computes here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from engine.contract.validate import check
from engine.worker.batches import Collator, Rows
from engine.worker.packing import unpacked


class Silent:
    """A report that nobody hears."""

    def __getattr__(self, _name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


def held_back_loss(spec: dict[str, Any], output: Path) -> float:
    """The held-back rows' loss by nothing but transformers, PEFT and torch."""
    sound, _ = check(spec)
    assert sound
    bits = sound.bits
    quantization = {
        4: BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
        ),
        8: BitsAndBytesConfig(load_in_8bit=True),
        16: None,
    }[bits]  # fmt: skip
    base = spec["model"]["path"] if sound.lora else output
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=quantization, dtype=torch.float32
    )
    if sound.lora:
        model = PeftModel.from_pretrained(model, output)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(output)
    method = importlib.import_module(f"engine.methods.{sound.method}.train")
    held = method.prepare(sound, tokenizer, Silent()).evaluation
    collate = Collator(Rows(samples=held, rows=unpacked(len(held))), tokenizer.pad_token_id)
    total, targets = 0.0, 0
    for at in range(0, len(held), 2):
        batch = collate(range(at, min(at + 2, len(held))))
        labels = batch.pop("labels")[:, 1:].reshape(-1)
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1].reshape(len(labels), -1)
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        targets += int((labels != -100).sum())
    assert targets == held.target_counts.sum() > 0
    return total / targets
