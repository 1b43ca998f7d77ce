"""A finished run teaches: of a card its memory, and of any machine how long steps take."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from engine.contract.lifecycle import Event
from engine.contract.messages import Done, Finding, Message, Step, Telemetry
from engine.host.lesson import FIRST_STEPS, LEAST_STEPS, MOST_TIMES, Lesson
from engine.planning import learnt
from engine.planning.learnt import Expected
from engine.store import runs
from tests.unit.test_host_duties import House, run_async

MIB = 1 << 20
EXPECTED = Expected(
    card="RTX 3090", driver="580.65", torch="2.13.0", peak_bytes=8000 * MIB, context_bytes=300 * MIB
)


def step(peak: int | None) -> Step:
    return Step(at=1.0, step=1, loss=1.0, learning_rate=1e-4, step_ms=1.0, vram_peak_bytes=peak)


def done(outcome: str = "finished") -> Done:
    return Done(at=2.0, outcome=outcome, step=1)  # type: ignore[arg-type]


def make_run(store: Path, plan: dict[str, object]) -> Path:
    return runs.create(
        store, name="t", spec={"name": "t"}, versions={}, now=datetime.now(UTC), plan=plan
    )


def lesson_of(*messages: Message) -> Lesson:
    lesson = Lesson()
    for message in messages:
        lesson.note(message)
    return lesson


def known(home: Path) -> learnt.Lesson:
    key = learnt.key("RTX 3090", "580.65", "2.13.0")
    return learnt.read(home).get(key, learnt.Lesson())


def test_the_driver_knows_best(fettle_home: Path) -> None:
    seen = [Telemetry(at=1.0, vram_process_bytes=size * MIB) for size in (100, 8200, 8100)]
    lesson = lesson_of(step(7600 * MIB), *seen, done())
    assert lesson.has_something
    lesson.learn(make_run(fettle_home / "runs", msgspec.to_builtins(EXPECTED)))
    assert known(fettle_home).offset_bytes == 200 * MIB


@pytest.mark.parametrize("process", [None, 500 * MIB])
def test_without_the_driver_torch_tells_what_it_took_and_cuda_comes_on_top(
    fettle_home: Path, process: int | None
) -> None:
    lesson = lesson_of(step(7600 * MIB), Telemetry(at=1.0, vram_process_bytes=process), done())
    lesson.learn(make_run(fettle_home / "runs", msgspec.to_builtins(EXPECTED)))
    assert known(fettle_home).offset_bytes == -100 * MIB


@pytest.mark.parametrize(
    ("learnt_tokens", "took", "offset"),
    [(200, 7000, 0), (920, 7000, -700), (200, 7900, 200)],
    ids=["short answers", "full rows", "more than planned"],
)
def test_a_run_that_had_less_to_learn_does_not_make_the_next_plan_smaller(
    fettle_home: Path, learnt_tokens: int, took: int, offset: int
) -> None:
    seen = [
        msgspec.structs.replace(step(took * MIB), target_tokens=tokens)
        for tokens in (150, learnt_tokens, 100)
    ]
    lesson = lesson_of(*seen, done())
    plan = msgspec.structs.replace(EXPECTED, step_tokens=1000)
    lesson.learn(make_run(fettle_home / "runs", msgspec.to_builtins(plan)))
    assert known(fettle_home).offset_bytes == offset * MIB


def test_runs_that_did_not_finish_or_had_neither_card_nor_steps_teach_nothing() -> None:
    assert not lesson_of(step(7600 * MIB), done("failed")).has_something
    assert not lesson_of(step(7600 * MIB)).has_something
    assert not lesson_of(step(None), done()).has_something


FORETOLD = msgspec.structs.replace(
    EXPECTED, step_seconds=1.0, step_tokens=1000, time_ratio=2.0,
    parts={"compute": 0.8, "optimizer": 0.2},
)  # fmt: skip


def timed(count: int = 40, ms: float = 900.0, padded: int = 500) -> list[Message]:
    """Steps of 0.9 s whose rows are half full, after a slow first one."""
    first = msgspec.structs.replace(step(None), step_ms=60_000.0, tokens=1, padded_tokens=padded)
    usual = msgspec.structs.replace(first, step_ms=ms)
    return [first, *[usual] * (count - 1)]


def test_the_time_of_steps_is_learnt_whatever_their_tokens(fettle_home: Path) -> None:
    run = make_run(fettle_home / "runs", msgspec.to_builtins(FORETOLD))
    lesson = lesson_of(*timed(), done())
    assert lesson.has_something, "a run without a card teaches as well"
    lesson.learn(run)
    # 0.2 + 0.8 × 500 / 1000 = 0.6 s were foretold, with twice the bare estimate.
    assert known(fettle_home).time.ratio == pytest.approx(2.0 * 0.9 / 0.6)
    assert known(fettle_home).runs == 0
    lesson_of(*timed(ms=1500.0, padded=1000), done()).learn(run)
    assert known(fettle_home).time.most == pytest.approx(1.1), "full rows tell the same"


@pytest.mark.parametrize("code", ["spill", "throttled", "starved", "card_shared", "slower"])
def test_a_run_that_was_held_up_teaches_no_time(fettle_home: Path, code: str) -> None:
    trouble = Finding(at=1.0, code=code, severity="warning", title="t", cause="c", remedy="r")
    assert not lesson_of(*timed(), trouble, done()).has_something
    lesson = lesson_of(step(8600 * MIB), *timed(), trouble, done())
    lesson.learn(make_run(fettle_home / "runs", msgspec.to_builtins(FORETOLD)))
    assert (known(fettle_home).runs, known(fettle_home).time.runs) == (1, 0)


def test_a_machine_that_others_took_all_along_teaches_no_time(fettle_home: Path) -> None:
    """Nothing gets slower then, so that no finding tells of it."""
    run = make_run(fettle_home / "runs", msgspec.to_builtins(FORETOLD))
    # 0.6 s were foretold, with twice the bare estimate.
    lesson_of(*timed(ms=600 * MOST_TIMES / 2 + 1), done()).learn(run)
    lesson_of(*timed(ms=600 / MOST_TIMES / 2 - 1), done()).learn(run)
    assert not (fettle_home / learnt.FILE).exists()
    lesson_of(*timed(ms=600 * MOST_TIMES / 2 - 1), done()).learn(run)
    assert known(fettle_home).time.ratio == pytest.approx(MOST_TIMES, rel=0.01)


def test_few_steps_say_nothing_of_time(fettle_home: Path) -> None:
    few = FIRST_STEPS + LEAST_STEPS - 1
    assert not lesson_of(*timed(few), done()).has_something
    assert lesson_of(*timed(few + 1), done()).has_something
    assert not lesson_of(*timed(), done("stopped")).has_something
    lesson = lesson_of(*timed(), done())
    lesson.learn(make_run(fettle_home / "runs", msgspec.to_builtins(EXPECTED)))
    assert not (fettle_home / learnt.FILE).exists(), "nothing was foretold of its time"


@pytest.mark.parametrize("plan", [{}, {"card": 7}])
def test_a_run_without_a_sound_plan_teaches_nothing(
    fettle_home: Path, plan: dict[str, object]
) -> None:
    lesson_of(step(MIB), done()).learn(make_run(fettle_home / "runs", plan))
    assert not (fettle_home / learnt.FILE).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the worker is a shell script")
def test_the_host_takes_the_lesson_of_a_run(fettle_home: Path) -> None:
    ready = {"type": "ready", "pid": 1, "import_seconds": 0, "versions": {}}
    words = [ready, *(json.loads(msgspec.json.encode(m)) for m in (step(9000 * MIB), done()))]
    said = "; ".join(f"echo '{json.dumps(word)}'" for word in words[1:])
    script = f"echo '{json.dumps(ready)}'; read job; {said}"

    async def work() -> None:
        house = House(fettle_home, "/bin/sh", "-c", script)
        folder = make_run(house.book.store, msgspec.to_builtins(EXPECTED))
        run = await house.book.add(folder)
        house.book.move(run, Event.ENQUEUE)
        house.scheduler.enqueue(run)
        await house.scheduler._serve(run)
        await house.book.close_all()

    run_async(work)
    deadline = time.monotonic() + 30
    while not (fettle_home / learnt.FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert known(fettle_home).offset_bytes == 1300 * MIB
