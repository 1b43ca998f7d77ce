"""Writes a tiny, randomly initialised model with a tokenizer and a chat template.

For demos and tests: the real file formats, the real classes and the shape of the family's own chat
markup, small enough that a CPU trains it. It knows nothing until it is trained.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from engine.paths import RESOURCES
from engine.worker.sample_templates import TEMPLATES

CORPUS = RESOURCES / "samples" / "corpus.txt"
CONTEXT = 2048
"""Positions of a sample model, in tokens."""
HEAD_SIZE = 16


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a sample model one of its family."""

    config: Callable[..., PreTrainedConfig]
    bos: str | None
    eos: str
    pad: str
    end_of_turn: str
    """What ends an answer; generation stops there."""
    extra: tuple[str, ...]
    """Further special tokens, those of the chat markup."""
    tied: bool


FAMILIES: dict[str, Family] = {
    "llama": Family(
        config=LlamaConfig,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        end_of_turn="<|eot_id|>",
        extra=("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        tied=False,
    ),
    "mistral": Family(
        config=MistralConfig,
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        end_of_turn="</s>",
        extra=("<unk>", "[INST]", "[/INST]"),
        tied=False,
    ),
    "qwen": Family(
        config=Qwen3Config,
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        end_of_turn="<|im_end|>",
        extra=("<|im_start|>",),
        tied=True,
    ),
    "gemma": Family(
        config=Gemma3TextConfig,
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        end_of_turn="<end_of_turn>",
        extra=("<unk>", "<start_of_turn>"),
        tied=True,
    ),
}


def write_sample_model(
    folder: str | Path,
    family: str = "llama",
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    vocab: int = 1800,
) -> Path:
    """Writes the model and returns its folder. The same arguments give the same files.

    ``family`` is a key of :data:`FAMILIES`; ``hidden`` a multiple of 32; ``vocab`` the number of
    tokens, at least 300. Raises ValueError for others, and FileExistsError if the folder holds
    anything. The folder appears whole or not at all.
    """
    _check(family, hidden, layers, vocab)
    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty. Choose a new folder for the sample model.")
    staging = target.with_name(f".{target.name}.partial-{os.getpid()}")
    staging.mkdir(parents=True)
    try:
        tokenizer = _tokenizer(FAMILIES[family], family, vocab)
        tokenizer.save_pretrained(staging)
        _model(FAMILIES[family], tokenizer, seed, hidden, layers).save_pretrained(staging)
        if target.exists():
            target.rmdir()
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _check(family: str, hidden: int, layers: int, vocab: int) -> None:
    if family not in FAMILIES:
        raise ValueError(f"There is no family {family!r}. Choose one of {', '.join(FAMILIES)}.")
    if hidden < 32 or hidden % 32 or layers < 1 or vocab < 300:
        raise ValueError("hidden must be a multiple of 32, layers at least 1, vocab at least 300.")


# ---------------------------------------------------------------- tokenizer


def _tokenizer(kind: Family, family: str, vocab: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on the bundled text, so that it can write anything."""
    special = [token for token in (kind.pad, kind.bos, kind.eos, *kind.extra) if token]
    special += [kind.end_of_turn] if kind.end_of_turn not in special else []
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS.read_text("utf-8").split("\n\n"), trainer)
    if kind.bos:
        core.post_processor = _bos_first(kind.bos, special.index(kind.bos))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=kind.bos,
        eos_token=kind.eos,
        pad_token=kind.pad,
        extra_special_tokens=[*kind.extra, kind.end_of_turn],
        chat_template=TEMPLATES[family],
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _bos_first(bos: str, bos_id: int) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, bos_id)]
    )


# ---------------------------------------------------------------- model


def _model(
    kind: Family, tokenizer: PreTrainedTokenizerFast, seed: int, hidden: int, layers: int
) -> Any:
    """The model in float32, its weights drawn from ``seed`` alone."""
    config = kind.config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_SIZE,
        num_key_value_heads=hidden // HEAD_SIZE // 2,
        head_dim=HEAD_SIZE,
        max_position_embeddings=CONTEXT,
        sliding_window=None if kind.config is not Gemma3TextConfig else CONTEXT // 4,
        tie_word_embeddings=kind.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.generation_config = _generation(kind, tokenizer)
    return model


def _generation(kind: Family, tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(kind.end_of_turn)}
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=64,
        do_sample=False,
    )
