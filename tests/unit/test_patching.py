"""What was changed of a spec since it was written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.contract.patching import changes, patched
from engine.contract.toml import EXAMPLE, to_raw
from engine.contract.validate import check

RAW = to_raw(EXAMPLE)


def test_patches_apply_in_order_and_leave_the_spec_as_it_was() -> None:
    before = copy.deepcopy(RAW)
    halved = {
        "training.per_device_train_batch_size": 1,
        "training.gradient_accumulation_steps": 8,
    }
    found = patched(RAW, [halved, {"training.gradient_accumulation_steps": 16}])
    assert found["training"]["per_device_train_batch_size"] == 1
    assert found["training"]["gradient_accumulation_steps"] == 16
    assert before == RAW


@pytest.mark.parametrize(
    ("patches", "kind"),
    [
        ([{"lora": None, "quantization": None}], "Full"),
        ([{"quantization": {"bits": 8}}], "LoRA 8-bit"),
        ([{"quantization.bits": 8}], "LoRA 8-bit"),
        ([{"lora": None, "quantization": None}, {"lora": {}}], "LoRA"),
        ([{"lora": None, "quantization": None}, {"lora.r": 4}], "LoRA"),
        ([{"lora.r": None}], "QLoRA 4-bit"),
    ],
)
def test_tables_come_and_go(patches: list[dict[str, Any]], kind: str) -> None:
    spec, complaints = check(patched(RAW, patches))
    assert not complaints
    assert spec is not None
    assert spec.kind == kind


def test_removing_what_is_not_there_changes_nothing() -> None:
    raw = {"name": "x"}
    assert patched(raw, [{"lora.r": None, "training": None, "name.x": None}]) == raw


def test_a_patch_that_makes_no_sense_is_complained_of_and_no_crash() -> None:
    for patch in ({"name.x": 1}, {"training.no_such": 1}, {"": 3}, {"training": 3}):
        spec, complaints = check(patched(RAW, [patch]))
        assert spec is None
        assert complaints


def test_a_value_of_a_patch_is_not_shared() -> None:
    patch: dict[str, Any] = {"lora.target_modules": ["q_proj"]}
    found = patched(RAW, [patch])
    found["lora"]["target_modules"].append("v_proj")
    assert patch == {"lora.target_modules": ["q_proj"]}


def test_changes_are_said_in_words() -> None:
    patch = {
        "training.max_length": 512,
        "training.packing": False,
        "training.optim": "adamw_8bit",
        "lora.lora_alpha": None,
        "lora.modules_to_save": ["lm_head"],
    }
    raw = patched(RAW, [{"lora.lora_alpha": 8.5}])
    assert changes(raw, patch) == [
        "training.max_length 1024 → 512",
        "training.optim adamw_torch → adamw_8bit",
        "lora.lora_alpha 8.5 → 32",
        'lora.modules_to_save [] → ["lm_head"]',
    ]
    assert changes({"name": "unfinished"}, {"training.max_length": 8}) == [
        "training.max_length none → 8"
    ]
