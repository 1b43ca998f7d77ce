"""What a change does to the result: one table, and everybody who offers a change keeps to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from engine.contract import effects
from engine.contract.effects import changes_result, effect_of, sentence_of
from engine.contract.shape import table_of
from engine.contract.spec import Spec
from engine.diagnosis import problems
from engine.diagnosis.certificate.settings import TOLD_ELSEWHERE, bearing_of
from engine.diagnosis.comeback import Ending, plan_comeback
from engine.planning import rungs
from engine.planning.choices import patched
from tests.unit.plan_forms import spec_of

OTHER = {
    "method", "model.path", "model.revision", "model.trust_remote_code",
    "quantization.bits", "quantization.bnb_4bit_quant_type",
    "quantization.bnb_4bit_use_double_quant", "quantization.bnb_4bit_compute_dtype",
    "lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.target_modules",
    "lora.modules_to_save", "lora.trainable_tokens", "lora.use_rslora", "lora.use_dora",
    "dataset.path", "dataset.format", "dataset.columns", "dataset.roles",
    "dataset.skip_samples", "dataset.max_samples", "dataset.sources",
    "dataset.chat_template", "dataset.loss_on", "dataset.eval_fraction",
    "dataset.fixes",
    "training.max_length", "training.packing", "training.num_train_epochs", "training.max_steps",
    "training.learning_rate", "training.embedding_learning_rate", "training.lr_scheduler_type",
    "training.warmup_steps", "training.weight_decay", "training.max_grad_norm",
    "training.precision", "training.seed",
}  # fmt: skip
TOGETHER = {effects.BATCH, effects.ACCUMULATION}
HALVED = {effects.BATCH: 1, effects.ACCUMULATION: 8}
RAW = {"training": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}}
DROPPING = {**RAW, "lora": {"lora_dropout": 0.1}}


def fields_of(kind: type[msgspec.Struct] = Spec, prefix: str = "") -> Iterator[str]:
    """All settings of a spec by their dotted names."""
    for field in msgspec.structs.fields(kind):
        table = table_of(field.type)
        if table is None:
            yield f"{prefix}{field.name}"
        else:
            yield from fields_of(table, f"{field.name}.")


def test_every_setting_was_thought_of() -> None:
    known = [effects.SAME, effects.NEAR, TOGETHER, {effects.OPTIM}, OTHER]
    assert sorted(fields_of()) == sorted(field for each in known for field in each)
    assert all(changes_result({field: 1}) for field in OTHER)


@pytest.mark.parametrize(
    ("patch", "spec", "effect"),
    [
        ({}, None, "same"),
        (HALVED, None, "same"),
        (HALVED, RAW, "same"),
        (HALVED, DROPPING, "near"),
        ({effects.ACCUMULATION: 4, effects.BATCH: 2}, DROPPING, "same"),
        ({effects.BATCH: 1}, None, "other"),
        ({effects.BATCH: 1}, RAW, "other"),
        ({effects.BATCH: 2}, {"training": {}}, "same"),
        ({"training.optim": "adamw_8bit"}, None, "near"),
        ({"training.optim": "adamw_8bit"}, RAW, "near"),
        ({"training.optim": "adamw_8bit"}, {"training": {"optim": "sgd"}}, "other"),
        ({"training.optim": "adafactor"}, RAW, "other"),
        ({"training.gradient_checkpointing": "full", "training.precision": "fp32"}, RAW, "other"),
        ({"lora": None}, RAW, "other"),
    ],
)
def test_the_effect_of_a_patch(
    patch: dict[str, Any], spec: dict[str, Any] | None, effect: str
) -> None:
    assert effect_of(patch, spec) == effect
    assert changes_result(patch, spec) == (effect == "other")


def test_a_micro_batch_with_dropout_is_not_told_to_be_the_same() -> None:
    assert sentence_of(HALVED, RAW) == "The result stays the same."
    assert "lora_dropout leaves out other inputs" in sentence_of(HALVED, DROPPING)
    spec = patched(spec_of(per_device_train_batch_size=2), {"lora.lora_dropout": 0.1})
    change = next(rungs.batches(spec))
    assert change.keeps_result
    assert "lora_dropout" in change.effect
    assert next(rungs.batches(spec_of(per_device_train_batch_size=2))).effect == ""


@pytest.mark.parametrize(
    ("before", "after", "is_taken_up"),
    [
        ("adamw_torch", "adamw_torch_fused", True),
        ("paged_adamw_8bit", "adamw_8bit", True),
        ("adamw_torch", "adamw_8bit", False),
        ("paged_adamw_8bit", "adamw_torch_fused", False),
    ],
)
def test_an_optimizer_that_cannot_take_up_a_save_is_told(
    before: str, after: str, is_taken_up: bool
) -> None:
    patch, spec = {effects.OPTIM: after}, {"training": {"optim": before}}
    assert effect_of(patch, spec) == "near"
    told = sentence_of(patch, spec)
    assert told.startswith("The result is as good")
    assert ("A save made before cannot be taken up" not in told) == is_taken_up
    matters = bearing_of(effects.OPTIM, before, after).matters
    assert (matters in ("no", "last_digits")) == is_taken_up


def test_rungs_are_judged_by_the_table() -> None:
    spec = spec_of(per_device_train_batch_size=4)
    assert next(rungs.smaller_optimizer(spec)).keeps_result
    assert not next(rungs.longer(spec)).keeps_result
    joined = rungs.joined(next(rungs.batches(spec)), next(rungs.longer(spec)))
    assert not joined.keeps_result


def test_problems_do_not_say_by_themselves_what_stays() -> None:
    for problem in problems.load():
        for fix in problem.fixes:
            assert "result" not in fix.does, problem.id


def test_what_goes_on_by_itself_says_what_becomes_of_the_result() -> None:
    effect = sentence_of(HALVED, DROPPING)
    ending = Ending(code="out_of_memory", pool="vram", patch=HALVED, effect=effect)
    plan = plan_comeback(ending, 3)
    assert (plan.action, plan.reason) == ("resume", effect)


JUDGED_OTHERWISE = {
    "training.precision": "the certificate tells what it comes to under Device",
    "hardware.gpu": "the certificate tells the card under Device",
    "model.trust_remote_code": "a fix that lets foreign code run has to be asked for",
    effects.OPTIM: "a save is only taken up by an optimizer that remembers the same",
}


def test_the_certificate_of_a_resume_judges_alike() -> None:
    matters = {"same": "no", "near": "last_digits", "other": "yes"}
    for field in set(fields_of()) - set(TOLD_ELSEWHERE) - set(JUDGED_OTHERWISE):
        assert bearing_of(field, "a", "b").matters == matters[effect_of({field: "b"})], field
