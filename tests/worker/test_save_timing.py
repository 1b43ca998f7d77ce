"""When a save is due: what a crash costs is bounded, and what saving costs too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worker.save_timing import Cost, interval_seconds, may_wait

MINUTES = 60.0


@pytest.mark.parametrize(
    ("limit_minutes", "cost", "wanted_seconds"),
    [
        (5, Cost(), 60),
        (5, Cost(stall_seconds=0.05, write_seconds=0.4, bytes=50 << 20), 60),
        (5, Cost(stall_seconds=2.0, write_seconds=5.0, bytes=100 << 20), 200),
        (5, Cost(stall_seconds=0.1, write_seconds=12.0, bytes=100 << 20), 120),
        (5, Cost(stall_seconds=0.1, write_seconds=2.0, bytes=400 << 20), 200),
        (5, Cost(stall_seconds=10.0, write_seconds=60.0, bytes=8 << 30), 230),
        (0.5, Cost(), 30),
        (5, Cost(stall_seconds=60.0, write_seconds=600.0, bytes=80 << 30), 0),
    ],
)  # fmt: skip
def test_a_cheap_save_comes_soon_and_an_expensive_one_as_late_as_may_be(
    limit_minutes: float, cost: Cost, wanted_seconds: float
) -> None:
    assert interval_seconds(limit_minutes * MINUTES, cost, 0.0) == pytest.approx(wanted_seconds)


@given(
    limit=st.floats(1.0, 86400.0), stall=st.floats(0.0, 100.0), write=st.floats(0.0, 1000.0),
    size=st.integers(0, 1 << 40), step=st.floats(0.0, 600.0),
)  # fmt: skip
def test_a_crash_never_costs_more_than_was_allowed(
    limit: float, stall: float, write: float, size: int, step: float
) -> None:
    found = interval_seconds(
        limit, Cost(stall_seconds=stall, write_seconds=write, bytes=size), step
    )
    assert found >= 0
    # From one copy to the moment when the next is on the disk, begun up to a step late.
    if found > 0:
        assert found + step + stall + write <= limit * (1 + 1e-9)


def test_training_waits_for_the_disk_only_so_long_in_all() -> None:
    assert may_wait(0.0, 1.0)
    assert not may_wait(5.0, 20.0)
    assert may_wait(20.0, 300.0)
    assert not may_wait(40.0, 300.0)
