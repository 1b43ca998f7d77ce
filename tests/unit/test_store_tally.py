"""What a run waits for stands in its summary."""

from __future__ import annotations

from engine.contract.lifecycle import State
from engine.contract.messages import Finding
from engine.store.tally import RESULT_WAITS, RESULT_WRITTEN, Tally


def found(code: str) -> Finding:
    return Finding(
        at=1.0, severity="warning", code=code, title="The disk has no room for its result.",
        remedy="It is written as soon as there is room.",
    )  # fmt: skip


def test_a_result_that_waits_for_room_is_told_until_it_is_written() -> None:
    known = Tally(run="r", name="r", created_at=0.0, state=State.TRAINING)
    known.apply(found("loss_spike"))
    assert known.sentence == ""
    known.apply(found(RESULT_WAITS))
    assert known.sentence == (
        "The disk has no room for its result. It is written as soon as there is room."
    )
    known.apply(found(RESULT_WRITTEN))
    assert known.sentence == ""
