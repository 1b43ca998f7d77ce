"""Loads tokenizer and model as the spec wants them, on the device that is there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from engine.contract.spec import LoraSpec, ModelSpec, Spec
from engine.planning.cards import chosen, visible
from engine.planning.safe_mode import NOTHING_LEFT_OUT, SafeMode
from engine.worker import int8_inputs, safely
from engine.worker.by_sample import attend_by_sample
from engine.worker.failures import JobError
from engine.worker.hub_reach import must_be_reachable
from engine.worker.report import Report

Precision = Literal["bf16", "fp16", "fp32"]
DTYPES: dict[str, torch.dtype] = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32
}  # fmt: skip
BF16_CAPABILITY = 8
"""First CUDA capability with bf16 in hardware (Ampere)."""


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """Where and in which number format is computed."""

    device: Literal["cuda", "cpu"]
    precision: Precision
    safe: SafeMode = NOTHING_LEFT_OUT
    """What is left out on this machine."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation."""
        return DTYPES[self.precision]


def choose_compute(spec: Spec, report: Report) -> Compute:
    """The device and precision for a spec; says what ``auto`` came to. Raises JobError if a
    certain card is wanted and not there."""
    platform, segments = safely.this_platform(), False
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        show_only_card(spec.hardware.gpu)
        segments = safely.before_cuda(spec.hardware.safe_mode, platform)
    device: Literal["cuda", "cpu"] = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and spec.hardware.gpu > 0:
        raise JobError(
            "no_gpu",
            f"There is no card number {spec.hardware.gpu}.",
            cause="torch finds no card of that number that it can use.",
            remedy="`nvidia-smi` lists the cards; the first is 0. Set hardware.gpu to one of them.",
        )
    precision, reason = _precision(spec.training.precision, device)
    safe = safely.choose(spec, device, platform)
    if reason and not (precision == "fp16" and safe.has("fp16")):
        report.decided(f"Precision is {precision}.", reason)
    safely.tell(spec, safe, report, precision=precision, segments=segments)
    safely.cap_memory(safe)
    return Compute(device=device, precision=precision, safe=safe)


def show_only_card(number: int) -> None:
    """Hide all cards but this from CUDA, which must not have started. Where somebody has hidden
    some already, the number counts those that are left. Raises JobError if there are too few."""
    left = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = chosen(number, left)
    if name is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = name
    elif cards := visible(left):
        raise JobError(
            "no_gpu",
            f"There is no card number {number}.",
            cause=f"CUDA_VISIBLE_DEVICES={left} lets Fettle use {len(cards)} of the cards, "
            "counted from 0.",
            remedy="Set hardware.gpu to one of them, or start Fettle without CUDA_VISIBLE_DEVICES.",
        )


def _precision(
    wanted: Literal["auto", "bf16", "fp16", "fp32"], device: str
) -> tuple[Precision, str]:
    """The precision, and why if it is not the one that was asked for."""
    if device == "cpu":
        if wanted in ("auto", "fp16"):
            return "fp32", "There is no GPU; without one fp32 is the quickest that is exact."
        return ("bf16" if wanted == "bf16" else "fp32"), ""
    has_bf16 = torch.cuda.get_device_capability()[0] >= BF16_CAPABILITY
    if wanted == "auto":
        found: Precision = "bf16" if has_bf16 else "fp16"
        return found, f"The card {'has' if has_bf16 else 'lacks'} bf16 in hardware."
    if wanted == "bf16" and not has_bf16:
        return "fp16", "The card lacks bf16 in hardware."
    return wanted, ""


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns what the loaders raise for a model that is not there, or no model, into a JobError."""
    must_be_reachable(path)
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        here = Path(path).is_dir()
        raise JobError(
            "missing_model",
            f"The model {path} cannot be loaded.",
            cause=" ".join(str(error).split())[:400],
            remedy="Choose a folder with config.json, tokenizer and model.safetensors in it."
            if here
            else "Check the name, the network and, for a gated model, that you have access to it.",
        ) from error


def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a token to pad with. Raises JobError if it is not there, or has
    no end token."""
    with explained(model.path):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    if tokenizer.pad_token is None:
        # Padding is masked and has no targets, so any existing token will do; a new one would
        # need the embedding to grow.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise JobError(
            "bad_model",
            "The tokenizer has no end token.",
            cause="Without one, samples can be neither ended nor padded.",
            remedy="Choose another model, or set eos_token in its tokenizer_config.json.",
        )
    return tokenizer


def load_model(spec: Spec, compute: Compute) -> PreTrainedModel:
    """The base model with its weights as the spec's quantization says, on the device. Raises
    JobError if there is none."""
    implementation = spec.model.attn_implementation
    if spec.bits == 8:
        int8_inputs.let_go()
    with explained(spec.model.path):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            spec.model.path,
            revision=spec.model.revision,
            trust_remote_code=spec.model.trust_remote_code,
            # By itself transformers takes sdpa, or eager for the few models that have no other.
            attn_implementation=None if implementation == "auto" else implementation,
            dtype=_weight_dtype(spec, compute),
            quantization_config=quantization(spec, compute),
            device_map={"": 0 if compute.device == "cuda" else "cpu"},
            # Never a pickle, even where a repository has nothing else.
            use_safetensors=True,
        )
    if spec.method != "pretrain":  # Its blocks are full, and all of one length.
        attend_by_sample(model)
    return model


def _weight_dtype(spec: Spec, compute: Compute) -> torch.dtype:
    """Weights that are trained in full stay in fp32, whatever the computation: an update is often
    smaller than half precision can add."""
    return torch.float32 if not spec.lora else compute.dtype


def quantization(spec: Spec, compute: Compute) -> BitsAndBytesConfig | None:
    """The spec's quantization for transformers; None for weights as they are."""
    if not spec.quantization or spec.bits == 16:
        return None
    if spec.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    wanted = spec.quantization.bnb_4bit_compute_dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.quantization.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=spec.quantization.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=compute.dtype if wanted == "auto" else DTYPES[wanted],
    )


def add_adapter(
    model: PreTrainedModel, lora: LoraSpec, seed: int, token_ids: Sequence[int] = (),
    revision: str | None = None,
) -> Any:  # fmt: skip
    """The model with a fresh adapter, whose weights are a function of the seed; of ``token_ids``
    the embeddings are trained too. Its config names the model's ``revision``. Raises JobError if
    the model has no such layers."""
    seed_everything(seed)
    try:
        adapted = adapt(model, lora, token_ids)
    except ValueError as error:
        raise _bad_adapter(str(error)) from error
    if isinstance(adapted.get_output_embeddings(), BaseTunerLayer):
        raise _bad_adapter("The loss is computed from lm_head itself, past any adapter on it.")
    adapted.active_peft_config.revision = revision
    # What is trained stays in fp32: the scaler of fp16 wants it, small updates need it.
    for parameter in trainable(adapted).values():
        parameter.data = parameter.data.float()
    return adapted


def adapt(model: PreTrainedModel, lora: LoraSpec, token_ids: Sequence[int] = ()) -> Any:
    """The model as PEFT makes it for the spec. Raises ValueError, JobError."""
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    config = lora_config(lora, keep_tied=tied)
    if token_ids:
        config.trainable_token_indices = {name: list(token_ids) for name in _embeddings(model)}
    adapted = get_peft_model(model, config)
    if token_ids:
        _lend_bias(adapted.get_output_embeddings())
    return adapted


def _embeddings(model: PreTrainedModel) -> list[str]:
    """Names of the layers that have a row for each token: first the input's, then the output's."""
    names = {id(module): name for name, module in model.named_modules()}
    whole: Any = model
    ends = (whole.get_input_embeddings(), whole.get_output_embeddings())
    return [names[id(module)] for module in ends if module is not None]


def _lend_bias(head: Any) -> None:
    """TRL computes the loss from the head's weight and bias; PEFT's wrapper has but the weight, and
    leaves a bias out. Raises JobError if there is one."""
    if getattr(head.original_module, "bias", None) is not None:
        raise _bad_adapter("lm_head has a bias, which is lost where single tokens are trained.")
    head.bias = None


def ids_of(tokens: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of tokens, in order, each once. Raises JobError if the tokenizer lacks one."""
    known = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in known]
    if missing:
        raise JobError(
            "bad_adapter",
            f"The tokenizer has no token {missing[0]!r}.",
            cause="lora.trainable_tokens names tokens that the model has a row for.",
            remedy="Write it as in the model's tokenizer.json, or take it out of the list.",
        )
    return sorted({known[token] for token in tokens})


def _bad_adapter(cause: str) -> JobError:
    return JobError(
        "bad_adapter",
        "The adapter does not fit the model.",
        cause=" ".join(cause.split())[:400],
        remedy='Write lora.target_modules = "all-linear"; lm_head belongs into modules_to_save.',
    )


def lora_config(lora: LoraSpec, *, keep_tied: bool = False) -> LoraConfig:
    """The spec's adapter for PEFT. ``keep_tied``: embed_tokens and lm_head stay one matrix where
    both are trained."""
    tie = keep_tied and {"embed_tokens", "lm_head"} <= set(lora.modules_to_save)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
        # A copy: PEFT adds to the list where embeddings are tied.
        modules_to_save=list(lora.modules_to_save) or None,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        ensure_weight_tying=tie,
    )


def seed_everything(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
