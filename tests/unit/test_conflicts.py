"""Conflicts: each rule fires where it should and nowhere else, and its remedy takes it away."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import validate
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.planning import catalogue, conflict_facts, conflicts, hardware, surroundings
from engine.planning.choices import patched
from engine.planning.conflict_facts import Known, facts_of
from engine.planning.conflict_machine import chosen_card
from engine.planning.conflicts import Conflict, check, complaint_of, fired, lines
from engine.planning.facts import GpuFacts, MachineFacts
from engine.planning.rules import RuleError, filled, holds, parse
from tests.allowance import is_within
from tests.unit.conflict_cases import CASES, CONFIG, KNOWN, MACHINE, PACKAGES, SPEC, Case

ROOT = Path(__file__).resolve().parents[2]
RULES = {
    rule.id: rule
    for name, rules in conflicts.load().items()
    if name != conflicts.RECIPES
    for rule in rules
}


def ids(found: list[Conflict]) -> set[str]:
    return {conflict.id for conflict in found}


# ---------------------------------------------------------------- the rules


def test_there_are_many_rules_and_each_has_its_cases() -> None:
    assert len(RULES) >= 60
    assert set(RULES) == set(CASES)
    everything = [rule.id for rules in conflicts.load().values() for rule in rules]
    assert len(everything) == len(set(everything))


def test_the_calm_setting_has_no_conflict() -> None:
    assert Case().conflicts() == []


@pytest.mark.parametrize("id", CASES)
def test_a_rule_fires(id: str) -> None:
    found = {conflict.id: conflict for conflict in CASES[id][0].conflicts()}
    assert id in found
    said = " ".join((found[id].title, found[id].reason, found[id].remedy))
    assert "?" not in said
    assert "{" not in said
    assert found[id].title.endswith(".")
    assert found[id].reason.endswith(".")
    assert not found[id].remedy.endswith(".")


@pytest.mark.parametrize("id", CASES)
def test_a_rule_does_not_fire_after_a_small_change(id: str) -> None:
    fires, change = CASES[id]
    assert id not in ids(change.on(fires).conflicts())


@pytest.mark.parametrize("id", [id for id in CASES if RULES[id].patch])
def test_the_one_click_remedy_takes_the_conflict_away(id: str) -> None:
    case = CASES[id][0]
    conflict = next(found for found in case.conflicts() if found.id == id)
    mended = patched(case.the_spec(), conflict.patch)
    assert validate.check(to_raw(mended)) == (mended, [])
    assert id not in ids(case.conflicts(mended))


def test_every_field_that_a_rule_names_is_one_of_a_spec() -> None:
    tables = {*conflict_facts._TABLES, "hardware", "lora"}
    for rule in RULES.values():
        for name in (rule.field, *rule.patch):
            assert name in conflict_facts.NAMES or name in tables, rule.id


@pytest.mark.parametrize("id", CASES)
def test_an_unknown_fact_lets_no_rule_fire(id: str) -> None:
    facts = _table(CASES[id][0])
    assert fired(facts, [RULES[id]])
    for condition in RULES[id].when:
        without = {k: v for k, v in facts.items() if k != condition.left}
        assert not fired(without, [RULES[id]])


def _table(case: Case) -> dict[str, Any]:
    packages = {k: v for k, v in {**PACKAGES, **case.packages}.items() if v is not None}
    known = msgspec.structs.replace(KNOWN, **case.known)
    config = {**CONFIG, **case.config}
    return facts_of(case.the_spec(), case.the_machine(), config, packages, known)


def test_of_a_spec_alone_only_what_is_in_it_can_be_said() -> None:
    assert check(SPEC) == []
    spec = patched(SPEC, {"training.save_minutes": 0.0, "training.precision": "bf16"})
    assert ids(check(spec)) == {"never_saved"}


@pytest.mark.parametrize(
    "changes",
    [
        {"quantization.bits": 4, "lora": None},
        {"training.embedding_learning_rate": 1e-5},
        {"method": "pretrain", "dataset.format": "alpaca"},
        {"training.max_steps": 0},
        {"lora.target_modules": []},
    ],
    ids=str,
)
def test_what_a_spec_alone_shows_is_mended_by_one_click_too(changes: dict[str, Any]) -> None:
    raw = to_raw(patched(SPEC, changes))
    _, complaints = validate.check(raw)
    assert len(complaints) == 1
    mended = to_raw(patched(msgspec.convert(raw, Spec), complaints[0].patch))
    assert complaints[0].patch
    assert validate.check(mended)[1] == []


# ---------------------------------------------------------------- facts


def test_facts_may_come_as_a_dictionary() -> None:
    spec = patched(SPEC, {"training.precision": "bf16"})
    turing = Case(gpu={"compute_capability": (7, 5)}).the_machine()
    assert ids(check(spec, msgspec.to_builtins(turing))) == {"bf16_card"}


def test_facts_may_be_a_machine_to_plan_for() -> None:
    spec = patched(SPEC, {"training.precision": "bf16", "training.optim": "paged_adamw_8bit"})
    machine = hardware.machine_of(MACHINE, "rtx-2080-ti", "wsl")
    found = {conflict.id: conflict for conflict in check(spec, machine)}
    assert {"bf16_card", "paged_windows"} <= set(found)
    assert "2080 Ti" in found["bf16_card"].title
    assert "7.5" in found["bf16_card"].reason


def test_what_is_installed_here_says_nothing_of_a_card_elsewhere() -> None:
    here = msgspec.structs.replace(MACHINE, packages=PACKAGES)
    elsewhere = hardware.machine_of(here, "gtx-1080-ti", "linux")
    assert check(SPEC, elsewhere) == []
    assert ids(check(SPEC, msgspec.structs.replace(elsewhere, is_detected=True))) == {
        "pascal_torch"
    }


@pytest.mark.parametrize("profile", hardware.profiles(), ids=lambda profile: profile.id)
def test_no_model_of_the_catalogue_is_refused_on_a_card_without_a_cause(
    profile: hardware.Profile,
) -> None:
    machine = hardware.machine_of(MACHINE, profile.id, "linux")
    found = set()
    for entry in catalogue.load():
        spec = patched(SPEC, {"model.path": entry.id, "quantization.bits": 4})
        known = Known(model_types=surroundings.model_types(), rows=1000)
        fired_here = check(spec, machine, catalogue.config_of(entry.id), None, known)
        found |= {(c.id, entry.model_type) for c in fired_here if c.severity == "problem"}
    assert found == set()


@pytest.mark.parametrize(
    ("visible", "number", "index"),
    [(None, 0, 0), (None, 1, 1), (None, 2, None), ("1", 0, 1), ("1", 1, None), ("-1", 0, None),
     ("GPU-b,GPU-a", 0, 1), ("MIG-x", 0, None)],
)  # fmt: skip
def test_the_card_is_the_one_that_the_run_gets(
    visible: str | None, number: int, index: int | None
) -> None:
    cards = [GpuFacts(index=i, uuid=f"GPU-{'ab'[i]}") for i in (0, 1)]
    machine = msgspec.structs.replace(MACHINE, gpus=cards, visible_devices=visible)
    found = chosen_card(machine, number)
    assert (found.index if found else None) == index


def test_a_driver_in_trouble_is_no_missing_card() -> None:
    offload = patched(SPEC, {"training.gradient_checkpointing": "offload"})
    blocked = msgspec.structs.replace(MACHINE, gpus=[], gpu_trouble="blocked")
    assert "offload_without_card" not in ids(check(offload, blocked, packages=PACKAGES))
    hidden = msgspec.structs.replace(MACHINE, visible_devices="")
    assert "offload_without_card" in ids(check(offload, hidden, packages=PACKAGES))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
_KEYS = (*CONFIG, "text_config", "quantization_config", "auto_map", "num_experts", "n_positions",
         "attn_logit_softcapping", "torch_dtype", "is_encoder_decoder")  # fmt: skip


@given(config=st.dictionaries(st.sampled_from(_KEYS), _json, max_size=6))
def test_whatever_a_config_holds_nothing_raises(config: dict[str, Any]) -> None:
    check(SPEC, MACHINE, {**CONFIG, **config}, PACKAGES, KNOWN)


# ---------------------------------------------------------------- language


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("gpu.capability < 8.0", True), ("gpu.capability >= 7.5", True),
        ("package.torch < 2.10", True), ("package.torch == 2.9", True),
        ("training.max_length > config.context", True), ("training.max_length < 1e3", False),
        ("store.free_gib < 2 * run.checkpoint_gib", True),
        ("store.free_gib < 1.1 * run.checkpoint_gib", False),
        ("training.optim in [sgd, adafactor]", True), ("training.optim not in [sgd, x]", False),
        ("run.targets contains lm_head", True), ("run.targets lacks lm_head", False),
        ("run.bits in [4, 8]", True), ("training.packing == true", False),
        # Not known, or not of a kind:
        ("gpu.memory_gib < 8", None), ("training.max_length < run.rows", None),
        ("training.optim < 8", None), ("training.packing == maybe", None),
        ("training.optim contains s", None), ("gpu.capability < run.bits", None),
        ("run.targets < 3", None), ("training.max_length == many", None),
    ],
)  # fmt: skip
def test_conditions(text: str, truth: bool | None) -> None:
    facts = {
        "gpu.capability": (7, 5), "package.torch": (2, 9, 0), "training.max_length": 4096,
        "config.context": 2048, "store.free_gib": 3.0, "run.checkpoint_gib": 2.0, "run.bits": 4,
        "training.optim": "sgd", "run.targets": ["q_proj", "lm_head"], "training.packing": False,
    }  # fmt: skip
    assert holds(parse(text), facts) is truth


@pytest.mark.parametrize(
    "text",
    ["", "x", "training.packing", "training.packing = true", "training.packing == true or x",
     "__import__('os') == 1", "training.packing  == true", "training.optim in sgd",
     "training.optim == [sgd, x]", "a.b < 2 * 3", "a.b == 'quoted'", "a.b in []", "a.b < (1)"],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        parse(text)


@given(text=st.text(max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        condition = parse(text)
    except RuleError:
        return
    holds(condition, {condition.left: 1})


def test_a_rule_with_an_unknown_fact_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "x.toml"
    text = 'id = "x"\nseverity = "problem"\nfield = "f"\ntitle = "t"\nremedy = "m"\n'
    place.write_text(f'[[rule]]\n{text}reason = "r"\nwhen = ["training.pakcing == true"]\n')
    with pytest.raises(RuleError, match=r"training\.pakcing"):
        conflicts.read(place)
    place.write_text(f'[[rule]]\n{text}reason = "r {{gpu.nmae}}"\nwhen = ["run.bits == 4"]\n')
    with pytest.raises(RuleError, match=r"gpu\.nmae"):
        conflicts.read(place)


def test_facts_are_shown_as_people_write_them() -> None:
    facts = {"a.b": 80_000, "a.c": (8, 6), "a.d": 1.23456, "a.e": ["x", "y"], "a.f": True}
    assert filled("{a.b}, {a.c}, {a.d}, {a.e}, {a.f}", facts) == "80 000, 8.6, 1.23, x, y, yes"


# ---------------------------------------------------------------- surroundings


def test_what_transformers_knows_is_read_as_text() -> None:
    known = surroundings.model_types()
    assert known is not None
    assert {"llama", "gemma3_text", "qwen3", "phi3", "smollm3"} <= known
    assert "llama9" not in known


def test_config_and_cache_are_looked_up_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    spec = patched(SPEC, {"model.path": "meta-llama/Llama-3.1-8B"})
    config, known = surroundings.look(spec, rows=7, environ={"BNB_CUDA_VERSION": "128", "X": "y"})
    assert config is not None
    assert config["model_type"] == "llama"  # the catalogue's
    assert (known.is_cached, known.rows, known.environ) == (False, 7, {"BNB_CUDA_VERSION": "128"})
    snapshot = tmp_path / "models--meta-llama--Llama-3.1-8B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "other"}')
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    config, known = surroundings.look(spec)
    assert (config, known.is_cached) == ({"model_type": "other"}, True)
    assert surroundings.look(patched(SPEC, {"model.path": "nobody/nothing"}))[0] is None


# ---------------------------------------------------------------- shown


def test_problems_come_first_and_say_what_to_write() -> None:
    case = CASES["never_saved"][0].on(CASES["bf16_card"][0])
    found = case.conflicts()
    assert [conflict.severity for conflict in found] == ["problem", "warning"]
    assert lines(found)[0] == (
        "Problem: RTX 3060 does not compute in bf16. It has compute capability 7.5; bf16 is in "
        "hardware from 8.0 on (RTX 30). Emulated it is slower than fp16 and saves nothing. Compute "
        'in fp16: training.precision = "fp16".'
    )
    complaint = complaint_of(found[0])
    assert complaint.field == "training.precision"
    assert complaint.patch == {"training.precision": "fp16"}


def test_all_is_checked_within_a_second_where_torch_cannot_be_imported() -> None:
    code = """
import sys, time
began = time.process_time()
class Refuser:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "trl", "bitsandbytes"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuser)
from pathlib import Path
from engine.contract.validate import check
from engine.planning import conflicts, facts, surroundings
spec, _ = check({"name": "x", "model": {"path": "meta-llama/Llama-2-7b-hf"}, "lora": {"r": 8},
                 "dataset": {"path": "/d"}, "training": {"save_minutes": 0}})
config, known = surroundings.look(spec)
machine = facts.MachineFacts(python="", engine="", platform="linux", system="", machine="",
                             store="", gpus=[facts.GpuFacts(index=0, compute_capability=(7, 5))])
found = conflicts.check(spec, machine, config, None, known)
print(time.process_time() - began, sorted(c.id for c in found), "torch" in sys.modules)
"""
    seconds = []
    for _ in range(3):  # The best of three counts: other work on this machine is not ours.
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        used, rest = done.stdout.split(" ", 1)
        assert rest.strip() == "['gated_without_token', 'never_saved'] False"
        seconds.append(float(used))
    assert is_within(min(seconds), 1.0, time.thread_time)


def test_a_machine_without_anything_known_raises_nothing() -> None:
    bare = MachineFacts(python="", engine="", platform="linux", system="", machine="", store="")
    assert check(SPEC, bare, {}, {}, Known()) == []
    assert isinstance(SPEC, Spec)
