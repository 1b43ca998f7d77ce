"""Where a model's config comes from, and what of a spec is its layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.planning.model_config import config_of, layout_of
from engine.planning.model_folder import Problem


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
