"""Five things that went wrong for people, as specs: ``fettle plan`` has to foresee them.

Where a spec's machine is not this one, ``WHERE`` holds the options that describe it.
"""

from __future__ import annotations

MISTRAL_WSL = """\
name = "mistral-wsl"
[model]
path = "mistralai/Mistral-7B-v0.3"
[quantization]
bits = 4
[lora]
r = 16
[dataset]
path = "not-there.jsonl"
[training]
max_length = 2048
per_device_train_batch_size = 2
gradient_checkpointing = "offload"
"""
"""QLoRA on 11 GiB under WSL, where 210 MB could be pinned: training began, resuming died."""

EMBEDDINGS_T4 = """\
name = "embeddings-t4"
method = "pretrain"
[model]
path = "meta-llama/Llama-3.2-1B"
[lora]
r = 128
modules_to_save = ["embed_tokens", "lm_head"]
[dataset]
path = "not-there.txt"
[training]
max_length = 2048
per_device_train_batch_size = 8
gradient_accumulation_steps = 2
gradient_checkpointing = "none"
"""
"""Continued pretraining with both embeddings on a T4: out of memory."""

LLAMA_TURING = """\
name = "llama-turing"
[model]
path = "meta-llama/Llama-3.1-8B"
[quantization]
bits = 4
[lora]
r = 16
[dataset]
path = "not-there.jsonl"
[training]
max_length = 8192
per_device_train_batch_size = 4
optim = "paged_adamw_8bit"
precision = "bf16"
"""
"""bf16 and a paged optimizer on an RTX 2080 Ti under WSL."""

LLAMA_EMBEDDINGS = """\
name = "llama-embeddings"
[model]
path = "meta-llama/Meta-Llama-3-8B"
[lora]
r = 8
modules_to_save = ["embed_tokens", "lm_head"]
[dataset]
path = "not-there.jsonl"
[training]
max_length = 2048
"""
"""An adapter of 84 MB that became one of 4 GB."""

LLAMA_13B = """\
name = "llama-13b"
[model]
path = "meta-llama/Llama-2-13b-hf"
[quantization]
bits = 16
[lora]
r = 16
[dataset]
path = "not-there.jsonl"
[training]
max_length = 2048
per_device_train_batch_size = 1
"""
"""13B in 16 bits on three cards of 24 GB each, which are not one of 72."""

WHERE = {
    "mistral-wsl": ("--profile", "rtx-2080-ti", "--platform", "wsl", "--pinned", "200"),
    "embeddings-t4": ("--profile", "t4"),
    "llama-turing": ("--profile", "rtx-2080-ti", "--platform", "wsl"),
    "llama-embeddings": ("--profile", "a100-80"),
    "llama-13b": ("--profile", "3x-rtx-3090"),
}
