"""The script in a run's output that repeats the recipe with nothing but TRL and PEFT."""

from __future__ import annotations

from typing import Any

from engine.contract.spec import Spec
from engine.worker.bridge import EMBEDDINGS
from engine.worker.library_names import CHECKPOINTING
from engine.worker.recipe_data import loading


def script(spec: Spec, *, may_pack: bool = True) -> str:
    """A complete Python script for the spec; ``may_pack``: its model keeps samples apart."""
    packs = spec.method == "pretrain" or (spec.packs_rows and may_pack)
    tokens = bool(spec.lora and spec.lora.trainable_tokens)
    parts = [
        _head(spec),
        _model(spec),
        _data(spec),
        _arguments(spec, packs=packs),
        _trainer(spec) + (_LENT_BIAS if tokens else "") + _TRAINING,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _head(spec: Spec) -> str:
    settings: dict[str, Any] = {
        "MODEL": spec.model.path,
        "REVISION": spec.model.revision,
        "TRUST_REMOTE_CODE": spec.model.trust_remote_code,
        "DATA": spec.dataset.path,
        "EVAL_FRACTION": spec.dataset.eval_fraction,
        "PRECISION": spec.training.precision,
        "SEED": spec.training.seed,
    }
    if spec.lora and spec.lora.trainable_tokens:
        settings["TRAINED_TOKENS"] = spec.lora.trainable_tokens
    lines = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    lora = f"LoraConfig({_keywords(_lora(spec))})" if spec.lora else "None"
    quantization = f"BitsAndBytesConfig({_keywords(_bits(spec))})" if spec.bits != 16 else "None"
    fixes = ""
    if spec.dataset.fixes:
        mended = ", ".join(spec.dataset.fixes)
        fixes = f" It takes the data as it is: mend the file first ({mended})."
    return f'''"""Repeats the run "{_quiet(spec.name)}" with plain TRL and PEFT.

The order of the samples and the choice of held-back ones differ from Fettle's; the recipe is the
same.{fixes}  python train.py
"""

import json
from pathlib import Path

import fsspec
import torch
from datasets import Dataset, concatenate_datasets, load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

{lines}
LORA = {lora}
QUANTIZATION = {quantization}
'''


def _bits(spec: Spec) -> dict[str, Any]:
    assert spec.quantization
    if spec.bits == 8:
        return {"load_in_8bit": True}
    found = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": spec.quantization.bnb_4bit_quant_type,
        "bnb_4bit_use_double_quant": spec.quantization.bnb_4bit_use_double_quant,
    }
    wanted = spec.quantization.bnb_4bit_compute_dtype
    return found if wanted == "auto" else {**found, "bnb_4bit_compute_dtype": _TORCH[wanted]}


_TORCH = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def _lora(spec: Spec) -> dict[str, Any]:
    assert spec.lora
    values = {name: getattr(spec.lora, name) for name in spec.lora.__struct_fields__}
    values.pop("trainable_tokens")
    return {
        "task_type": "CAUSAL_LM",
        **values,
        "modules_to_save": values["modules_to_save"] or None,
    }


_MODEL = """
cuda = torch.cuda.is_available()
if PRECISION == "auto":
    PRECISION = "fp32"
    if cuda:
        PRECISION = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What is trained in full stays in fp32.
dtype = torch.float32 if LORA is None else dtypes[PRECISION]
"""

_LOADED = """# The tokenizer beside this script has the chat template that was used.
tokenizer = AutoTokenizer.from_pretrained(
    Path(__file__).parent, trust_remote_code=TRUST_REMOTE_CODE
)
KNOWS_TOOLS = "tool" in str(tokenizer.chat_template)
model = AutoModelForCausalLM.from_pretrained(
    MODEL, revision=REVISION, trust_remote_code=TRUST_REMOTE_CODE, dtype=dtype,
    quantization_config=QUANTIZATION, device_map={"": 0 if cuda else "cpu"}, use_safetensors=True,
)
"""

_COMPUTED = """if QUANTIZATION is not None:
    QUANTIZATION.bnb_4bit_compute_dtype = dtype
"""
_TOKENS = """
ids = sorted(set(tokenizer.convert_tokens_to_ids(TRAINED_TOKENS)))
names = {id(module): name for name, module in model.named_modules()}
ends = (model.get_input_embeddings(), model.get_output_embeddings())
LORA.trainable_token_indices = {names[id(module)]: ids for module in ends if module is not None}
"""
_TIED = """
# Where they are one matrix, they stay one.
LORA.ensure_weight_tying = bool(model.config.get_text_config().tie_word_embeddings)
"""


def _model(spec: Spec) -> str:
    bits = spec.quantization if spec.bits == 4 else None
    computed = bits and bits.bnb_4bit_compute_dtype == "auto"
    saved = set(spec.lora.modules_to_save) if spec.lora else set()
    return "".join([
        _MODEL,
        _COMPUTED if computed else "",
        _LOADED,
        _TOKENS if spec.lora and spec.lora.trainable_tokens else "",
        _TIED if {"embed_tokens", "lm_head"} <= saved else "",
    ])  # fmt: skip


def _data(spec: Spec) -> str:
    last = _LAST_ANSWER if spec.dataset.loss_on == "last_answer" else ""
    return f"""
{loading(spec, last)}
"""


_LAST_ANSWER = '''
rows_to_example = to_example


def to_example(row):
    """Only the last answer is learnt: all before it is the question."""
    example = rows_to_example(row)
    if "messages" not in example:
        return example
    talk = example["messages"]
    while talk[-1]["role"] != "assistant":
        talk = talk[:-1]
    return {"prompt": talk[:-1], "completion": talk[-1:]}

'''


def _arguments(spec: Spec, *, packs: bool) -> str:
    training = spec.training
    chat = spec.method == "sft"
    values = {
        "output_dir": "repeated",
        "max_length": training.max_length,
        "packing": packs,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "num_train_epochs": training.num_train_epochs,
        "max_steps": training.max_steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": training.optim,
        CHECKPOINTING: training.gradient_checkpointing != "none",
        "seed": training.seed,
        "report_to": "none",
    }
    if packs:
        values["packing_strategy"] = "wrapped" if spec.method == "pretrain" else "bfd"
    lines = "".join(f"    {name}={value!r},\n" for name, value in values.items())
    asks = '    assistant_only_loss="messages" in data.column_names,\n' if chat else ""
    if spec.dataset.loss_on == "everything":
        asks = "    assistant_only_loss=False,\n    completion_only_loss=False,\n"
    return f"""
arguments = SFTConfig(
{lines}{asks}    use_cpu=not cuda,
    bf16=PRECISION == "bf16",
    fp16=PRECISION == "fp16",
    eval_strategy="epoch" if held_back else "no",
)
"""


def _trainer(spec: Spec) -> str:
    rate = spec.training.embedding_learning_rate
    if rate is None:
        return _TRAINER.format(kind="SFTTrainer")
    return _EMBEDDINGS.format(rate=rate, names=EMBEDDINGS) + _TRAINER.format(kind="Trainer")


_EMBEDDINGS = """
class Trainer(SFTTrainer):
    def create_optimizer(self, *args):
        \"\"\"Embeddings have a rate of their own.\"\"\"
        optimizer = super().create_optimizer(*args)
        names = {names!r}
        apart = {{
            id(p) for name, p in self.model.named_parameters()
            if any(part in names for part in name.split("."))
        }}
        for group in list(optimizer.param_groups):
            moved = [p for p in group["params"] if id(p) in apart]
            if moved:
                group["params"] = [p for p in group["params"] if id(p) not in apart]
                optimizer.add_param_group({{**group, "params": moved, "lr": {rate!r}}})
        return optimizer

"""
_TRAINER = """
trainer = {kind}(
    model=model, args=arguments, train_dataset=data, eval_dataset=held_back,
    processing_class=tokenizer, peft_config=LORA,
)
"""
_LENT_BIAS = """# TRL asks the head for a bias; PEFT's wrapper around it has none.
trainer.model.get_output_embeddings().bias = None
"""
_TRAINING = """trainer.train()
if held_back:
    print(trainer.evaluate())
trainer.save_model()
"""


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _quiet(text: str) -> str:
    return text.replace("\\", " ").replace('"', "'")
