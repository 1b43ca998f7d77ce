"""What a step of the real trainer takes on real tensors, beside what its trace foretells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import engine.methods.sft.train as sft
from engine.contract.spec import DatasetSpec, LoraSpec, ModelSpec, Spec, TrainingSpec
from engine.planning.form import Form, Layout, Point, value
from engine.worker import train_job
from engine.worker.by_sample import attend_by_sample, would_attend_by_sample
from engine.worker.loading import DTYPES, Compute, add_adapter
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.samples import Samples
from engine.worker.trace.live_bytes import LiveBytes

VOCABULARY = 1000
_COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 2048,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
    "mistral": {"model_type": "mistral", "sliding_window": 600},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True},
    "gemma": {"model_type": "gemma"},
    "gemma2": {"model_type": "gemma2", "sliding_window": 600, "query_pre_attn_scalar": 16},
    "phi3": {"model_type": "phi3", "num_key_value_heads": 6, "sliding_window": None},
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A way to train a tiny model."""

    family: str
    lora: dict[str, Any] | None
    checkpointing: str
    batch: int
    length: int
    optim: str = "adamw_torch"
    accumulates: bool = False
    packing: bool = False
    attention: str = "sdpa"
    layers: int = 2
    precision: str = "fp32"
    bits: int = 16

    @property
    def id(self) -> str:
        tuned = f"r{self.lora['r']}" if self.lora else "full"
        extra = [name for name in ("accumulates", "packing") if getattr(self, name)]
        extra += [self.attention] if self.attention != "sdpa" else []
        extra += [self.precision] if self.precision != "fp32" else []
        extra += [f"{self.bits}bit"] if self.bits < 16 else []
        rest = sorted(set(self.lora or {}) - {"r"})
        return "-".join([
            self.family, tuned, *rest, self.checkpointing, f"b{self.batch}", f"s{self.length}",
            self.optim, *extra,
        ])  # fmt: skip

    @property
    def config(self) -> dict[str, Any]:
        return {**_COMMON, **FAMILIES[self.family], "num_hidden_layers": self.layers}

    @property
    def in_line(self) -> bool:
        """Whether a batch's rows are computed as one."""
        return would_attend_by_sample(self.config, self.attention)

    @property
    def layout(self) -> Layout:
        """What is traced."""
        lora = None if self.lora is None else {k: v for k, v in self.lora.items() if k != "r"}
        return Layout(
            config=self.config, device="cpu", precision=self.precision, lora=lora,  # type: ignore[arg-type]
            optim=self.optim, bits=self.bits,  # type: ignore[arg-type]
            gradient_checkpointing=self.checkpointing,  # type: ignore[arg-type]
            attn_implementation=self.attention, packing=self.packing,
        )  # fmt: skip

    @property
    def point(self) -> Point:
        """Where the form is evaluated."""
        rank = self.lora["r"] if self.lora else 0
        return Point(batch=self.batch, length=self.length, rank=rank, accumulates=self.accumulates)

    @property
    def spec(self) -> Spec:
        """The same for the worker."""
        lora: dict[str, Any] = {} if self.lora is None else {"lora": LoraSpec(**self.lora)}
        return Spec(
            name="truth", model=ModelSpec(path="tiny", attn_implementation=self.attention),  # type: ignore[arg-type]
            dataset=DatasetSpec(path="rows.json", eval_fraction=0.0),
            training=TrainingSpec(
                max_length=self.length, per_device_train_batch_size=self.batch, max_steps=2,
                gradient_accumulation_steps=2 if self.accumulates else 1, optim=self.optim,  # type: ignore[arg-type]
                gradient_checkpointing=self.checkpointing, packing=self.packing,  # type: ignore[arg-type]
                save_minutes=0, precision=self.precision, seed=0,  # type: ignore[arg-type]
            ),
            **lora,
        )  # fmt: skip


def _lengths(case: Case) -> list[int]:
    """A batch has a row of full length and, if it has more, shorter ones where they are padded;
    those in line take most when all are full. Of two, the last one has gradients beside it."""
    batch = [case.length] + [case.length - (0 if case.in_line else 3)] * (case.batch - 1)
    return [case.length] * case.batch + batch if case.accumulates else batch


def _samples(case: Case) -> Samples:
    if case.packing:
        # Two samples a row.
        parts = [part for n in _lengths(case) for part in (n // 2, n - n // 2)]
    else:
        parts = _lengths(case)
    random = np.random.default_rng(0)
    return Samples.of(
        (random.integers(3, VOCABULARY, size), np.ones(size, np.bool_)) for size in parts
    )


def trainer_of(case: Case, tokenizer: Any, report: Report, folder: Path) -> Any:
    """The worker's own trainer, about to train a random model."""
    spec = case.spec
    compute = Compute(device="cpu", precision=case.precision)  # type: ignore[arg-type]
    values = dict(case.config)
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    torch.manual_seed(0)
    dtype = DTYPES[case.precision] if case.lora else torch.float32
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, trust_remote_code=False, attn_implementation=case.attention, dtype=dtype
    )
    attend_by_sample(model)
    if case.bits == 4:
        _quantize(model)
    if spec.lora:
        model = add_adapter(model, spec.lora, 0)
    samples = _samples(case)
    prepared = Prepared(train=samples, evaluation=samples.take([]))
    loaded = train_job.Loaded(compute, tokenizer, model, sft, prepared)
    course = train_job.plot_course(spec, report, folder, loaded, resumed=None)
    return train_job.set_out(spec, loaded, folder, course, resumed=None)


def _quantize(model: Any) -> None:
    """As transformers does it while it loads a model: all linear layers but the head."""
    from bitsandbytes.nn import Linear4bit

    for name, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and module is not model.get_output_embeddings():
            packed = Linear4bit(
                module.in_features, module.out_features, bias=module.bias is not None,
                compute_dtype=module.weight.dtype, compress_statistics=True, quant_type="nf4",
            )  # fmt: skip
            packed.load_state_dict(module.state_dict())
            above, _, last = name.rpartition(".")
            setattr(model.get_submodule(above), last, packed.to("cpu"))
    model.requires_grad_(False)
    model.is_loaded_in_4bit = True


def measure(case: Case, tokenizer: Any, report: Report, folder: Path) -> LiveBytes:
    """Train two steps for real; what was alive, by stage."""
    trainer = trainer_of(case, tokenizer, report, folder)
    live = LiveBytes()
    live.hold(trainer.model.parameters(), "weights")
    live.hold(trainer.model.buffers(), "weights")
    trainer.compute_loss = _marked(live, "forward", trainer.compute_loss)
    trainer.accelerator.backward = _marked(live, "backward", trainer.accelerator.backward)
    clip = trainer.accelerator.clip_grad_norm_
    trainer.accelerator.clip_grad_norm_ = _marked(live, "optimizer", clip)
    with live:
        trainer.train()
    return live


def _marked(live: LiveBytes, stage: str, function: Any) -> Any:
    def called(*args: Any, **kwargs: Any) -> Any:
        live.enter(stage)
        return function(*args, **kwargs)

    return called


def stages_of(form: Form, point: Point) -> dict[str, int]:
    """The form's peak of each stage that :func:`measure` tells apart."""
    found: dict[str, int] = {}
    for segment in form.segments:
        if segment.moment == "train" and segment.holds_at(point):
            stage = "forward" if segment.name == "loss" else segment.name
            total = sum(value(c, point) for c in segment.parts.values())
            found[stage] = max(found.get(stage, 0), round(total))
    return found
