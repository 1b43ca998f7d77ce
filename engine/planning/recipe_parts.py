"""Options of other programs whose values need more than a look-up. Pure.

Each function takes its options from the draft, sets what they come to and leaves a note on what is
no longer as it was written. Names and values are those of transformers 4 and 5, TRL, PEFT,
LLaMA-Factory and Axolotl.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.planning.recipe_draft import Draft, first_of, is_yes
from engine.planning.recipe_turns import learnt, template

_DTYPES = {"bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "half": "fp16",
           "float32": "fp32", "fp32": "fp32", "float": "fp32"}  # fmt: skip
_ATTENTION = {"fa2": "flash_attention_2", "flash_attention_2": "flash_attention_2", "sdpa": "sdpa",
              "eager": "eager", "disabled": "eager", "auto": "auto"}  # fmt: skip
_OPTIMIZERS = {
    "adamw_bnb_8bit": "adamw_8bit", "adamw_8bit": "adamw_8bit", "paged_adamw_8bit":
    "paged_adamw_8bit", "adamw_torch": "adamw_torch", "adamw_hf": "adamw_torch", "adamw":
    "adamw_torch", "adamw_torch_fused": "adamw_torch_fused", "paged_adamw_32bit": "adamw_torch",
    "paged_adamw": "adamw_torch", "adafactor": "adafactor", "sgd": "sgd", "adamw_apex_fused":
    "adamw_torch_fused",
}  # fmt: skip
_SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
_TYPES = {"alpaca": "alpaca", "sharegpt": "sharegpt", "chat_template": "messages", "chat":
          "messages", "openai": "messages", "completion": "text", "pretrain": "text",
          "input_output": "prompt_completion"}  # fmt: skip
_QUANT = {"bnb_4bit_quant_type": "bnb_4bit_quant_type", "quantization_type": "bnb_4bit_quant_type",
          "bnb_4bit_use_double_quant": "bnb_4bit_use_double_quant",
          "use_nested_quant": "bnb_4bit_use_double_quant",
          "double_quantization": "bnb_4bit_use_double_quant",
          "bnb_4bit_compute_dtype": "bnb_4bit_compute_dtype"}  # fmt: skip
_OFFLOADS = ("llm_int8_enable_fp32_cpu_offload", "load_in_8bit_fp32_cpu_offload", "offload_folder")


def quantization(draft: Draft) -> None:
    """4 or 8 bits, from any of the ways to ask for them."""
    config = draft.take("quantization_config")
    options = config if isinstance(config, dict) else {}
    asked = {bits: draft.look(f"load_in_{bits}bit") for bits in (4, 8)}
    draft.facts |= {
        "has_quantization_config": bool(options),
        "has_load_in_bits": any(asked.values()),
        "offloads_weights": any(draft.take(name) or options.get(name) for name in _OFFLOADS),
        **{f"load_in_{bits}bit": is_yes(value) for bits, value in asked.items()},
    }
    bits = _bits(draft, options)
    draft.facts["is_quantised"] = bits != 16
    for old, new in _QUANT.items():
        value = draft.take(old, options.get(old))
        if value is not None and bits == 4:
            value = _dtype(value) if new == "bnb_4bit_compute_dtype" else value
            draft.set(f"quantization.{new}", value, old)
    if bits != 16:
        draft.set("quantization.bits", bits, "quantization_config")


def _bits(draft: Draft, options: dict[str, Any]) -> int:
    count = draft.take("quantization_bit")
    found = {4: options.get("load_in_4bit"), 8: options.get("load_in_8bit")}
    for bits in (4, 8):
        name = f"load_in_{bits}bit"
        if name in draft.names():
            value = draft.take(name)
            if not options:
                found[bits] = value
            text = "No longer an option of from_pretrained; here it is quantization.bits."
            draft.note("renamed", name, text, "quantization.bits")
    if count in (4, 8):
        draft.note("renamed", "quantization_bit", "Here it is called quantization.bits.")
        return int(count)
    return next((bits for bits in (4, 8) if is_yes(found[bits])), 16)


def precision(draft: Draft) -> None:
    """One word from the flags."""
    flags = {name: draft.take(name) for name in ("bf16", "fp16", "fp32", "pure_bf16", "float16",
                                                 "bfloat16", "mixed_precision")}  # fmt: skip
    draft.facts |= {name: is_yes(flags[name]) for name in ("bf16", "fp16")}
    wanted = _dtype(flags.pop("mixed_precision") or "")
    if draft.facts["bf16"] and draft.facts["fp16"]:
        return
    for name, value in flags.items():
        if is_yes(value):
            wanted = _dtype(name.removeprefix("pure_"))
            text = f'Flags became one word: training.precision = "{wanted}".'
            draft.note("renamed", name, text, "training.precision")
    if wanted:
        draft.set("training.precision", wanted, "precision")


def attention(draft: Draft) -> None:
    """How attention is computed, from a name or from flags."""
    named = draft.take("attn_implementation", draft.take("flash_attn"))
    flags = {"flash_attention": "flash_attention_2", "use_flash_attention_2": "flash_attention_2",
             "use_flash_attn": "flash_attention_2", "sdp_attention": "sdpa",
             "eager_attention": "eager", "xformers_attention": "sdpa"}  # fmt: skip
    for name, meant in flags.items():
        if is_yes(draft.take(name)):
            named = meant
            draft.note("renamed", name, "Here it is called model.attn_implementation.")
    if isinstance(named, bool):
        named = "flash_attention_2" if named else "auto"
    if named is None:
        return
    draft.facts["attn_implementation"] = str(named)
    meant = _ATTENTION.get(str(named), "auto")
    why = "" if meant == str(named) else f"{named} became {meant}."
    draft.set("model.attn_implementation", meant, "attn_implementation", why)


def adapter(draft: Draft) -> None:
    """The adapter's layers, and whether there is one."""
    kind = str(draft.take("finetuning_type", draft.take("adapter")) or "")
    signs = ("r", "lora_r", "lora_rank", "lora_alpha", "target_modules", "lora_target_modules")
    asked = kind in ("lora", "qlora", "dora") or is_yes(draft.look("use_peft"))
    has = kind != "full" and (asked or (draft.has(*signs) and draft.look("use_peft") is not False))
    draft.facts["has_adapter"] = has
    if kind == "qlora" and not draft.facts.get("is_quantised"):
        draft.set("quantization.bits", 4, "adapter", "qlora means 4-bit weights.")
    targets = _targets(draft)
    saved = _names(first_of(draft, "modules_to_save", "lora_modules_to_save", "additional_target"))
    if not has:
        _forget_adapter(draft)
        return
    draft.values.setdefault("lora", {})
    if targets:
        draft.set("lora.target_modules", targets, "target_modules")
    if saved:
        draft.set("lora.modules_to_save", saved, "modules_to_save")


def _targets(draft: Draft) -> Any:
    every = draft.take("lora_target_linear")
    given = first_of(draft, "target_modules", "lora_target_modules", "lora_target")
    if is_yes(every) or given in ("all", "all-linear", ["all"], ["all-linear"]):
        return "all-linear"
    return _names(given)


def _forget_adapter(draft: Draft) -> None:
    for field in [name for name in draft.values if name.startswith("lora.")]:
        del draft.values[field]


def dataset(draft: Draft) -> None:
    """The first dataset, its format and the rows held back."""
    given = first_of(draft, "dataset", "dataset_name", "dataset_path", "data_path", "train_file",
                   "data_files", "datasets", "dataset_id", "pretraining_dataset")  # fmt: skip
    kind = first_of(draft, "dataset_format", "formatting")
    if isinstance(given, list) and given:
        if len(given) > 1:
            text = f"Of {len(given)} datasets the first is taken; put them into one file."
            draft.note("left_out", "datasets", text, "dataset.path")
        given = given[0]
    if isinstance(given, dict):
        kind = given.get("type", kind)
        given = given.get("path") or given.get("data_files") or given.get("name")
        given = given[0] if isinstance(given, list) and given else given
    if isinstance(given, str) and given:
        draft.set("dataset.path", given.split(",")[0].strip(), "dataset")
    kind = str(kind or "").partition(".")[0]
    if kind in _TYPES:
        draft.set("dataset.format", _TYPES[kind], "dataset type")
    _method(draft, kind)
    _held_back(draft)


def _method(draft: Draft, kind: str) -> None:
    stage = str(draft.take("stage") or "")
    if stage == "pt" or kind in ("completion", "pretrain"):
        draft.set("method", "pretrain", "stage", "Learning from plain text is pretrain here.")
    elif stage not in ("", "sft"):
        draft.note("lost", "stage", f"There is no {stage} here yet; the spec is for sft.", "method")


def _held_back(draft: Draft) -> None:
    share = first_of(draft, "val_set_size", "test_size", "validation_split_percentage", "eval_size")
    data = first_of(draft, "eval_dataset", "eval_file", "validation_file", "test_datasets",
                  "eval_dataset_name")  # fmt: skip
    rhythm = draft.look("eval_strategy", draft.look("evaluation_strategy"))
    draft.facts["has_eval_data"] = bool(share or data)
    draft.facts["evaluates"] = rhythm not in (None, "no", False)
    if isinstance(share, (int, float)) and 0 < share < 1:
        draft.set("dataset.eval_fraction", min(share, 0.5), "val_set_size")
    elif share or data or draft.facts["evaluates"]:
        why = "Rows are held back as a share of the file; 5 % here."
        draft.set("dataset.eval_fraction", 0.05, "eval_dataset", why)


def rhythm(draft: Draft) -> None:
    """When to save and to evaluate."""
    for name, field in (("save", "training.save_steps"), ("eval", "training.eval_steps")):
        how = draft.look(f"{name}_strategy", draft.look("evaluation_strategy"))
        draft.facts[f"{name}_strategy"] = str(how) if how else "steps" if name == "save" else "no"
        steps = draft.take(f"{name}_steps")
        if steps is None:
            continue
        is_share = isinstance(steps, float) and 0 < steps < 1
        if is_share or how in ("no", "epoch"):
            default = "saves go by time" if name == "save" else "rows are measured at the end"
            draft.note(
                "left_out", f"{name}_steps", f"Not a number of steps here; {default}.", field
            )
        else:
            draft.set(field, steps, f"{name}_steps")
    draft.facts["load_best_model_at_end"] = is_yes(draft.look("load_best_model_at_end"))


def checkpointing(draft: Draft) -> None:
    """What is kept for the backward pass."""
    names = ("gradient_checkpointing", "activation_checkpointing", "use_gradient_checkpointing")
    wanted = first_of(draft, *names)
    offload = draft.take("activation_offloading")
    options = draft.look("gradient_checkpointing_kwargs")
    reentrant = draft.look("use_reentrant", draft.look("use_reentrant_gc"))
    if isinstance(options, dict):
        reentrant = options.get("use_reentrant", reentrant)
    draft.facts["use_reentrant"] = is_yes(reentrant)
    if is_yes(draft.take("disable_gradient_checkpointing")):
        wanted = False
    if wanted in ("unsloth", "offload", "offload_disk") or is_yes(offload):
        why = "Activations go to RAM."
        draft.set("training.gradient_checkpointing", "offload", names[0], why)
    elif wanted is not None:
        meant = "full" if is_yes(wanted) else "none"
        draft.set("training.gradient_checkpointing", meant, names[0])


def schedule(draft: Draft) -> None:
    """Learning rate over time, and the optimizer."""
    name = first_of(draft, "lr_scheduler_type", "lr_scheduler")
    if name is not None:
        meant = str(name) if str(name) in _SCHEDULES else "cosine"
        why = "" if meant == str(name) else f"{name} is not known here; cosine is nearest."
        draft.set("training.lr_scheduler_type", meant, "lr_scheduler_type", why)
    ratio, steps = draft.take("warmup_ratio"), draft.take("warmup_steps")
    if steps:
        draft.set("training.warmup_steps", steps, "warmup_steps")
    elif ratio is not None:
        why = "A share of all steps is written into warmup_steps."
        if draft.set("training.warmup_steps", ratio, "warmup_ratio"):
            draft.note("renamed", "warmup_ratio", why, "training.warmup_steps")
    optimizer = first_of(draft, "optim", "optimizer")
    if optimizer is not None:
        meant = _OPTIMIZERS.get(str(optimizer), "adamw_torch")
        why = "" if meant == str(optimizer) else f"{optimizer} became {meant}."
        draft.set("training.optim", meant, "optim", why)


PARTS: tuple[Callable[[Draft], None], ...] = (
    quantization, precision, attention, dataset, template, learnt, rhythm, checkpointing, schedule
)  # fmt: skip
"""Everything but the adapter, which comes after the plain options."""


def _names(value: Any) -> Any:
    """A list of names, from a list or from a text with commas."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        # A single text may be a pattern, which PEFT matches with whole names.
        return value if len(parts) == 1 and not value.replace("_", "").isalnum() else parts
    return value if isinstance(value, list) else None


def _dtype(value: Any) -> str:
    return _DTYPES.get(str(value).removeprefix("torch.").lower(), "auto" if value else "")
