"""The plan on a terminal."""

from __future__ import annotations

import io
import re
import shlex

import msgspec
import pytest
from msgspec import UNSET

from engine.cli import settings
from engine.cli.output import Output
from engine.cli.plan_report import report, settings_words
from engine.cli.words import duration
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.planning import figures
from engine.planning.choices import patched, settle
from engine.planning.hardware import Machine
from engine.planning.learnt import TimeLesson
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from tests.unit.plan_forms import form_of, machine, spec_of


def plan_of(spec: Spec, place: Machine) -> Plan:
    settled, _ = settle(spec, place)
    return make_plan(spec, form_of(settled), place, forms=form_of)


def lines_of(spec: Spec, place: Machine) -> list[str]:
    output = Output(as_json=False, stdout=io.StringIO(), stderr=io.StringIO())
    return report(plan_of(spec, place), output)


CASES = [
    (spec_of(), machine("rtx-3090")),
    (spec_of(max_length=16384, max_steps=7), machine("t4", "wsl", pinned_budget_bytes=200 << 20)),
    (spec_of(gradient_checkpointing="offload"), machine("3x-rtx-3090", "windows")),
    (spec_of(), machine("cpu")),
    (spec_of(), machine("h100", available_bytes=None)),
]


@pytest.mark.parametrize(("spec", "place"), CASES)
def test_the_verdict_comes_first_and_no_line_is_long(spec: Spec, place: Machine) -> None:
    lines = lines_of(spec, place)
    assert lines[0] == f"{place.name}  {plan_of(spec, place).sentence}"
    assert max(map(len, lines)) <= 120
    assert any("a rough estimate, bound by" in line for line in lines)


def test_a_change_says_what_to_write_and_whether_it_is_tight() -> None:
    plan = plan_of(spec_of(max_length=16384), machine("rtx-2080-ti"))
    output = Output(as_json=False, stdout=io.StringIO(), stderr=io.StringIO())
    rung = msgspec.structs.replace(
        plan.ladder[0], verdict="tight", patch={"training.optim": "adamw_8bit", "lora.r": 8}
    )
    text = "\n".join(report(msgspec.structs.replace(plan, ladder=[rung]), output))
    assert " · tight\n" in text
    assert "    --set training.optim=adamw_8bit --set lora.r=8" in text
    modules = {"lora.modules_to_save": ["lm_head"], "lora.target_modules": "all-linear"}
    assert settings_words(modules) == (
        "--set 'lora.modules_to_save=[\"lm_head\"]' --set lora.target_modules=all-linear"
    )
    assert not settings_words({"lora": None}), "a table is taken out in the file"


def test_every_change_can_be_written_as_settings() -> None:
    for spec, place in CASES:
        for rung in plan_of(spec, place).ladder:
            raw = to_raw(spec)
            for word in shlex.split(settings_words(rung.patch))[1::2]:
                assert not settings.apply(raw, word)
            if settings_words(rung.patch):
                assert check(raw)[0] == patched(spec, rung.patch)


def test_the_time_that_earlier_runs_taught_has_its_span() -> None:
    taught = TimeLesson(ratio=2.0, least=0.8, most=1.25, runs=4)
    place = machine("t4", time=taught)
    spec = spec_of(max_steps=1000)
    whole = plan_of(spec, place).timing
    assert whole
    assert whole.total_seconds
    least, most = (duration(share * whole.total_seconds) for share in (0.8, 1.25))
    text = "\n".join(lines_of(spec, place))
    assert f"{duration(whole.total_seconds)} in all" in text
    assert f"{least} to {most} by 4 earlier runs here, bound by" in text
    assert "rough" not in text
    step = "\n".join(lines_of(spec_of(), place))
    assert re.search(r" [0-9.]+ s to [0-9.]+ s by 4 earlier runs here", step)


@pytest.mark.parametrize(("spec", "place"), CASES)
def test_the_bar_is_to_scale(spec: Spec, place: Machine) -> None:
    bar = next(line.strip() for line in lines_of(spec, place) if "│" in line)
    plan = plan_of(spec, place)
    limit = plan.available_bytes or plan.budgets[0].total_bytes
    filled = len(bar.replace("│", "").replace("·", ""))
    share = plan.budgets[0].total_bytes / max(limit, plan.budgets[0].total_bytes)
    assert abs(filled / 48 - share) < 0.05
    assert (bar[-1] != "│") == (plan.budgets[0].total_bytes > limit * 1.02)
    assert len(bar) == 49


def test_a_full_fine_tune_trains_all_and_writes_a_model() -> None:
    spec = msgspec.structs.replace(spec_of(), lora=UNSET, quantization=UNSET)
    whole = "\n".join(lines_of(spec, machine("h100")))
    assert re.search(r"Trains +all [0-9 ]+ weights", whole)
    assert "Model file" in whole
    assert "Adapter file" not in whole
    assert "Adapter file" in "\n".join(lines_of(spec_of(), machine("h100")))


def test_rungs_say_what_they_save_and_what_they_change() -> None:
    text = "\n".join(lines_of(*CASES[1]))
    kept, changing = text.split("These change the result:")
    assert "What would make room" in kept
    assert "Batch 2 → 1, accumulation 4 → 8: -" in kept
    assert "does not fit" in kept
    assert "Max length" in changing
    assert "Longer samples are cut there." in changing


def test_steps_that_are_known_give_the_whole_time() -> None:
    assert re.search(r"tokens/s, .+ in all\n", "\n".join(lines_of(*CASES[1])))
    assert " in all" not in "\n".join(lines_of(*CASES[0]))


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (700 << 10, "700 KiB"), (3.4 * figures.MIB, "3.4 MiB"), (9.94 * figures.MIB, "9.9 MiB"),
        (9.96 * figures.MIB, "10 MiB"), (84 * figures.MIB, "84 MiB"),
        (2.5 * figures.GIB, "2.5 GiB"),
    ],
)  # fmt: skip
def test_a_small_part_keeps_a_digit_that_tells_it_from_another(
    size_bytes: float, text: str
) -> None:
    assert figures.gib(size_bytes) == text
