"""Forms for a plan that has only so much time: what is kept costs none."""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from engine.cli.foretell import Traces
from engine.client import Client, Refused
from engine.contract.messages import Trace
from tests.unit.plan_forms import form_of, machine, spec_of


class Host:
    """Has some forms kept, and traces the others; each trace takes a second, it says."""

    def __init__(self, *kept: int) -> None:
        self._kept = kept
        self.asked: list[tuple[int, bool]] = []
        """Rank of the adapter, and whether only what is kept was asked for."""

    def request(self, request: Trace, patience: float) -> dict[str, Any]:
        rank = request.spec["lora"]["r"]
        self.asked.append((rank, request.only_kept))
        if request.only_kept and rank not in self._kept:
            raise Refused("No such step was traced here yet.")
        form = replace(form_of(spec_of()), seconds=1.0)
        return {"form": msgspec.to_builtins(form), "config": {"model_type": "llama"}}


def _spec(rank: int) -> Any:
    spec = spec_of()
    return replace(spec, lora=replace(spec.lora, r=rank))


@pytest.fixture
def host() -> Host:
    return Host(16, 32)


@pytest.fixture
def traces(host: Host) -> Traces:
    made = Traces(cast(Client, host), machine("rtx-3090"))
    made.first(_spec(16))
    return made


def test_with_time_all_are_traced(host: Host, traces: Traces) -> None:
    traces.limit(time.monotonic() + 60)
    assert traces.form(_spec(64)) is not None
    assert traces.left_out == 0
    assert host.asked == [(16, False), (64, False)]


def test_a_trace_may_take_longer_than_the_one_before(host: Host, traces: Traces) -> None:
    traces.limit(time.monotonic() + 1.2)
    assert traces.form(_spec(64)) is None
    assert traces.left_out == 1


def test_rows_beyond_a_window_are_given_more_time(host: Host, traces: Traces) -> None:
    traces._longest = 4095
    took = traces._usual_seconds = 0.4
    traces.limit(time.monotonic() + 2 * took)
    assert traces.form(_spec(64)) is not None
    longer = _spec(128)
    longer = replace(longer, training=replace(longer.training, max_length=5000))
    assert traces.form(longer) is None
    assert traces.left_out == 1


def test_late_what_is_kept_is_taken_and_nothing_is_traced(host: Host, traces: Traces) -> None:
    traces.limit(time.monotonic() - 1)
    assert traces.form(_spec(32)) is not None
    assert traces.form(_spec(64)) is None
    assert traces.left_out == 1
    assert host.asked[1:] == [(32, True), (64, True)]
