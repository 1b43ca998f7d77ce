"""Where a model's config comes from, and what of a spec is its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.planning.choices import patched
from engine.planning.model_config import config_of, layout_key, layout_of
from engine.planning.model_folder import Problem
from tests.unit.test_effects import fields_of


def _spec(**lora: object) -> Spec:
    raw = {
        "name": "n", "model": {"path": "org/name"}, "dataset": {"path": "d.json"},
        "lora": {"r": 8, **lora},
    }  # fmt: skip
    spec, complaints = check(raw)
    assert spec is not None, complaints
    return spec


def test_a_folder_comes_before_cache_and_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert config_of(str(tmp_path)) == ({"model_type": "llama"}, "folder")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    bundled = config_of("Qwen/Qwen2.5-0.5B")
    assert bundled is not None
    assert bundled[1] == "catalogue"
    assert bundled[0]["model_type"] == "qwen2"
    place = tmp_path / "hub" / "models--Qwen--Qwen2.5-0.5B"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots" / "abc").mkdir(parents=True)
    assert config_of("Qwen/Qwen2.5-0.5B") == bundled, "a download that was broken off"
    (place / "snapshots" / "abc" / "config.json").write_text('{"model_type": "own"}')
    assert config_of("Qwen/Qwen2.5-0.5B") == ({"model_type": "own"}, "cache")
    assert config_of("nobody/nothing") is None
    with pytest.raises(Problem, match="There is no model"):
        config_of(str(tmp_path / "missing"))


def test_sizes_are_no_part_of_a_layout() -> None:
    config = {"model_type": "llama"}
    first = layout_of(_spec(), config, "cuda", "bf16")
    assert layout_of(_spec(r=64, lora_alpha=3.0), config, "cuda", "bf16") == first
    assert layout_of(_spec(use_dora=True), config, "cuda", "bf16") != first
    raw = to_raw(_spec())
    raw["quantization"] = {"bits": 4, "bnb_4bit_use_double_quant": False}
    raw["training"] = {**raw.get("training", {}), "packing": True, "max_length": 77}
    spec, _ = check(raw)
    assert spec is not None
    packed = layout_of(spec, config, "cpu", "fp32")
    assert (packed.bits, packed.bnb_4bit_use_double_quant, packed.packing) == (4, False, True)
    assert packed.lora is not None
    assert "r" not in packed.lora


LAYOUT: dict[str, Any] = {
    "method": "pretrain", "model.path": "org/other", "model.revision": "v2",
    "model.trust_remote_code": True, "model.attn_implementation": "eager",
    "quantization.bits": 8, "quantization.bnb_4bit_quant_type": "fp4",
    "quantization.bnb_4bit_use_double_quant": False,
    "lora.lora_dropout": 0.1, "lora.target_modules": ["q_proj"],
    "lora.modules_to_save": ["lm_head"], "lora.trainable_tokens": ["<|new|>"],
    "lora.use_dora": True,
    "training.packing": True, "training.optim": "sgd", "training.gradient_checkpointing": "none",
}  # fmt: skip
"""Settings that another form is traced for, with another value."""
SIZES: dict[str, Any] = {
    "name": "other", "quantization.bnb_4bit_compute_dtype": "fp32",
    "lora.r": 64, "lora.lora_alpha": 3.0, "lora.use_rslora": True,
    "dataset.path": "elsewhere", "dataset.format": "text", "dataset.eval_fraction": 0.2,
    "dataset.chat_template": "chatml", "dataset.loss_on": "everything",
    "dataset.columns": {"text": "body"}, "dataset.roles": {"user": "customer"},
    "dataset.skip_samples": 7, "dataset.max_samples": 7,
    "dataset.sources": [{"path": "one"}, {"path": "other"}],
    "dataset.fixes": ["drop_empty"],
    "training.max_length": 64, "training.per_device_train_batch_size": 7,
    "training.gradient_accumulation_steps": 7, "training.num_train_epochs": 7.0,
    "training.max_steps": 7, "training.learning_rate": 7e-4,
    "training.embedding_learning_rate": 7e-6, "training.lr_scheduler_type": "linear",
    "training.warmup_steps": 7.0, "training.weight_decay": 0.7, "training.max_grad_norm": 7.0,
    "training.precision": "fp32", "training.seed": 7, "training.save_minutes": 7.0,
    "training.save_steps": 7, "training.save_total_limit": 7, "training.eval_steps": 7,
    "hardware.profile": "t4", "hardware.gpu": 1, "hardware.safe_mode": "off",
}  # fmt: skip
"""Settings that one form serves for. The precision is told apart from the spec."""


def test_every_setting_is_part_of_the_layout_or_not() -> None:
    assert sorted(fields_of()) == sorted([*LAYOUT, *SIZES])


@pytest.mark.parametrize(("field", "value"), [*LAYOUT.items(), *SIZES.items()])
def test_one_form_serves_for_what_has_the_same_layout(field: str, value: Any) -> None:
    raw = {**to_raw(_spec()), "quantization": {"bits": 4}, "training": {}}
    spec, _ = check(raw)
    assert spec is not None
    other = patched(spec, {field: value})
    assert other != spec
    is_same = layout_key(other, "cuda", "bf16") == layout_key(spec, "cuda", "bf16")
    assert is_same == (field in SIZES)


def test_device_and_precision_are_part_of_the_layout() -> None:
    keys = {
        layout_key(_spec(), "cuda", "bf16"), layout_key(_spec(), "cuda", "fp16"),
        layout_key(_spec(), "cpu", "bf16"),
    }  # fmt: skip
    assert len(keys) == 3
