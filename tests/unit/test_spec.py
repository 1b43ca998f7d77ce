"""Checking a spec: everything wrong is said at once, each with the field and the remedy."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from msgspec import UNSET

from engine.contract import spec as spec_module
from engine.contract.messages import Complaint
from engine.contract.shape import choices_of, table_of
from engine.contract.spec import (
    DatasetSpec,
    HardwareSpec,
    LoraSpec,
    ModelSpec,
    QuantizationSpec,
    Spec,
    Table,
    TrainingSpec,
)
from engine.contract.toml import describe
from engine.contract.validate import check


def raw(**changed: Any) -> dict[str, Any]:
    """The smallest sound spec, with some ``table__field`` set; ``...`` takes one away."""
    values: dict[str, Any] = {"name": "x", "model": {"path": "m"}, "dataset": {"path": "d.jsonl"}}
    for key, value in changed.items():
        table, _, field = key.partition("__")
        into = values.setdefault(table, {}) if field else values
        if value is ...:
            del into[field or table]
        else:
            into[field or table] = value
    return values


def complaints(**changed: Any) -> dict[str, Complaint]:
    spec, found = check(raw(**changed))
    assert (spec is None) == bool(found)
    return {complaint.field: complaint for complaint in found}


def sound(**changed: Any) -> Spec:
    spec, found = check(raw(**changed))
    assert found == []
    assert spec is not None
    return spec


# ---------------------------------------------------------------- what is sound


def test_the_smallest_spec_is_a_full_fine_tune_with_defaults() -> None:
    spec = sound()
    assert spec.lora is UNSET
    assert spec.training.save_minutes == 5
    assert not spec.model.trust_remote_code
    assert (spec.kind, spec.bits) == ("Full", 16)


@pytest.mark.parametrize(("bits", "kind"), [(4, "QLoRA 4-bit"), (8, "LoRA 8-bit"), (16, "LoRA")])
def test_how_it_is_tuned_is_said_in_the_words_of_the_field(bits: int, kind: str) -> None:
    assert sound(lora={}, quantization__bits=bits).kind == kind


def test_an_empty_table_stands_for_its_defaults() -> None:
    spec = sound(lora={}, quantization={})
    assert spec.lora == LoraSpec()
    assert spec.quantization == QuantizationSpec()


def test_a_whole_number_will_do_where_a_number_is_wanted() -> None:
    assert sound(training__num_train_epochs=3).training.num_train_epochs == 3.0


# ---------------------------------------------------------------- one thing wrong


@pytest.mark.parametrize("value", [None, [], "name = 1", 3])
def test_what_is_no_table_at_all(value: object) -> None:
    spec, (found,) = check(value)
    assert spec is None
    assert "not a table of settings" in found.problem


@pytest.mark.parametrize(
    ("changed", "field", "remedy"),
    [
        ({"training__learning_rat": 1}, "training.learning_rat", "training.learning_rate?"),
        ({"lorra": {}}, "lorra", "Did you mean lora?"),
        ({"model__pth": "x"}, "model.pth", "Did you mean model.path?"),
        ({"quantization__zzz": 1}, "quantization.zzz", "Known in [quantization]: bits"),
        ({"lora__rank": 8}, "lora.rank", "Did you mean lora.r?"),
        ({"max_steps": 8}, "max_steps", "It belongs in [training]: write training.max_steps."),
        ({"lora__lr": 1.0}, "lora.lr", "write training.learning_rate."),
        ({"dataset__file": "x"}, "dataset.file", "Did you mean dataset.path?"),
        ({"files": "x"}, "files", "It belongs in [dataset]: write dataset.path."),
        ({"model__dataset": "x"}, "model.dataset", "write dataset.path."),
        ({"qqq": 1}, "qqq", "Known in the top of the file: name"),
    ],
)
def test_a_misspelt_key_is_told_the_right_one(
    changed: dict[str, Any], field: str, remedy: str
) -> None:
    found = complaints(**changed)[field]
    assert "no such setting" in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("changed", "field", "problem", "remedy"),
    [
        ({"name": ...}, "name", "missing", "A name to know the run by."),
        ({"model": ...}, "model", "table is missing", "Add [model]"),
        ({"dataset__path": ...}, "dataset.path", "missing", "A JSON, JSONL"),
        ({"lora": [1]}, "lora", "must be a table", "Write [lora]"),
        ({"training": "fast"}, "training", "must be a table", "Write [training]"),
        ({"lora__r": "16"}, "lora.r", "'16' does not fit: expected a whole number", "Rank"),
        ({"lora__r": True}, "lora.r", "got true or false", "Rank"),
        ({"lora__r": 0}, "lora.r", "0 does not fit: expected a whole number >= 1", "Rank"),
        ({"name": ""}, "name", "'' does not fit", "A name"),
        ({"name": datetime.date(2026, 1, 2)}, "name", "expected text", "A name"),
        (
            {"method": "stf"},
            "method",
            "'stf' does not fit: it is none of the choices.",
            "Did you mean 'sft'?",
        ),
        ({"method": "rl"}, "method", "'rl' does not fit", "Write one of 'sft', 'pretrain'."),
        ({"quantization__bits": "4"}, "quantization.bits", "got text", "Did you mean 4?"),
        ({"quantization__bits": 5}, "quantization.bits", "5", "Write one of 4, 8, 16."),
        ({"training__max_steps": 10**12}, "training.max_steps", "<= 1000000000", "-1: by epochs"),
        ({"training__learning_rate": float("nan")}, "training.learning_rate", "nan", "2e-4"),
        ({"lora__lora_alpha": 10**400}, "lora.lora_alpha", "out of range", "Strength"),
        ({"lora__target_modules": ["q", 1]}, "lora.target_modules", "expected text", "all-linear"),
        (
            {"dataset__fixes": ["drop_dups", "reencode", "drop_near_dups"]},
            "dataset.fixes",
            "it is none of the choices.",
            "Did you mean 'drop_duplicates' and 'drop_near_duplicates'? Write a list of some of",
        ),
        ({"dataset__fixes": "reencode"}, "dataset.fixes", "got text", "Write a list of some of"),
        ({"hardware__gpu": -1}, "hardware.gpu", "-1 does not fit", "nvidia-smi"),
    ],
)
def test_a_wrong_value_names_field_problem_and_remedy(
    changed: dict[str, Any], field: str, problem: str, remedy: str
) -> None:
    found = complaints(**changed)
    assert list(found) == [field]
    assert problem in found[field].problem
    assert remedy in found[field].remedy


# ---------------------------------------------------------------- rules over several fields


@pytest.mark.parametrize(
    ("changed", "field", "remedy"),
    [
        ({"quantization__bits": 4}, "quantization.bits", "Add a [lora] table"),
        ({"quantization__bits": 8}, "quantization.bits", "Add a [lora] table"),
        (
            {"lora": {}, "training__embedding_learning_rate": 1e-5},
            "training.embedding_learning_rate",
            "modules_to_save",
        ),
        ({"method": "pretrain", "dataset__format": "alpaca"}, "dataset.format", 'format = "text"'),
        ({"dataset__chat_template": "llama3"}, "dataset.chat_template", "Did you mean llama-3?"),
        ({"dataset__chat_template": "nonsense"}, "dataset.chat_template", "path of a .jinja"),
        ({"dataset__chat_template": "a\0/b"}, "dataset.chat_template", "Write a path."),
        (
            {"method": "pretrain", "dataset__chat_template": "chatml"},
            "dataset.chat_template",
            'method = "sft"',
        ),
        (
            {"method": "pretrain", "dataset__loss_on": "last_answer"},
            "dataset.loss_on",
            'method = "sft"',
        ),
        ({"method": "pretrain", "dataset__fixes": ["drop_empty"]}, "dataset.fixes", "Take it out"),
        ({"dataset__fixes": ["drop_all"]}, "dataset.fixes", "drop_duplicates"),
        ({"training__max_steps": 0}, "training.max_steps", "-1"),
        ({"name": " \t"}, "name", "plain words"),
        ({"name": "a\nb"}, "name", "plain words"),
        ({"name": "a\x7fb"}, "name", "plain words"),
        ({"model__path": "a\0b"}, "model.path", "Write a path."),
        ({"dataset__path": "  "}, "dataset.path", "Write a path."),
        ({"lora__target_modules": []}, "lora.target_modules", "all-linear"),
        ({"lora__target_modules": ["q_proj", ""]}, "lora.target_modules", "Remove it."),
        ({"lora__modules_to_save": [""]}, "lora.modules_to_save", "Remove it."),
        ({"lora__lora_alpha": float("inf")}, "lora.lora_alpha", "finite"),
        ({"lora__trainable_tokens": [" "]}, "lora.trainable_tokens", "Remove it."),
        (
            {"lora__trainable_tokens": ["<s>"], "lora__modules_to_save": ["lm_head"]},
            "lora.trainable_tokens",
            "Remove trainable_tokens",
        ),
        (
            {"lora__trainable_tokens": ["<s>"], "lora__target_modules": ["embed_tokens"]},
            "lora.trainable_tokens",
            "Remove trainable_tokens",
        ),
    ],
)
def test_settings_that_do_not_go_together(changed: dict[str, Any], field: str, remedy: str) -> None:
    found = complaints(**changed)
    assert list(found) == [field]
    assert remedy in found[field].remedy


@pytest.mark.parametrize(
    "changed",
    [
        {"lora": {}, "quantization__bits": 4},
        {"training__embedding_learning_rate": 1e-5},
        {
            "lora__modules_to_save": ["lm_head"],
            "training__embedding_learning_rate": 1e-5,
        },
        {
            "lora__trainable_tokens": ["<|im_start|>"],
            "training__embedding_learning_rate": 1e-5,
        },
        {"method": "pretrain", "dataset__format": "text"},
        {"dataset__chat_template": "", "dataset__loss_on": "everything"},
        {"dataset__chat_template": "phi-4", "dataset__loss_on": "last_answer"},
        {"dataset__chat_template": "/t/mine.jinja"},
        {"method": "pretrain", "dataset__loss_on": "everything"},
        {"method": "pretrain"},
        {"lora__target_modules": [], "lora__modules_to_save": ["embed_tokens"]},
        {"name": "通用模型 – über 9000 🙂"},
        {"model__path": "C:\\My Models\\全角\u3000空白"},
    ],
)
def test_settings_that_do(changed: dict[str, Any]) -> None:
    sound(**changed)


# ---------------------------------------------------------------- all at once, in bounds


def test_everything_wrong_is_said_at_once() -> None:
    found = complaints(
        name=...,
        lora={"rr": 1, "r": 0},
        training={"learning_rate": "fast", "max_steps": 1.5},
        dataset__format="alpacca",
    )
    assert set(found) == {
        "name",
        "lora.rr",
        "lora.r",
        "training.learning_rate",
        "training.max_steps",
        "dataset.format",
    }


def test_several_rules_speak_at_once() -> None:
    found = complaints(name=" ", quantization__bits=4, training__max_steps=0)
    assert set(found) == {"name", "quantization.bits", "training.max_steps"}


def test_a_rule_speaks_beside_what_is_no_matter_of_its() -> None:
    found = complaints(
        method="sftt",
        quantization__bits=4,
        training={"learning_rate": "fast", "max_steps": 0},
        dataset={"path": "d.jsonl", "eval_fraction": "half", "chat_template": "nonsens"},
    )
    assert set(found) == {
        "method",
        "quantization.bits",
        "training.learning_rate",
        "training.max_steps",
        "dataset.eval_fraction",
        "dataset.chat_template",
    }


def test_a_rule_is_silent_where_what_it_reads_is_unsound() -> None:
    """What is mended first may well settle it."""
    assert set(complaints(training__embedding_learning_rate=1e-4, lora={"modules_to_save": 3})) == {
        "lora.modules_to_save"
    }
    misspelt = {"modules_to_safe": ["embed_tokens"]}
    assert set(complaints(training__embedding_learning_rate=1e-4, lora=misspelt)) == {
        "lora.modules_to_safe"
    }
    assert set(complaints(quantisation={"bits": 16}, lroa={}, training__max_steps=0)) == {
        "quantisation",
        "lroa",
        "training.max_steps",
    }


SETTINGS = [
    f"{table}.{name}" if table else name
    for table, kind in (
        ("", Spec), ("model", ModelSpec), ("dataset", DatasetSpec), ("lora", LoraSpec),
        ("quantization", QuantizationSpec), ("training", TrainingSpec), ("hardware", HardwareSpec),
    )
    for name in kind.__struct_fields__
]  # fmt: skip


@pytest.mark.parametrize("field", SETTINGS)
def test_whatever_is_unsound_no_rule_falls_over_it(field: str) -> None:
    """All that rules look for is wrong here, one field after the other is of no known type."""
    values = raw(
        method="pretrain", lora={"target_modules": [], "trainable_tokens": [" "]},
        quantization={"bits": 4}, hardware={}, dataset__fixes=["drop_empty"],
        training={"max_steps": 0, "embedding_learning_rate": 1e-4, "learning_rate": float("inf")},
    )  # fmt: skip
    table, _, name = field.rpartition(".")
    into = values[table] if table else values
    into[name] = object()
    spec, found = check(values)
    assert spec is None
    assert any(complaint.field == field for complaint in found)


def test_a_huge_value_gives_a_short_sentence() -> None:
    huge = "x" * 5_000_000
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    _, found = check(raw(method=huge, name=deep) | {huge: 1})
    assert len(found) == 3
    assert all(len(str(complaint)) < 400 for complaint in found)


def test_a_complaint_reads_as_one_line() -> None:
    found = complaints(lora__r=0)["lora.r"]
    assert str(found).startswith("lora.r: 0 does not fit: expected a whole number >= 1. Rank")
    assert str(Complaint(field="a", problem="B.")) == "a: B."


# ---------------------------------------------------------------- the spec describes itself

TABLES = [
    thing
    for thing in vars(spec_module).values()
    if isinstance(thing, type) and issubclass(thing, Table) and thing is not Table
]


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_carries_a_description(table: type[Table]) -> None:
    for name, text in describe(table).items():
        if name not in Spec.__struct_fields__ or name in ("name", "method"):
            assert text.endswith("."), f"{table.__name__}.{name}"


def test_the_shape_of_a_field_can_be_asked() -> None:
    assert table_of(LoraSpec | None) is LoraSpec
    assert table_of(int) is None
    assert choices_of(int) == ()
