"""Short names for settings and their choices, as the form shows them.

What a setting means is written once, in :mod:`engine.contract.spec`; here are only the two or three
words above its field. A setting without an entry is shown by its name.
"""

from __future__ import annotations

from typing import Any

LABELS = {
    "name": "Name",
    "method": "Learns from",
    "model.path": "Model",
    "model.revision": "Revision",
    "model.trust_remote_code": "Trust the model's code",
    "model.attn_implementation": "Attention",
    "quantization.bits": "Bits per weight",
    "quantization.bnb_4bit_quant_type": "4-bit format",
    "quantization.bnb_4bit_use_double_quant": "Double quantization",
    "quantization.bnb_4bit_compute_dtype": "Unpacked to",
    "lora.r": "LoRA rank",
    "lora.lora_alpha": "LoRA alpha",
    "lora.lora_dropout": "LoRA dropout",
    "lora.target_modules": "Layers with an adapter",
    "lora.modules_to_save": "Layers trained in full",
    "lora.trainable_tokens": "Tokens trained alone",
    "lora.use_rslora": "Rank-stabilised (rsLoRA)",
    "lora.use_dora": "DoRA",
    "dataset.path": "Data",
    "dataset.format": "Format",
    "dataset.chat_template": "Chat template",
    "dataset.loss_on": "Loss counts",
    "dataset.columns": "Columns",
    "dataset.roles": "Roles",
    "dataset.skip_samples": "Skip the first rows",
    "dataset.max_samples": "Most rows used",
    "dataset.sources": "Several datasets",
    "dataset.fixes": "Fixes",
    "dataset.eval_fraction": "Held back for evaluation",
    "training.max_length": "Max length",
    "training.packing": "Packing",
    "training.per_device_train_batch_size": "Batch",
    "training.gradient_accumulation_steps": "Accumulation",
    "training.num_train_epochs": "Epochs",
    "training.max_steps": "Max steps",
    "training.learning_rate": "Learning rate",
    "training.embedding_learning_rate": "Embedding rate",
    "training.lr_scheduler_type": "Schedule",
    "training.warmup_steps": "Warm-up",
    "training.weight_decay": "Weight decay",
    "training.max_grad_norm": "Gradient limit",
    "training.optim": "Optimizer",
    "training.gradient_checkpointing": "Checkpointing",
    "training.precision": "Precision",
    "training.seed": "Seed",
    "training.save_minutes": "Save every … minutes",
    "training.save_steps": "Save every … steps",
    "training.save_total_limit": "Saves kept",
    "training.eval_steps": "Evaluate every … steps",
    "hardware.profile": "Machine",
    "hardware.gpu": "GPU number",
    "hardware.safe_mode": "Safe mode",
}

CHOICES: dict[str, dict[Any, str]] = {
    "method": {"sft": "Conversations", "pretrain": "Plain text"},
    "model.attn_implementation": {
        "auto": "Automatic",
        "sdpa": "SDPA",
        "eager": "Eager",
        "flash_attention_2": "FlashAttention 2",
    },
    "quantization.bits": {4: "4", 8: "8", 16: "16"},
    "quantization.bnb_4bit_quant_type": {"nf4": "NF4", "fp4": "FP4"},
    "quantization.bnb_4bit_compute_dtype": {"auto": "Automatic"},
    "dataset.format": {
        "auto": "Detect the format",
        "alpaca": "Alpaca",
        "sharegpt": "ShareGPT",
        "messages": "Messages",
        "prompt_completion": "Prompt and completion",
        "preference": "Preference: chosen, rejected",
        "unpaired_preference": "Preference: labelled",
        "prompt_only": "Prompt only",
        "text": "Plain text",
    },
    "dataset.loss_on": {
        "answers": "All answers",
        "last_answer": "The last answer",
        "everything": "Everything",
    },
    "training.lr_scheduler_type": {
        "linear": "Linear",
        "cosine": "Cosine",
        "constant": "Constant",
        "constant_with_warmup": "Constant after warm-up",
    },
    "training.optim": {
        "adamw_torch": "AdamW",
        "adamw_torch_fused": "AdamW, fused",
        "adamw_8bit": "AdamW 8-bit",
        "paged_adamw_8bit": "AdamW 8-bit, paged",
        "sgd": "SGD",
        "adafactor": "Adafactor",
    },
    "training.gradient_checkpointing": {
        "none": "None",
        "full": "Full",
        "offload": "Offload to RAM",
    },
    "training.precision": {"auto": "Automatic", "bf16": "bf16", "fp16": "fp16", "fp32": "fp32"},
    "hardware.safe_mode": {"auto": "Where needed", "on": "On", "off": "Off"},
}

BASIC = (
    "training.max_length",
    "training.per_device_train_batch_size",
    "training.gradient_accumulation_steps",
    "lora.r",
    "training.learning_rate",
    "training.num_train_epochs",
    "training.precision",
    "training.optim",
    "training.gradient_checkpointing",
)
"""Settings of the basic view, in reading order, three to a row."""

ELSEWHERE = (
    "name", "method", "model.path", "dataset.path", "dataset.format", "dataset.columns",
    "dataset.roles", "dataset.sources", "dataset.loss_on", "quantization.bits",
    "hardware.profile",
)  # fmt: skip
"""Settings with a place of their own on the page, so in no grid."""

GROUPS = (
    ("training", "Training"),
    ("lora", "Adapter"),
    ("quantization", "Quantization"),
    ("model", "Model"),
    ("dataset", "Data"),
    ("hardware", "Machine"),
)
"""Tables of the expert view, in order, and their titles."""


def label(path: str) -> str:
    """The short name of a setting."""
    table, _, name = path.rpartition(".")
    words = name.replace("_", " ").capitalize()
    number = table.partition("dataset.sources[")[2].partition("]")[0]
    if number:
        return f"{LABELS.get(f'dataset.{name}', words)} of dataset {number}"
    return LABELS.get(path, words)


def choice(path: str, value: object) -> str:
    """The short name of one value of a setting with choices."""
    return CHOICES.get(path, {}).get(value, str(value))
