"""Recipes of other programs: what they say is carried over, and nothing is passed over silently."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import commands
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.planning import conflicts
from engine.planning.recipe_draft import hint_of, read_recipe, table
from engine.planning.recipe_import import Imported, import_recipe, to_toml

RECIPES = Path(__file__).resolve().parents[1] / "data" / "recipes"
NAMES = sorted(path.name for path in RECIPES.iterdir())


def imported(name: str) -> Imported:
    recipe, complaints = read_recipe(RECIPES / name)
    assert complaints == []
    return import_recipe(recipe, name.partition(".")[0])


def spec_of(found: Imported) -> Spec:
    spec, complaints = check(tomllib.loads(to_toml(found)))
    assert spec is not None, complaints
    return spec


def value(spec: Spec, field: str) -> Any:
    found: Any = spec
    for name in field.split("."):
        found = getattr(found, name)
    return found


EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "trl-old.json": ("TRL", {
        "model.path": "meta-llama/Llama-2-7b-hf", "quantization.bits": 4,
        "quantization.bnb_4bit_use_double_quant": False, "lora.r": 64, "lora.lora_alpha": 16,
        "lora.target_modules": ["q_proj", "v_proj"], "training.max_length": 512,
        "training.learning_rate": 1.41e-5, "training.eval_steps": 500,
        "training.precision": "fp16", "training.warmup_steps": 0.03,
        "training.lr_scheduler_type": "constant", "dataset.eval_fraction": 0.05,
    }),
    "llama-factory.json": ("LLaMA-Factory", {
        "quantization.bits": 4, "quantization.bnb_4bit_use_double_quant": True, "lora.r": 8,
        "lora.lora_alpha": 16, "lora.target_modules": "all-linear", "dataset.path": "identity",
        "training.max_length": 2048, "training.precision": "bf16", "training.warmup_steps": 0.1,
        "model.attn_implementation": "flash_attention_2", "dataset.eval_fraction": 0.1,
        "training.gradient_checkpointing": "full", "model.trust_remote_code": True,
        "dataset.chat_template": "llama-3", "dataset.loss_on": "answers",
    }),
    "axolotl.toml": ("Axolotl", {
        "model.path": "NousResearch/Llama-3.2-1B", "quantization.bits": 4, "lora.r": 32,
        "lora.modules_to_save": ["embed_tokens", "lm_head"], "dataset.format": "alpaca",
        "dataset.path": "teknium/GPT4-LLM-Cleaned", "training.packing": True,
        "training.per_device_train_batch_size": 2, "training.optim": "adamw_8bit",
        "training.precision": "auto", "training.warmup_steps": 10,
    }),
    "nested.json": ("TRL", {
        "model.path": "mistralai/Mistral-7B-v0.1", "quantization.bnb_4bit_compute_dtype": "bf16",
        "quantization.bnb_4bit_use_double_quant": False, "lora.use_rslora": True,
        "training.per_device_train_batch_size": 2, "training.lr_scheduler_type": "cosine",
        "training.optim": "adamw_torch", "training.gradient_checkpointing": "full",
        "training.save_steps": 25, "training.save_total_limit": 5, "training.eval_steps": 0,
        "model.attn_implementation": "flash_attention_2", "dataset.path": "chats.jsonl",
    }),
    "contradictions.json": ("TRL", {
        "quantization.bits": 8, "lora.r": 16, "training.precision": "auto",
        "training.max_length": 512, "training.per_device_train_batch_size": 8,
    }),
    "unsloth.toml": ("TRL", {
        "lora.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                "down_proj"],
        "training.gradient_checkpointing": "offload", "training.seed": 3407,
        "training.max_steps": 60, "training.warmup_steps": 5, "training.optim": "adamw_8bit",
        "training.embedding_learning_rate": None,
    }),
    "full.json": ("LLaMA-Factory", {
        "method": "pretrain", "lora": msgspec.UNSET, "training.precision": "bf16",
        "training.gradient_checkpointing": "none", "training.learning_rate": 1e-5,
        "training.save_steps": 0, "dataset.path": "corpus.txt",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_means_here_what_it_meant_there(name: str) -> None:
    program, fields = EXPECTED[name]
    found = imported(name)
    assert found.program == program
    spec = spec_of(found)
    assert {field: value(spec, field) for field in fields} == fields


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_used_or_there_is_a_note_on_it(name: str) -> None:
    recipe, _ = read_recipe(RECIPES / name)
    found = imported(name)
    noted = {note.option for note in found.notes}
    for option in _options({k: v for k, v in recipe.items() if k not in noted}):
        changed = import_recipe(_changed(recipe, option), found.raw["name"])
        # What is off, or says what is so anyhow, leaves no trace.
        is_plain = _value(recipe, option) in _SAYS_NOTHING
        assert option in noted or is_plain or changed != found or option in _AS_IT_IS, option


_SAYS_NOTHING = (False, None, -1, "none", "nf4", "all-linear", "qlora", "auto", "sft", "lora")
_AS_IT_IS = {"double_quantization"}
"""Options of the recipes here that say what is so by default."""


def _options(recipe: dict[str, Any]) -> list[str]:
    inner = [o for v in recipe.values() if isinstance(v, dict) for o in _options(v)]
    return [k for k, v in recipe.items() if not isinstance(v, dict)] + inner


def _value(recipe: dict[str, Any], option: str) -> Any:
    if option in recipe:
        return recipe[option]
    tables = (v for v in recipe.values() if isinstance(v, dict))
    return next((found for t in tables if (found := _value(t, option)) is not None), None)


def _changed(recipe: dict[str, Any], option: str) -> dict[str, Any]:
    return {
        k: _changed(v, option) if isinstance(v, dict) else v
        for k, v in recipe.items()
        if k != option
    }


def notes(found: Imported, kind: str) -> dict[str, str]:
    return {note.option: note.text for note in found.notes if note.kind == kind}


def test_options_that_were_renamed_are_called_by_their_new_names() -> None:
    found = imported("trl-old.json")
    assert "eval_strategy" in notes(found, "left_out")["evaluation_strategy"]
    assert "training.max_length" in notes(found, "renamed")["max_seq_length"]
    assert "quantization.bits" in notes(found, "renamed")["load_in_4bit"]
    nested = imported("nested.json")
    assert "processing_class" in notes(nested, "left_out")["tokenizer"]
    assert "per_gpu_train_batch_size" in notes(nested, "renamed")


def test_what_has_no_counterpart_or_is_not_known_is_named() -> None:
    assert set(notes(imported("trl-old.json"), "lost")) == {"neftune_noise_alpha"}
    found = imported("contradictions.json")
    assert set(notes(found, "unknown")) == {"fetle_mode"}
    assert set(notes(found, "lost")) == {"deepspeed"}
    assert "four" in notes(found, "left_out")["per_device_train_batch_size"]
    assert "something else" in notes(found, "left_out")["max_seq_length"]


def test_contradictions_are_named_and_settled() -> None:
    found = imported("contradictions.json")
    assert {conflict.id for conflict in found.conflicts} == {
        "both_halves", "bits_beside_config", "bits_without_adapter", "bits_with_offload",
        "eval_without_data",
    }  # fmt: skip
    assert found.complaints == []
    assert "fp16 and bf16 at once" in to_toml(found)


@pytest.mark.parametrize(
    ("recipe", "id"),
    [
        ({"fp16": True, "bf16": True}, "both_halves"),
        ({"load_in_4bit": True, "load_in_8bit": True, "lora_r": 8}, "both_bits"),
        ({"load_in_4bit": True, "quantization_config": {"load_in_4bit": True}, "r": 8},
         "bits_beside_config"),
        ({"load_in_4bit": True}, "bits_without_adapter"),
        ({"load_in_8bit": True, "r": 8, "llm_int8_enable_fp32_cpu_offload": True},
         "bits_with_offload"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch", "val_set_size": 0.1},
         "best_needs_rhythm"),
        ({"evaluation_strategy": "steps"}, "eval_without_data"),
        ({"r": 8, "gradient_checkpointing_kwargs": {"use_reentrant": True}}, "reentrant"),
        ({"packing": True, "attn_implementation": "eager"}, "packing_by_flash"),
    ],
)  # fmt: skip
def test_each_rule_about_recipes_fires_and_is_calm_without_its_cause(
    recipe: dict[str, Any], id: str
) -> None:
    assert id in {conflict.id for conflict in import_recipe(recipe, "x").conflicts}
    calm = {"r": 8, "load_in_4bit": True, "eval_strategy": "steps", "val_set_size": 0.1,
            "save_strategy": "steps", "load_best_model_at_end": True, "packing": True,
            "bf16": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}  # fmt: skip
    assert id not in {conflict.id for conflict in import_recipe(calm, "x").conflicts}


def test_every_rule_about_recipes_is_tested() -> None:
    rules = {rule.id for rule in conflicts.load()[conflicts.RECIPES]}
    marks = test_each_rule_about_recipes_fires_and_is_calm_without_its_cause.pytestmark  # type: ignore[attr-defined]
    assert {id for _, id in marks[0].args[1]} == rules


def test_what_the_recipe_leaves_out_is_its_own_programs_default() -> None:
    spec = spec_of(import_recipe({"model_name_or_path": "a/b", "max_length": 128}, "x"))
    assert spec.training.learning_rate == 2e-5
    assert spec.training.per_device_train_batch_size == 8
    assert spec.dataset.eval_fraction == 0
    assert spec_of(import_recipe({"learning_rate": 1e-3}, "x")).training.num_train_epochs == 3


def test_what_is_missing_is_to_be_filled_in() -> None:
    found = import_recipe({}, "x")
    assert [complaint.field for complaint in found.complaints] == ["model.path", "dataset.path"]
    assert "# To do: model.path" in to_toml(found)


def test_no_secret_is_shown() -> None:
    found = imported("contradictions.json")
    assert "hub_token" in notes(found, "left_out")
    assert "doNotShowMe" not in to_toml(found) + str(msgspec.to_builtins(found))


def test_the_table_of_options_is_sound() -> None:
    fields = [*table().fields, *(f for d in table().defaults.values() for f in d)]
    for field in fields:
        hint_of(field)
    names = [name for each in table().fields.values() for name in each]
    assert len(names) == len(set(names))
    assert not set(names) & (set(table().own) | set(table().lost))
    assert not set(table().own) & set(table().lost)
    for defaults in table().defaults.values():
        for field, default in defaults.items():
            msgspec.convert(default, hint_of(field))


_OPTION = st.sampled_from(
    [name for names in table().fields.values() for name in names]
    + ["load_in_4bit", "quantization_config", "bf16", "fp16", "target_modules", "adapter", "stage",
       "datasets", "warmup_ratio", "optim", "attn_implementation", "eval_steps", "x\ny",
       "val_set_size"]
)  # fmt: skip
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_OPTION, inner, max_size=2),
    max_leaves=5,
)


@given(recipe=st.dictionaries(_OPTION, _ANY, max_size=6), name=st.text(max_size=90))
def test_whatever_a_recipe_holds_a_sound_spec_comes_out(recipe: dict[str, Any], name: str) -> None:
    spec_of(import_recipe(recipe, name))


def test_files_that_are_no_recipes_are_refused(tmp_path: Path) -> None:
    for name, content, said in (
        ("a.json", b"{", "not what its name says"), ("a.toml", b"= 1", "not what its name says"),
        ("a.yaml", b"a: 1", "YAML is not read"), ("b.json", b"[1]", "holds no options"),
        ("c.json", b"\xff", "not what its name says"), ("d.json", b" " * (1 << 21), "too long"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        recipe, complaints = read_recipe(tmp_path / name)
        assert recipe == {}
        assert said in complaints[0].problem
    assert "cannot be read" in read_recipe(tmp_path / "gone.json")[1][0].problem


def test_the_command_line_prints_a_spec(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert commands.run(["spec", "--import", str(RECIPES / "nested.json")]) == 0
    printed = capsys.readouterr().out
    assert "# polynomial" not in printed.splitlines()[0]
    assert check(tomllib.loads(printed))[0] is not None
    assert commands.run(["spec", "--json", "--import", str(RECIPES / "nested.json")]) == 0
    sent = msgspec.json.decode(capsys.readouterr().out)
    assert (sent["type"], sent["raw"]["name"]) == ("imported", "nested")
    assert commands.run(["spec", "--import", str(tmp_path / "gone.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "field", "expected"),
    [
        ({"template": "qwen3"}, "chat_template", "qwen"),
        ({"chat_template": "phi_35"}, "chat_template", "phi-3"),
        ({"chat_template": "tokenizer_default"}, "chat_template", None),
        ({"chat_template_path": "/t/mine.jinja"}, "chat_template", "/t/mine.jinja"),
        ({"template": "unheard_of"}, "chat_template", None),
        ({"train_on_inputs": True}, "loss_on", "everything"),
        ({"train_on_inputs": False}, "loss_on", None),
        ({"train_on_prompt": True}, "loss_on", "everything"),
        ({"mask_history": True}, "loss_on", "last_answer"),
        ({"completion_only_loss": False}, "loss_on", "everything"),
        ({"completion_only_loss": False, "assistant_only_loss": True}, "loss_on", None),
        ({"roles_to_train": ["assistant"]}, "loss_on", None),
    ],
)
def test_templates_and_losses_are_carried_over(
    recipe: dict[str, Any], field: str, expected: str | None
) -> None:
    found = import_recipe({"model": "org/m", **recipe}, "r")
    assert found.raw["dataset"].get(field) == expected
    unheard = [note for note in found.notes if "not bundled" in note.text]
    assert bool(unheard) == ("unheard_of" in recipe.values())
    assert not [note for note in found.notes if note.kind == "unknown"]
