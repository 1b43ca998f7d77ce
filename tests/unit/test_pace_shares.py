"""What a step's time goes into: shares that are everything, and words that are honest."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import pace as cli_pace
from engine.cli.output import Output
from engine.diagnosis.pace.shares import (
    QUESTION,
    Facts,
    Pace,
    Share,
    pace_of,
    recompute_share,
    seconds_of,
)

PLANNED = {"compute": 0.8, "memory traffic": 0.1, "offload copies": 0.2, "optimizer": 0.1}


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "steps": 100, "step_seconds": 2.0, "wait_seconds": 0.0, "busy_share": 1.0,
        "padding_share": 0.0,
    }  # fmt: skip
    return Facts(**{**values, **changes})


def share(found: Pace, part: str) -> Share:
    return next(share for share in found.shares if share.part == part)


def parts(found: Pace) -> dict[str, float]:
    return {share.part: round(share.share, 3) for share in found.shares}


def test_a_run_that_only_computes_has_little_to_save() -> None:
    found = pace_of(facts())
    assert parts(found) == {"computing": 1.0}
    assert "there is little to save" in found.sentence


def test_every_part_is_cut_from_what_is_left() -> None:
    found = pace_of(
        facts(wait_seconds=0.2, busy_share=0.8, padding_share=0.25, recompute_share=1 / 3,
              saving_share=0.1, evaluating_share=0.1)
    )  # fmt: skip
    # 2 s without pauses are 2.5 s with them; 0.2 s wait, 0.2 s idle, 1.6 s of work.
    assert found.whole_seconds == pytest.approx(2.5)
    assert share(found, "saving").seconds == pytest.approx(0.25)
    assert share(found, "waiting").seconds == pytest.approx(0.2)
    assert share(found, "idle").seconds == pytest.approx(0.2)
    assert share(found, "padding").seconds == pytest.approx(0.4)
    assert share(found, "recompute").seconds == pytest.approx(0.4)
    assert share(found, "computing").seconds == pytest.approx(0.8)


def test_copies_and_the_optimizer_are_as_the_plan_estimated() -> None:
    found = pace_of(facts(planned_seconds=1.2, planned_parts=PLANNED))
    assert share(found, "copies").share == pytest.approx(1 / 6)
    assert share(found, "optimizer").share == pytest.approx(1 / 12)
    assert "1.7 times the estimate of 1.20 s" in found.sentence
    assert "17 % of the time goes into moving activations" in found.sentence


def test_a_step_as_estimated_is_said_to_be_so() -> None:
    found = pace_of(facts(planned_seconds=1.9, planned_parts={"compute": 1.9}))
    assert "about as estimated (1.90 s)" in found.sentence


def test_launches_are_in_the_time_in_which_the_card_idles() -> None:
    found = pace_of(facts(busy_share=0.5, planned_parts={"compute": 1.0, "kernel launches": 1.0}))
    assert parts(found) == {"computing": 0.5, "idle": 0.5}
    assert "A larger batch" in share(found, "idle").advice


def test_without_a_card_nothing_is_made_up() -> None:
    found = pace_of(facts(has_card=False, busy_share=None, recompute_share=1 / 3))
    assert set(parts(found)) == {"computing", "recompute"}
    assert "the processor does it all" in share(found, "computing").advice
    assert "No graphics card was measured" in found.unknown[0]
    assert found.planned_seconds is None
    assert "if the card has the room" not in share(found, "recompute").advice


def test_what_is_not_measured_is_named() -> None:
    found = pace_of(facts(busy_share=None, wait_seconds=None, padding_share=None))
    text = " ".join(found.unknown)
    assert "how busy the card is" in text
    assert "how long it waited for data" in text
    assert "did not count padding" in text
    assert "no plan for this card" in text
    assert share(found, "computing").name == "Computing, and what is not known"


@pytest.mark.parametrize(
    ("training", "wanted"), [({"packing": True}, "packed already"), ({}, "packing = true puts")]
)
def test_advice_looks_at_the_settings(training: dict[str, Any], wanted: str) -> None:
    found = pace_of(facts(padding_share=0.4, spec={"training": training}))
    assert wanted in share(found, "padding").advice


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"training": {"gradient_checkpointing": "none"}, "lora": {}}, 0.0),
        ({"lora": {"r": 4}}, 1 / 3),
        ({"training": {"gradient_checkpointing": "offload"}}, 1 / 4),
    ],
)
def test_recomputation_costs_a_forward_pass(spec: dict[str, Any], wanted: float) -> None:
    assert recompute_share(spec) == pytest.approx(wanted)


share_of_one = st.floats(0, 1)


@given(
    st.floats(1e-3, 1e4), st.floats(0, 1e4), st.one_of(st.none(), st.floats(0, 1.2)), share_of_one,
    share_of_one, st.floats(0, 0.6), st.floats(0, 0.6),
)  # fmt: skip
def test_the_parts_are_everything_and_none_is_below_zero(
    step: float, wait: float, busy: float | None, padding: float, recompute: float, saving: float,
    evaluating: float,
) -> None:  # fmt: skip
    some = facts(
        step_seconds=step, wait_seconds=wait, busy_share=busy, padding_share=padding,
        recompute_share=recompute, saving_share=saving, evaluating_share=evaluating,
        planned_parts=PLANNED,
    )  # fmt: skip
    assert min(seconds_of(some).values()) >= -1e-9 * step
    found = pace_of(some)
    assert sum(share.share for share in found.shares) == pytest.approx(1)
    assert msgspec.convert(msgspec.to_builtins(found), Pace) == found


def test_the_command_line_tells_it_with_bars() -> None:
    out = io.StringIO()
    output = Output(as_json=False, stdout=out, stderr=io.StringIO())
    found = pace_of(facts(padding_share=0.3, busy_share=0.98))
    cli_pace.say(msgspec.to_builtins(found), output)
    text = out.getvalue()
    assert QUESTION in text
    assert "█████" in text
    assert " 29 %  Computing padding" in text
    assert "packing = true" in text
    cli_pace.say({}, output)
    assert out.getvalue() == text
