"""What a run is: one TOML file, read into these structs.

Names are those of transformers, PEFT and TRL. Every field carries its description here and nowhere
else: the form's tooltips, ``fettle spec --example`` and the JSON schema all come from it. Checking
a spec is :mod:`engine.contract.validate`'s work, reading and writing TOML that of
:mod:`engine.contract.toml`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.contract.table import Table

__all__ = [
    "DatasetSpec",
    "HardwareSpec",
    "LoraSpec",
    "ModelSpec",
    "QuantizationSpec",
    "SourceSpec",
    "Spec",
    "Table",
    "TrainingSpec",
]

FORMAT = 1
"""Version of the spec's shape, written to ``run.json``."""

MAX_SAMPLE_TOKENS = 1 << 20
MAX_STEPS = 10**9


class ModelSpec(Table, frozen=True, kw_only=True):
    """The model to start from."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="A folder with a config.json, or a Hugging Face id such as "
            "mistralai/Mistral-7B-v0.3.",
        ),
    ]
    revision: Annotated[
        str | None,
        Meta(description="Branch, tag or commit on the hub. Left out: the newest."),
    ] = None
    trust_remote_code: Annotated[
        bool,
        Meta(description="Let the model's own Python files run on this machine. Leave off."),
    ] = False
    attn_implementation: Annotated[
        Literal["auto", "sdpa", "eager", "flash_attention_2"],
        Meta(description="How attention is computed. auto takes sdpa, which is in torch itself."),
    ] = "auto"


class QuantizationSpec(Table, frozen=True, kw_only=True):
    """How the frozen base weights are kept in memory (bitsandbytes)."""

    bits: Annotated[
        Literal[4, 8, 16],
        Meta(
            description="4 needs the least memory (QLoRA), 8 about twice that, 16 keeps them as "
            "they are."
        ),
    ] = 4
    bnb_4bit_quant_type: Annotated[
        Literal["nf4", "fp4"],
        Meta(description="Number format of 4-bit weights. nf4 suits trained weights best."),
    ] = "nf4"
    bnb_4bit_use_double_quant: Annotated[
        bool,
        Meta(description="Quantize the scales too: saves about 0.4 bit a weight."),
    ] = True
    bnb_4bit_compute_dtype: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Meta(description="Precision that 4-bit weights are unpacked to. auto follows precision."),
    ] = "auto"


class LoraSpec(Table, frozen=True, kw_only=True):
    """A small adapter is trained, the base stays as it is. Without this table all weights train."""

    r: Annotated[
        int,
        Meta(ge=1, le=1024, description="Rank: how much the adapter can learn. 8 to 64 is usual."),
    ] = 16
    lora_alpha: Annotated[
        float,
        Meta(gt=0, description="Strength of the adapter; it is scaled by lora_alpha / r."),
    ] = 32
    lora_dropout: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of inputs left out at random, against overfitting."),
    ] = 0.0
    target_modules: Annotated[
        list[str] | str,
        Meta(
            description="Layers that get an adapter: all-linear, or a list of names such as "
            "q_proj, v_proj."
        ),
    ] = "all-linear"
    modules_to_save: Annotated[
        list[str],
        Meta(
            description="Layers trained in full and saved with the adapter. embed_tokens or "
            "lm_head here make the adapter as large as those layers."
        ),
    ] = []
    trainable_tokens: Annotated[
        list[str],
        Meta(
            description="Tokens whose own rows in embed_tokens and lm_head are trained, and no "
            "others: for tokens that are new to the model, such as <|im_start|>. Costs next to "
            "nothing in the file."
        ),
    ] = []
    use_rslora: Annotated[
        bool,
        Meta(description="Scale by lora_alpha / sqrt(r): steadier at high rank."),
    ] = False
    use_dora: Annotated[
        bool,
        Meta(description="Learn size and direction apart: a little better, a little slower."),
    ] = False


class TrainingSpec(Table, frozen=True, kw_only=True):
    """How to train."""

    max_length: Annotated[
        int,
        Meta(
            ge=8,
            le=MAX_SAMPLE_TOKENS,
            description="Longest sample in tokens; what is longer is cut. Memory grows with it.",
        ),
    ] = 1024
    packing: Annotated[
        bool,
        Meta(
            description="Put several short samples into one row, kept apart: steps are fuller, and "
            "faster on short data."
        ),
    ] = False
    per_device_train_batch_size: Annotated[
        int,
        Meta(ge=1, le=4096, description="Samples computed at once. Memory grows with it."),
    ] = 2
    gradient_accumulation_steps: Annotated[
        int,
        Meta(
            ge=1,
            le=65536,
            description="Batches added up before the weights change. Batch times "
            "this is the effective batch.",
        ),
    ] = 4
    num_train_epochs: Annotated[
        float,
        Meta(gt=0, le=10000, description="How often the data is gone through."),
    ] = 1.0
    max_steps: Annotated[
        int,
        Meta(
            ge=-1,
            le=MAX_STEPS,
            description="Stop after this many steps whatever the epochs; -1: by epochs.",
        ),
    ] = -1
    learning_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=10,
            description="Size of a step. 2e-4 suits LoRA, 1e-5 to 5e-5 a full fine-tune.",
        ),
    ] = 2e-4
    embedding_learning_rate: Annotated[
        Annotated[float, Meta(gt=0, le=10)] | None,
        Meta(
            description="A rate of its own for embed_tokens and lm_head, where they "
            "are trained; 2 to 10 times smaller than learning_rate. Left out: the same."
        ),
    ] = None
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup"],
        Meta(description="How the learning rate falls over the run."),
    ] = "cosine"
    warmup_steps: Annotated[
        float,
        Meta(
            ge=0,
            description="Steps over which the rate rises from 0; below 1 it is a share of "
            "all steps.",
        ),
    ] = 0.03
    weight_decay: Annotated[
        float,
        Meta(ge=0, le=10, description="Pull of the weights towards 0, against overfitting."),
    ] = 0.0
    max_grad_norm: Annotated[
        float,
        Meta(ge=0, description="Gradients longer than this are shortened to it; 0 never."),
    ] = 1.0
    optim: Annotated[
        Literal[
            "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "sgd", "adafactor"
        ],
        Meta(
            description="Rule that changes the weights. adamw_8bit needs a quarter of the memory "
            "of adamw_torch."
        ),
    ] = "adamw_torch"
    gradient_checkpointing: Annotated[
        Literal["none", "full", "offload"],
        Meta(
            description="full computes activations again instead of keeping them: much less "
            "memory, about a quarter slower. offload also moves them to RAM."
        ),
    ] = "full"
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Meta(
            description="Number format of the computation. auto: bf16 where the card has it, fp16 "
            "on older cards, fp32 without a GPU."
        ),
    ] = "auto"
    seed: Annotated[
        int,
        Meta(ge=0, lt=2**32, description="The same seed gives the same run."),
    ] = 42
    save_minutes: Annotated[
        float,
        Meta(
            ge=0,
            le=1440,
            description="Save at least this often: the most that a power cut can "
            "cost. 0 turns saving by time off.",
        ),
    ] = 5.0
    save_steps: Annotated[
        int,
        Meta(ge=0, le=MAX_STEPS, description="Also save every so many steps; 0: by time only."),
    ] = 0
    save_total_limit: Annotated[
        int,
        Meta(
            ge=2,
            le=1000,
            description="Newest saves kept; older ones are removed after a newer one is "
            "verified. The best one on the held-back rows is kept besides.",
        ),
    ] = 3
    eval_steps: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_STEPS,
            description="Measure the held-back rows every so many steps; 0: at the end.",
        ),
    ] = 0


class HardwareSpec(Table, frozen=True, kw_only=True):
    """Where to train."""

    profile: Annotated[
        str,
        Meta(
            description="The card to plan for, such as rtx-3060-12; auto is the one that is there. "
            "Training itself always uses the card that is there."
        ),
    ] = "auto"
    gpu: Annotated[
        int,
        Meta(
            ge=0,
            le=255,
            description="Number of the card, as nvidia-smi counts them; where CUDA_VISIBLE_DEVICES "
            "is set, its place in that list, from 0.",
        ),
    ] = 0
    safe_mode: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Avoid what is known to hang or fail under WSL and on small cards, at a "
            "small cost in speed. auto: where it is needed."
        ),
    ] = "auto"


class Spec(Table, frozen=True, kw_only=True):
    """A run."""

    name: Annotated[
        str,
        Meta(min_length=1, max_length=80, description="A name to know the run by."),
    ]
    method: Annotated[
        Literal["sft", "pretrain"],
        Meta(description="sft learns answers from conversations; pretrain learns from plain text."),
    ] = "sft"
    model: ModelSpec
    quantization: QuantizationSpec | UnsetType = UNSET
    lora: LoraSpec | UnsetType = UNSET
    dataset: DatasetSpec
    training: TrainingSpec = TrainingSpec()
    hardware: HardwareSpec = HardwareSpec()

    @property
    def bits(self) -> int:
        """Bits of a base weight: 4, 8 or 16."""
        return self.quantization.bits if self.quantization is not UNSET else 16

    @property
    def packs_rows(self) -> bool:
        """Whether samples share rows. Blocks of pretraining are full as they are."""
        return self.training.packing and self.method != "pretrain"

    @property
    def kind(self) -> str:
        """How it is tuned, in the words of the field."""
        if self.lora is UNSET:
            return "Full"
        return {4: "QLoRA 4-bit", 8: "LoRA 8-bit", 16: "LoRA"}[self.bits]
