"""A rehearsal that is over is told, whatever becomes of the plan beside it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.cli import foretell, rehearse
from engine.client import Client, HostFailed, Refused
from engine.contract.messages import Facts, Rehearsed, Trace
from engine.planning.facts import judge
from tests.unit.machines import NO_DRIVER, linux
from tests.unit.plan_forms import form_of, spec_of

FOUND = Rehearsed(
    run="r", verdict="fits", sentence="It fits.", heaviest_rows=2, heaviest_tokens=96,
)  # fmt: skip


class Answers(Client):
    """A host that tells of its machine, and answers a trace with this."""

    def __init__(self, trace: Exception | dict[str, Any]) -> None:
        self._trace = trace
        self.asked: list[Any] = []

    def request(self, message: Any, timeout_s: float | None = None) -> dict[str, Any]:
        self.asked.append((message, timeout_s))
        if isinstance(message, Facts):
            return {"facts": msgspec.to_builtins(judge(linux(NO_DRIVER)))}
        assert isinstance(message, Trace)
        if isinstance(self._trace, Exception):
            raise self._trace
        return self._trace


@pytest.mark.parametrize("error", [HostFailed("No answer."), Refused("No.", [])])
def test_a_trace_that_fails_costs_no_result(error: Exception) -> None:
    assert rehearse._beside_plan(Answers(error), spec_of(), FOUND) == FOUND


def test_the_plan_beside_it_is_of_the_batch_that_was_tried() -> None:
    answers = Answers({"form": msgspec.to_builtins(form_of(spec_of())), "config": {}})
    rehearse._beside_plan(answers, spec_of(), FOUND)
    (asked, seconds) = answers.asked[-1]
    assert asked.spec["training"]["max_length"] == 96
    assert asked.precision == "fp32"
    assert seconds == foretell.TRACE_SECONDS
