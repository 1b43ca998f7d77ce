"""What transformers calls things, where that depends on its version."""

from __future__ import annotations

from dataclasses import fields

from transformers import TrainingArguments

_KNOWN = {field.name for field in fields(TrainingArguments)}

CHECKPOINTING = (
    "activation_checkpointing" if "activation_checkpointing" in _KNOWN else "gradient_checkpointing"
)
"""Recomputing activations: an argument of the trainer, ``…_kwargs`` beside it, and ``…_enable`` of
models. The first name is the newer one, and newer versions warn of the older."""
