"""What could change, and what makes a spec fit."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.choices import patched, settle
from engine.planning.form import Form
from engine.planning.hardware import Machine
from engine.planning.ladder import make_it_fit
from engine.planning.model_config import layout_key
from engine.planning.plan import Plan, Rung
from engine.planning.planner import make_plan
from engine.planning.rungs import STEP
from tests.unit.plan_forms import WEIGHTS, form_of, machine, spec_of


def plan_of(spec: Spec, place: Machine) -> Plan:
    settled, _ = settle(spec, place)
    return make_plan(spec, form_of(settled), place, forms=form_of)


def fitting(spec: Spec, place: Machine) -> dict[str, object] | None:
    settled, _ = settle(spec, place)
    return make_it_fit(settled, form_of(settled), place, form_of)


def effective(spec: Spec) -> int:
    training = spec.training
    return training.per_device_train_batch_size * training.gradient_accumulation_steps


def rung(plan: Plan, title: str) -> Rung:
    found = [r for r in plan.ladder if r.title.startswith(title)]
    assert found, [r.title for r in plan.ladder]
    return found[0]


specs = st.builds(
    lambda tr, r, bits, modules: patched(
        spec_of(**tr), {"lora.r": r, "quantization.bits": bits, "lora.modules_to_save": modules}
    ),
    st.fixed_dictionaries(
        {
            "per_device_train_batch_size": st.sampled_from([1, 2, 3, 4, 6, 8, 16]),
            "gradient_accumulation_steps": st.sampled_from([1, 2, 3, 4, 8]),
            "max_length": st.integers(64, 16384),
            "gradient_checkpointing": st.sampled_from(["none", "full", "offload"]),
            "optim": st.sampled_from(["adamw_torch", "adamw_8bit"]),
        }
    ),
    st.integers(4, 128),
    st.sampled_from([4, 16]),
    st.sampled_from([[], ["lm_head"], ["embed_tokens", "lm_head"]]),
)
places = st.sampled_from(["t4", "rtx-2080-ti", "rtx-3090", "a100-80"])


@given(specs, places)
@settings(max_examples=60, deadline=None)
def test_a_rung_comes_to_what_the_plan_of_the_patched_spec_says(spec: Spec, card: str) -> None:
    place = machine(card)
    plan = plan_of(spec, place)
    settled = msgspec.convert(plan.spec, Spec)
    for found in plan.ladder:
        changed, complaints = check(to_raw(patched(settled, found.patch)))
        assert changed is not None, complaints
        other = make_plan(changed, form_of(changed), place)
        assert other.budgets[0].total_bytes == found.total_bytes
        assert (other.verdict != "does_not_fit") == found.fits
        assert found.saves_bytes == plan.budgets[0].total_bytes - found.total_bytes
        if found.keeps_result:
            assert effective(changed) == effective(settled)
            assert changed.training.max_length == settled.training.max_length
            assert changed.bits == settled.bits


@given(specs, places)
@settings(max_examples=60, deadline=None)
def test_make_it_fit_fits_and_keeps_the_effective_batch(spec: Spec, card: str) -> None:
    place = machine(card)
    patch = fitting(spec, place)
    settled, _ = settle(spec, place)
    if patch is None:
        smallest = patched(settled, {
            "training.per_device_train_batch_size": 1,
            "training.gradient_checkpointing": "offload",
            "training.optim": "adamw_8bit",
        })  # fmt: skip
        assert make_plan(smallest, form_of(smallest), place).verdict == "does_not_fit"
        return
    fixed = patched(settled, patch)
    plan = make_plan(fixed, form_of(fixed), place)
    assert plan.verdict in ("fits", "tight")
    assert effective(fixed) == effective(settled)
    assert set(patch) <= {
        "training.per_device_train_batch_size",
        "training.gradient_accumulation_steps",
        "training.gradient_checkpointing",
        "training.optim",
    }


def test_what_keeps_the_result_comes_first_and_in_order() -> None:
    spec = spec_of(max_length=8192, per_device_train_batch_size=4, gradient_checkpointing="none")
    plan = plan_of(spec, machine("rtx-2080-ti"))
    kept = [r.keeps_result for r in plan.ladder]
    assert kept == sorted(kept, reverse=True)
    titles = [r.title for r in plan.ladder]
    assert titles[0] == "Batch 4 → 2, accumulation 4 → 8"
    order = [titles.index(t) for t in (
        "Checkpointing none → full", "Offload activations to RAM", "Optimizer AdamW → AdamW 8-bit",
    )]  # fmt: skip
    assert order == sorted(order)
    assert all(r.effect for r in plan.ladder if not r.keeps_result)


def _with_roots(spec: Spec) -> Form:
    """The form of full training with what AdamW's step takes for a moment, unless it is fused."""
    form = form_of(spec)
    roots = 4.0 * WEIGHTS if spec.training.optim == "adamw_torch" else 0.0
    segments = [
        msgspec.structs.replace(s, parts={**s.parts, "transient": (roots,)})
        if s.name == "optimizer"
        else s
        for s in form.segments
    ]
    return msgspec.structs.replace(form, segments=segments)


def test_adamw_is_offered_fused_where_its_step_is_the_peak() -> None:
    spec = msgspec.structs.replace(spec_of(max_length=512), lora=UNSET, quantization=UNSET)
    place = machine("a100-80")
    settled, _ = settle(spec, place)
    plan = make_plan(spec, _with_roots(settled), place, forms=_with_roots)
    found = rung(plan, "Optimizer AdamW → AdamW, fused")
    assert found.keeps_result
    assert 0 < found.saves_bytes <= 4 * WEIGHTS
    assert "fused it takes none" in found.effect
    # Where the backward pass is the peak it would save nothing, and is not offered.
    other = plan_of(spec, place)
    assert not [r for r in other.ladder if "fused" in r.title]


def test_8_bit_is_honest_about_its_arithmetic() -> None:
    plan = plan_of(spec_of(max_length=16384), machine("rtx-2080-ti"))
    assert "not number for number" in rung(plan, "Optimizer").effect


def test_a_batch_that_cannot_be_halved_is_divided() -> None:
    spec = spec_of(max_length=8192, per_device_train_batch_size=3, gradient_accumulation_steps=2)
    plan = plan_of(spec, machine("rtx-2080-ti"))
    assert rung(plan, "Batch").title == "Batch 3 → 1, accumulation 2 → 6"


def test_a_length_is_offered_with_which_it_fits_and_no_longer_one_does() -> None:
    spec = spec_of(max_length=16384, per_device_train_batch_size=1)
    place = machine("rtx-2080-ti")
    found = rung(plan_of(spec, place), "Max length")
    length = found.patch["training.max_length"]
    assert found.fits
    assert plan_of(patched(spec, {"training.max_length": length}), place).verdict == "fits"
    assert plan_of(patched(spec, {"training.max_length": length + 64}), place).verdict != "fits"


def test_embeddings_that_do_not_fit_are_taken_back_one_by_one() -> None:
    both = {"lora.modules_to_save": ["embed_tokens", "lm_head"]}
    spec = patched(spec_of(embedding_learning_rate=2e-5), both)
    plan = plan_of(spec, machine("t4"))
    assert plan.verdict == "does_not_fit"
    assert rung(plan, "Train lm_head only").fits
    none = rung(plan, "Leave embed_tokens and lm_head as they are")
    assert none.fits
    assert "goes from 4.1 GiB to 160 MiB" in none.effect
    assert none.patch["training.embedding_learning_rate"] is None


def test_where_nothing_keeps_the_result_changes_come_with_what_else_they_take() -> None:
    both = {"lora.modules_to_save": ["embed_tokens", "lm_head"]}
    spec = patched(spec_of(max_length=4096, gradient_checkpointing="none"), both)
    plan = plan_of(spec, machine("t4"))
    assert fitting(spec, machine("t4")) is None
    found = rung(plan, "Train lm_head only")
    assert found.fits
    assert "training.gradient_checkpointing" in found.patch


def test_full_training_that_does_not_fit_is_offered_as_an_adapter() -> None:
    spec = msgspec.structs.replace(spec_of(learning_rate=1e-5), lora=UNSET, quantization=UNSET)
    plan = plan_of(spec, machine("rtx-3090"))
    assert plan.verdict == "does_not_fit"
    assert rung(plan, "Train an adapter on 4-bit").fits
    assert rung(plan, "Train an adapter (LoRA)").patch["training.learning_rate"] == 2e-4


def test_where_there_is_room_the_ladder_leads_up() -> None:
    plan = plan_of(spec_of(max_length=2048), machine("rtx-3090"))
    batch = rung(plan, "Batch 2 → 4, accumulation 4 → 2")
    assert batch.saves_bytes < 0
    assert batch.speed >= 1
    assert rung(plan, "Max length 2 048 → 3 072").saves_bytes < 0
    assert rung(plan, "Checkpointing full → none").speed > 1.2
    assert "160 MiB to 4.1 GiB" in rung(plan, "Train lm_head and embeddings").effect


def test_what_frees_most_is_asked_for_first() -> None:
    """Where time runs out after one form, it is the one of the change that helps."""
    whole = spec_of(precision="fp16", optim="adamw_torch")
    spec = msgspec.structs.replace(whole, quantization=UNSET)
    asked: list[Spec] = []

    def forms(wanted: Spec) -> Form | None:
        asked.append(wanted)
        return form_of(wanted) if len(asked) == 1 else None

    plan = make_plan(spec, form_of(spec), machine("rtx-2060"), forms=forms)
    assert plan.verdict == "does_not_fit"
    assert asked[0].bits == 4
    assert any(rung.patch.get("quantization.bits") == 4 for rung in plan.ladder)


def test_without_other_forms_only_sizes_are_offered() -> None:
    spec = spec_of(max_length=16384)
    plan = make_plan(spec, form_of(spec), machine("rtx-2080-ti"))
    fields = {field for r in plan.ladder for field in r.patch}
    assert fields <= {
        "training.per_device_train_batch_size", "training.gradient_accumulation_steps",
        "training.max_length", "lora.r", "lora.lora_alpha",
    }  # fmt: skip


def test_each_layout_is_asked_for_once() -> None:
    asked: list[str] = []

    def forms(spec: Spec):  # type: ignore[no-untyped-def]
        asked.append(layout_key(spec, "cuda", spec.training.precision))
        return form_of(spec)

    spec = spec_of(max_length=16384, gradient_checkpointing="none")
    make_plan(spec, form_of(spec), machine("rtx-2080-ti"), forms=forms)
    assert asked
    assert len(asked) == len(set(asked))


def test_longer_rows_than_a_form_holds_for_need_another() -> None:
    asked: list[int] = []

    def forms(spec: Spec) -> Form | None:
        asked.append(spec.training.max_length)
        return None

    spec = spec_of(max_length=3000)
    form = msgspec.structs.replace(form_of(spec), longest=4095)
    place = machine("rtx-3090")
    longer = {"training.max_length": 3000 * 3 // 2 // STEP * STEP}
    assert longer in [r.patch for r in make_plan(spec, form_of(spec), place, forms=forms).ladder]
    asked.clear()
    plan = make_plan(spec, form, place, forms=forms)
    assert longer["training.max_length"] in asked
    assert longer not in [r.patch for r in plan.ladder], "no form, no rung"
    assert [r for r in plan.ladder if "training.per_device_train_batch_size" in r.patch]

    def of_longer(wanted: Spec) -> Form | None:
        return form_of(wanted) if wanted.training.max_length > 4095 else None

    plan = make_plan(spec, form, place, forms=of_longer)
    (rung_of_more,) = [r for r in plan.ladder if r.patch == longer]
    assert rung_of_more.total_bytes > plan.budgets[0].total_bytes
    smaller = [r for r in plan.ladder if "training.per_device_train_batch_size" in r.patch]
    assert smaller, "the form at hand serves the others"


def test_no_longer_rows_are_offered_than_the_model_was_made_for() -> None:
    spec, place = spec_of(max_length=3000), machine("rtx-3090")
    whole = catalogue.config_of(spec.model.path)
    assert whole
    for context, offered in ((4096, 4096), (3000, None), (100_000, 4480)):
        config = {**whole, "max_position_embeddings": context}
        plan = make_plan(spec, form_of(spec), place, forms=form_of, config=config)
        lengths = [r.patch.get("training.max_length") for r in plan.ladder]
        assert [length for length in lengths if length] == ([offered] if offered else [])


def test_no_change_is_offered_twice() -> None:
    """Fewer modules and another optimizer are come to from both sides here."""
    modules = {"lora.modules_to_save": ["embed_tokens", "lm_head"], "quantization.bits": 16}
    spec = patched(spec_of(per_device_train_batch_size=1, max_length=1024), modules)
    patches = [r.patch for r in plan_of(spec, machine("rtx-3090")).ladder]
    assert {"lora.modules_to_save": ["lm_head"], "training.optim": "adamw_8bit"} in patches
    assert all(patches.count(patch) == 1 for patch in patches)


def test_what_fits_needs_no_patch() -> None:
    assert fitting(spec_of(), machine("rtx-3090")) == {}
