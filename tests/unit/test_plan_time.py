"""The time of a step: what it is estimated from, and what earlier runs make of that."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract.spec import Spec
from engine.planning.choices import patched, settle
from engine.planning.hardware import Machine, find
from engine.planning.learnt import Expected, TimeLesson
from engine.planning.plan import Timing
from engine.planning.planner import expectation, make_plan
from engine.planning.profiles import with_cores
from engine.planning.roofline import (
    CORE_BYTES_PER_SECOND,
    CPU_LAUNCH_SECONDS,
    LAYER_LAUNCHES,
    TRAFFIC_SHARE,
    timing,
)
from tests.unit.plan_forms import form_of, machine, spec_of


def time_of(spec: Spec, place: Machine) -> Timing:
    settled, _ = settle(spec, place)
    return timing(form_of(settled), settled, place)


def test_launches_of_a_processor_come_on_top_of_its_work() -> None:
    """A card works on while Python launches; a processor cannot."""
    spec = spec_of(max_length=512, per_device_train_batch_size=1, gradient_accumulation_steps=1)
    on_card, here = time_of(spec, machine("rtx-3090")), time_of(spec, machine("cpu"))
    assert "kernel launches" not in on_card.parts
    assert on_card.hidden_seconds > 0
    launches = form_of(spec).layers * LAYER_LAUNCHES["full"] * CPU_LAUNCH_SECONDS
    assert here.parts["kernel launches"] == pytest.approx(launches)
    assert here.hidden_seconds == 0


def test_what_only_moves_memory_is_held_back_by_few_cores() -> None:
    cpu = find("cpu")
    assert cpu
    two, many = (
        time_of(spec_of(), msgspec.structs.replace(machine("cpu"), profile=with_cores(cpu, n)))
        for n in (2, 64)
    )
    traffic = "memory traffic"
    shared = cpu.bandwidth_bytes_per_second * TRAFFIC_SHARE
    ratio = shared / (2 * CORE_BYTES_PER_SECOND)
    assert two.parts[traffic] == pytest.approx(ratio * many.parts[traffic])
    assert two.parts["compute"] == pytest.approx(32 * many.parts["compute"])


def test_what_earlier_runs_took_is_in_all_of_the_time() -> None:
    taught = TimeLesson(ratio=1.5, least=0.9, most=1.2, runs=3)
    bare, found = time_of(spec_of(), machine()), time_of(spec_of(), machine(time=taught))
    assert found.step_seconds == pytest.approx(1.5 * bare.step_seconds)
    assert found.tokens_per_second == pytest.approx(bare.tokens_per_second / 1.5)
    assert sum(found.parts.values()) == pytest.approx(found.step_seconds)
    assert found.hidden_seconds == pytest.approx(1.5 * bare.hidden_seconds)
    assert found.learnt == taught
    assert bare.learnt.runs == 0


@given(st.integers(1, 2), st.sampled_from([8, 64, 512]), st.sampled_from(["rtx-3090", "cpu"]))
@settings(max_examples=20, deadline=None)
def test_a_step_of_fewer_tokens_is_as_planned_for_shorter_rows(
    batch: int, parts: int, profile: str
) -> None:
    """But for attention, which the form of this test has little of."""
    long = spec_of(max_length=4096, per_device_train_batch_size=batch)
    short = patched(long, {"training.max_length": 4096 // parts})
    place = machine(profile, is_detected=True)
    plan = make_plan(long, form_of(long), place)
    planned = msgspec.convert(expectation(plan, place), Expected)
    other = time_of(short, place)
    assert planned.seconds_at(planned.step_tokens) == pytest.approx(planned.step_seconds)
    assert planned.seconds_at(planned.step_tokens // parts) == pytest.approx(
        other.step_seconds, rel=0.15
    )


def test_a_processor_is_taught_time_alone() -> None:
    place = machine("cpu", is_detected=True, processor="Xeon, 2 cores")
    expected = expectation(make_plan(spec_of(), form_of(spec_of()), place), place)
    assert (expected["card"], expected["peak_bytes"]) == ("Xeon, 2 cores", 0)
    assert expected["step_seconds"] > 0
