"""For every conflict rule what makes it fire, and a small change after which it does not."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract.spec import Spec
from engine.planning.choices import patched
from engine.planning.conflict_facts import Known
from engine.planning.conflicts import Conflict, check
from engine.planning.facts import GpuFacts, MachineFacts

GIB = 2**30
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "vocab_size": 32000,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 64,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "dtype": "bfloat16",
}  # fmt: skip
SPEC = msgspec.convert(
    {"name": "x", "model": {"path": "org/name"}, "dataset": {"path": "/d.jsonl"}, "lora": {}}, Spec
)
GPU = GpuFacts(index=0, name="RTX 3060", compute_capability=(8, 6), driver="581.4", cuda="13.0")
MACHINE = MachineFacts(
    python="3.11.9", engine="0.3", platform="linux", system="Ubuntu", machine="x86_64",
    ram_total_bytes=32 * GIB, store="/s", store_free_bytes=500 * GIB, store_filesystem="ext4",
    cache="/c", cache_free_bytes=500 * GIB, cache_filesystem="ext4", gpus=[GPU], torch_cuda="12.8",
    has_hub_token=True,
)  # fmt: skip
PACKAGES = {
    "torch": "2.13.0+cu128", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2",
    "bitsandbytes": "0.50.2", "accelerate": "1.15.0",
}  # fmt: skip
KNOWN = Known(
    rows=1000, is_cached=True, model_types=frozenset({"llama", "gemma2", "gemma3_text"}),
    packages={"flash_attn": "2.8.3", "kernels": ""},
)  # fmt: skip


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to the calm setting above."""

    spec: dict[str, Any] = {}
    """Dotted fields; None removes one."""
    machine: dict[str, Any] = {}
    gpu: dict[str, Any] | None = {}
    """None takes the card away."""
    config: dict[str, Any] = {}
    packages: dict[str, str | None] = {}
    known: dict[str, Any] = {}

    def on(self, other: Case) -> Case:
        """These changes after those of ``other``."""
        tables = [(getattr(other, f), getattr(self, f)) for f in self.__struct_fields__]
        merged = [
            {**(old or {}), **new} if new else old if new == {} else None for old, new in tables
        ]
        return Case(**dict(zip(self.__struct_fields__, merged, strict=True)))

    def the_spec(self) -> Spec:
        return patched(SPEC, self.spec)

    def conflicts(self, spec: Spec | None = None) -> list[Conflict]:
        return check(
            spec or self.the_spec(), self.the_machine(), {**CONFIG, **self.config},
            {k: v for k, v in {**PACKAGES, **self.packages}.items() if v is not None},
            msgspec.structs.replace(KNOWN, **self.known),
        )  # fmt: skip

    def the_machine(self) -> MachineFacts:
        machine = msgspec.structs.replace(MACHINE, **self.machine)
        if self.gpu is None:
            return msgspec.structs.replace(machine, gpus=[], gpu_trouble="no_driver")
        return msgspec.structs.replace(machine, gpus=[msgspec.structs.replace(GPU, **self.gpu)])


def spec(**tables: Any) -> Case:
    """A case of spec fields only: ``spec(training__packing=True)``."""
    return Case(spec={name.replace("__", "."): value for name, value in tables.items()})


def card(major: int, minor: int, **more: Any) -> Case:
    return Case(gpu={"compute_capability": (major, minor), **more})


NO_CARD = Case(gpu=None)
FULL = spec(lora=None)
FOUR, EIGHT = spec(quantization__bits=4), spec(quantization__bits=8)
FLASH = spec(model__attn_implementation="flash_attention_2")
EAGER = spec(model__attn_implementation="eager")
PACKED = spec(training__packing=True)
BF16, FP16, FP32 = (spec(training__precision=name) for name in ("bf16", "fp16", "fp32"))
PASCAL, TURING = card(6, 1), card(7, 5)
BNB_4BIT = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
WSL = Case(machine={"is_wsl": True})
UNCACHED = Case(known={"is_cached": False})

CASES: dict[str, tuple[Case, Case]] = {
    # precision
    "bf16_card": (BF16.on(TURING), card(8, 0)),
    "bf16_compute_dtype_card": (
        spec(quantization__bnb_4bit_compute_dtype="bf16").on(FOUR).on(TURING), EIGHT),
    "bf16_without_card": (BF16.on(NO_CARD), spec(training__precision="auto")),
    "fp16_without_card": (FP16.on(NO_CARD), FP32),
    "fp16_where_bf16": (FP16, TURING),
    "fp16_full": (FP16.on(FULL).on(TURING), Case(config={"dtype": "float16"})),
    "fp16_family": (Case(config={"model_type": "gemma2"}).on(TURING), card(8, 9)),
    "fp32_on_card": (FP32, PASCAL),
    "compute_dtype_differs": (
        spec(quantization__bnb_4bit_compute_dtype="fp16").on(FOUR).on(BF16), FP16),
    "fp16_unclipped": (spec(training__max_grad_norm=0).on(TURING), card(8, 6)),
    # quantization
    "quantised_full": (Case(config=BNB_4BIT).on(FULL), spec(lora__r=8)),
    "quantised_method": (Case(config=GPTQ), Case(config=BNB_4BIT)),
    "quantised_other_bits": (Case(config=BNB_4BIT).on(EIGHT), FOUR),
    "int8_card": (EIGHT.on(card(7, 0)), TURING),
    "bits_card": (FOUR.on(card(5, 2)), card(6, 0)),
    "bits_without_bitsandbytes": (
        FOUR.on(Case(packages={"bitsandbytes": None})), spec(quantization__bits=16)),
    "experts_stay": (FOUR.on(Case(config={"num_experts": 64})), Case(config={"num_experts": 1})),
    "saved_quantised": (
        FOUR.on(spec(lora__modules_to_save=["lm_head", "q_proj"])),
        spec(lora__modules_to_save=["lm_head"])),
    "dora_8bit": (EIGHT.on(spec(lora__use_dora=True)), FOUR),
    # attention
    "flash_card": (FLASH.on(TURING), card(8, 0)),
    "flash_without_card": (FLASH.on(NO_CARD), spec(model__attn_implementation="sdpa")),
    "flash_missing": (
        FLASH.on(Case(known={"packages": {"flash_attn": "", "kernels": ""}})),
        Case(known={"packages": {"flash_attn": "", "kernels": "0.11"}})),
    "flash_fp32": (FLASH.on(FP32), BF16),
    "flash_too_old": (
        FLASH.on(Case(known={"packages": {"flash_attn": "2.3.2"}})),
        Case(known={"packages": {"flash_attn": "2.3.3"}})),
    "sdpa_family": (
        spec(model__attn_implementation="sdpa").on(Case(config={"model_type": "gemma2"})), EAGER),
    "flash_softcap": (
        FLASH.on(Case(config={"attn_logit_softcapping": 50.0}))
        .on(Case(known={"packages": {"flash_attn": "2.5.9"}})),
        Case(config={"attn_logit_softcapping": None})),
    "packing_eager": (PACKED.on(EAGER).on(spec(training__max_length=4096)),
                      spec(training__max_length=1024)),
    "packing_fp32": (PACKED.on(FP32).on(spec(training__max_length=8192)), BF16),
    "packing_mask": (PACKED.on(spec(training__max_length=16384)), FLASH),
    "packing_mixes": (PACKED.on(Case(config={"model_type": "mamba2"})),
                      Case(config={"model_type": "llama"})),
    "eager_long": (EAGER.on(spec(training__max_length=8192)),
                   Case(config={"attn_logit_softcapping": 50.0})),
    # lengths
    "length_over_table": (
        spec(training__max_length=2048).on(
            Case(config={"model_type": "gpt2", "max_position_embeddings": None,
                         "n_positions": 1024})),
        spec(training__max_length=1024)),
    "length_over_context": (spec(training__max_length=8192), spec(training__max_length=4096)),
    "eval_without_rows": (
        spec(training__eval_steps=10, dataset__eval_fraction=0.0), spec(training__eval_steps=0)),
    "eval_too_late": (
        spec(training__eval_steps=100, training__max_steps=50), spec(training__max_steps=100)),
    "warmup_over_steps": (
        spec(training__warmup_steps=100.0, training__max_steps=50),
        spec(training__max_steps=200)),
    "warmup_unused": (
        spec(training__warmup_steps=10.0, training__lr_scheduler_type="constant"),
        spec(training__warmup_steps=0.03)),
    "batch_over_rows": (
        spec(training__per_device_train_batch_size=4, training__gradient_accumulation_steps=64)
        .on(Case(known={"rows": 100})), Case(known={"rows": 1000})),
    "many_passes": (spec(training__num_train_epochs=30.0), spec(training__num_train_epochs=3.0)),
    "never_saved": (spec(training__save_minutes=0.0), spec(training__save_steps=100)),
    # adapter
    "head_targeted": (
        spec(lora__target_modules=["q_proj", "lm_head"]), spec(lora__target_modules=["q_proj"])),
    "head_twice": (
        spec(lora__target_modules=["q_proj", "lm_head"], lora__modules_to_save=["lm_head"]),
        spec(lora__target_modules=["q_proj"])),
    "no_such_targets": (
        spec(lora__target_modules=["c_attn", "query_key_value"]),
        spec(lora__target_modules=["q_proj", "k_proj"])),
    "some_unknown_targets": (
        spec(lora__target_modules=["q_proj", "qkv_proj", "vproj"]),
        spec(lora__target_modules=["q_proj", "v_proj", "layers.3.mlp.up_proj"])),
    "unknown_saved": (
        spec(lora__modules_to_save=["embedtokens", "lm_head"]),
        spec(lora__modules_to_save=["embed_tokens", "lm_head", "norm", "self_attn"])),
    "rank_over_dimension": (spec(lora__r=512), spec(lora__r=256)),
    "adapter_weak": (spec(lora__r=256, lora__lora_alpha=16), spec(lora__lora_alpha=64)),
    "adapter_strong": (spec(lora__r=8, lora__lora_alpha=256), spec(lora__lora_alpha=16)),
    "rank_needs_rslora": (spec(lora__r=256), spec(lora__use_rslora=True)),
    "tied_embed_targeted": (
        spec(lora__target_modules=["q_proj", "embed_tokens"]).on(
            Case(config={"tie_word_embeddings": True})),
        Case(config={"tie_word_embeddings": False})),
    "embed_without_tied_head": (
        spec(lora__modules_to_save=["embed_tokens"]).on(Case(config={"tie_word_embeddings": True})),
        Case(config={"tie_word_embeddings": False})),
    "head_without_tied_embed": (
        spec(lora__modules_to_save=["lm_head"]).on(Case(config={"tie_word_embeddings": True})),
        spec(lora__modules_to_save=["lm_head", "embed_tokens"])),
    "embedding_rate_high": (
        spec(training__embedding_learning_rate=1e-3, lora__modules_to_save=["embed_tokens"]),
        spec(training__learning_rate=1e-3)),
    "embedding_rate_missing": (
        spec(lora__modules_to_save=["embed_tokens"]),
        spec(training__embedding_learning_rate=2e-5)),
    # optimizer and card
    "paged_windows": (
        spec(training__optim="paged_adamw_8bit").on(WSL), Case(machine={"is_wsl": False})),
    "optimizer_without_bitsandbytes": (
        spec(training__optim="adamw_8bit").on(Case(packages={"bitsandbytes": None})),
        Case(packages={"bitsandbytes": "0.50.2"})),
    "rate_that_ruins": (spec(training__learning_rate=5.0), spec(training__learning_rate=0.01)),
    "rate_that_ruins_all": (
        spec(lora=None, training__learning_rate=5.0), spec(training__learning_rate=0.01)),
    "sgd_small_rate": (spec(training__optim="sgd"), spec(training__learning_rate=0.01)),
    "rate_of_full_with_lora": (spec(training__learning_rate=1e-5), FULL),
    "rate_of_lora_with_full": (FULL, spec(training__learning_rate=2e-5)),
    "rate_very_high": (
        spec(training__learning_rate=0.01), Case(config={"hidden_size": 64})),
    "decay_high": (spec(training__weight_decay=0.5), spec(training__weight_decay=0.1)),
    "offload_without_card": (
        spec(training__gradient_checkpointing="offload").on(NO_CARD), card(8, 6)),
    "model_without_card": (NO_CARD, Case(config={"hidden_size": 576})),
    "no_such_card": (spec(hardware__gpu=1), spec(hardware__gpu=0)),
    # environment
    "package_missing": (Case(packages={"trl": None}), Case(packages={"trl": "1.16.0"})),
    "torch_old": (Case(packages={"torch": "2.9.1+cu128"}), Case(packages={"torch": "2.10.0"})),
    "transformers_old": (
        Case(packages={"transformers": "4.57.6"}), Case(packages={"transformers": "5.0.0"})),
    "trl_old": (Case(packages={"trl": "0.29.0"}), Case(packages={"trl": "1.0.0"})),
    "bitsandbytes_old": (FOUR.on(Case(packages={"bitsandbytes": "0.46.0"})),
                         Case(packages={"bitsandbytes": "0.46.1"})),
    "blackwell_torch": (card(12, 0).on(Case(packages={"torch": "2.6.0+cu126"})), card(8, 9)),
    "blackwell_cuda": (card(12, 0).on(Case(packages={"torch": "2.13.0+cu126"})),
                       Case(packages={"torch": "2.13.0+cu128"})),
    "pascal_torch": (PASCAL, Case(packages={"torch": "2.13.0+cu126"})),
    "volta_torch": (card(7, 0).on(Case(packages={"torch": "2.13.0+cu130"})), TURING),
    "driver_old": (card(8, 6, cuda="12.4").on(Case(packages={"torch": "2.13.0+cu130"})),
                   Case(packages={"torch": "2.13.0+cu128"})),
    "torch_without_cuda": (Case(packages={"torch": "2.13.0+cpu"}), NO_CARD),
    "bitsandbytes_cuda13": (
        FOUR.on(Case(packages={"torch": "2.13.0+cu130", "bitsandbytes": "0.47.0"})),
        Case(packages={"bitsandbytes": "0.48.0"})),
    "bitsandbytes_forced": (FOUR.on(Case(known={"environ": {"BNB_CUDA_VERSION": "118"}})),
                            Case(known={"environ": {"BNB_CUDA_VERSION": "128"}})),
    "segments_windows": (
        spec(hardware__safe_mode="off").on(WSL).on(
            Case(known={"environ": {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}})),
        Case(known={"environ": {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}})),
    # templates
    "template_end": (spec(dataset__chat_template="chatml")
                     .on(Case(known={"unknown_end": "<|im_end|>"})),
                     Case(known={"unknown_end": ""})),
    # storage
    "store_9p": (Case(machine={"store_filesystem": "9p"}),
                 Case(machine={"store_filesystem": "xfs"})),
    "model_9p": (spec(model__path="/mnt/c/models/llama").on(WSL),
                 spec(model__path="/mnt/cc/llama")),
    "no_room_to_save": (FULL.on(Case(machine={"store_free_bytes": GIB})),
                        Case(machine={"store_free_bytes": 100 * GIB})),
    "little_room_to_save": (FULL.on(Case(machine={"store_free_bytes": 20 * GIB})),
                            Case(machine={"store_free_bytes": 100 * GIB})),
    "no_room_to_download": (
        spec(model__path="meta-llama/Llama-3.1-8B").on(UNCACHED)
        .on(Case(machine={"cache_free_bytes": 5 * GIB})), Case(known={"is_cached": True})),
    "offline_model": (UNCACHED.on(Case(machine={"is_offline": True})),
                      Case(machine={"is_offline": False})),
    "misspelt_model": (
        spec(model__path="mistralai/Mistral-7B-v0.3x").on(UNCACHED)
        .on(Case(machine={"is_offline": False})),
        spec(model__path="mistralai/Mistral-7B-v0.4")),
    "gated_without_token": (
        spec(model__path="meta-llama/Llama-3.1-8B").on(UNCACHED)
        .on(Case(machine={"has_hub_token": False})), Case(machine={"has_hub_token": True})),
    "model_unknown": (Case(config={"model_type": "llama9"}), Case(config={"model_type": "llama"})),
    "model_needs_code": (
        Case(config={"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}),
        spec(model__trust_remote_code=True)),
    "code_not_needed": (spec(model__trust_remote_code=True), Case(config={"model_type": "own"})),
    "encoder_decoder": (Case(config={"is_encoder_decoder": True}),
                        Case(config={"is_encoder_decoder": False})),
}  # fmt: skip
