"""The last word on a rehearsal, from what was heard of it."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract.messages import Done, Finding, PoolPeak, Rehearsed
from engine.host.rehearsed import Course, ending

GIB = 1 << 30


def _end(heard: Course, code: int | None = None, **fields: Any) -> Rehearsed:
    values = {"is_stopped": False, "disk_free": 100 * GIB, "planned": {}, **fields}
    return ending("r", heard, code, **values)


def _measured(*pools: PoolPeak, **fields: Any) -> Course:
    found = Rehearsed(run="", verdict="fits", sentence="", pools=list(pools), **fields)
    data = msgspec.to_builtins(found)
    return Course(done=Done(at=0, outcome="finished", step=0, data=data))


def _card(used: float, total: float = 8.0) -> PoolPeak:
    return PoolPeak(pool="vram", measured_bytes=round(used * GIB), limit_bytes=round(total * GIB))


def test_room_is_told_and_little_room_too() -> None:
    assert _end(_measured(_card(6.0))).sentence == (
        "It fits: at most 6.0 GiB of the 8.0 GiB on the card, 2.0 GiB to spare."
    )
    assert _end(_measured(_card(7.9))).sentence.startswith("It fits, but barely: at most 7.9")


def test_plan_and_disk_stand_beside_what_was_measured() -> None:
    disk = PoolPeak(pool="disk", measured_bytes=GIB)
    heard = _measured(_card(6.0), disk, checkpoint_bytes=GIB)
    found = _end(heard, planned={"vram": 5 * GIB}, disk_free=2 * GIB)
    assert [(p.planned_bytes, p.limit_bytes) for p in found.pools] == [
        (5 * GIB, 8 * GIB),
        (None, 2 * GIB),
    ]
    assert found.sentence.endswith(
        "The disk has room for 2 saves; a run needs room for 3 at least."
    )


def test_where_the_computer_trains_itself_the_larger_count_is_told() -> None:
    pools = [
        PoolPeak(pool="tensors", measured_bytes=3 * GIB, limit_bytes=16 * GIB),
        PoolPeak(pool="ram", measured_bytes=2 * GIB, limit_bytes=16 * GIB),
    ]
    assert "at most 3.0 GiB of the 16.0 GiB of RAM" in _end(_measured(*pools)).sentence


def test_an_end_without_a_word_names_the_place() -> None:
    heard = Course(where="backward pass of the longest batch (4 rows of 2 048 tokens)")
    killed = _end(heard, -9)
    assert killed.verdict == "would_die"
    assert killed.sentence.startswith(
        "It would have died in the backward pass of the longest batch (4 rows of 2 048 tokens): "
    )
    assert "(RAM) ran out" in killed.sentence
    assert killed.sentence.endswith("The plan says what would make room.")
    assert "a library crashed" in _end(heard, -11).sentence
    assert "exit code 3" in _end(heard, 3).sentence


def test_the_last_error_is_the_reason() -> None:
    def failed(code: str, title: str) -> Course:
        finding = Finding(at=0, severity="error", code=code, title=title, remedy="Do this.")
        warning = Finding(at=0, severity="warning", code="x", title="Beside the point.")
        done = Done(at=0, outcome="failed", step=0)
        return Course(where="optimizer step of it", findings=[finding, warning], done=done)

    assert _end(failed("out_of_memory", "No.")).sentence == (
        "It would have died: out of VRAM in the optimizer step of it. Do this."
    )
    found = _end(failed("nan_loss", "The loss is no number."))
    assert found.sentence == "It would have died: the loss is no number. Do this."
    assert len(found.findings) == 2


def test_a_wish_to_stop_is_no_verdict() -> None:
    assert _end(Course(), -9, is_stopped=True).verdict == "stopped"
    done = Done(at=0, outcome="stopped", step=0)
    assert _end(Course(done=done)).verdict == "stopped"
