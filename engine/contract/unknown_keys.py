"""Keys that no table of a spec knows, and what may be meant by them."""

from __future__ import annotations

import difflib
import functools

from engine.contract.masking import masked
from engine.contract.messages import Complaint
from engine.contract.shape import fields_of, table_of
from engine.contract.spec import Spec
from engine.contract.table import Table

LONGEST_NAME = 80
"""Of what a person wrote, no more is looked at or shown."""
_ALIASES = {
    "rank": "r", "lora_r": "r", "lora_rank": "r", "lora_dim": "r", "alpha": "lora_alpha",
    "dropout": "lora_dropout", "lora_target": "target_modules", "targets": "target_modules",
    "lora_target_modules": "target_modules", "lora_modules_to_save": "modules_to_save",
    "lr": "learning_rate", "epochs": "num_train_epochs", "num_epochs": "num_train_epochs",
    "steps": "max_steps", "batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps", "accumulation": "gradient_accumulation_steps",
    "gradient_accumulation": "gradient_accumulation_steps", "optimizer": "optim",
    "lr_scheduler": "lr_scheduler_type", "scheduler": "lr_scheduler_type",
    "max_seq_length": "max_length", "max_seq_len": "max_length", "sequence_len": "max_length",
    "cutoff_len": "max_length", "block_size": "max_length", "context_length": "max_length",
    "sample_packing": "packing", "base_model": "path", "model_name_or_path": "path",
    "val_set_size": "eval_fraction", "val_size": "eval_fraction", "template": "chat_template",
    "train_on_inputs": "loss_on", "train_on_prompt": "loss_on", "mask_history": "loss_on",
    "completion_only_loss": "loss_on", "assistant_only_loss": "loss_on",
}  # fmt: skip
"""What other trainers call a setting."""
_DATA = frozenset({
    "file", "files", "data_file", "data_files", "train_file", "train_files", "dataset",
    "dataset_name", "dataset_path",
})  # fmt: skip
"""What they call ``dataset.path``: a model has a path, too."""


def meant_by(key: str, kind: type[Table], prefix: str) -> str:
    """The path of the setting that this key of a table is likely to stand for, such as ``lora.r``;
    empty if there is none. ``prefix`` is the table's path with a dot behind it."""
    if key.lower() in _DATA:
        return f"{prefix if prefix.startswith('dataset.') else 'dataset.'}path"
    known = fields_of(kind)
    name = _ALIASES.get(key.lower(), key)
    if name in known:
        return prefix + name
    if place := _tables_by_setting().get(name):
        return f"{place}.{name}"
    close = difflib.get_close_matches(key[:LONGEST_NAME], known, n=1, cutoff=0.6)
    return prefix + close[0] if close else ""


def unknown(key: str, kind: type[Table], prefix: str) -> Complaint:
    """The complaint about it."""
    where = f"[{prefix[:-1]}]" if prefix else "the top of the file"
    remedy = f"Known in {where}: {', '.join(fields_of(kind))}."
    if meant := meant_by(key, kind, prefix):
        table = meant.rpartition(".")[0]
        is_here = f"{table}." == prefix or not table
        remedy = f"Did you mean {meant}?" if is_here else f"It belongs in [{table}]: write {meant}."
    return Complaint(
        field=prefix + masked(key)[:LONGEST_NAME], problem="There is no such setting.",
        remedy=remedy,
    )  # fmt: skip


@functools.cache
def _tables_by_setting() -> dict[str, str]:
    """Of each setting in a table the first table that has it."""
    found: dict[str, str] = {}
    for place, (hint, _) in fields_of(Spec).items():
        table = table_of(hint)
        for name in fields_of(table) if table else ():
            found.setdefault(name, place)
    return found
