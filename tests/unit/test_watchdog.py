"""The watch over a worker: what stands still is found in time, what is slow is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.contract.lifecycle import Phase
from engine.contract.messages import Message, PhaseChanged, Progress, Step, Telemetry
from engine.diagnosis.watchdog import GENEROUS_SECONDS, Stall, Watch
from engine.host.stall_report import Sighting, look_at_stall
from engine.host.watchdog import finding_of
from engine.store.runs import STACKS

Story = Iterator[tuple[float, Message | int]]
"""Times, and what the worker said then: a message, or the count of a heartbeat."""


def phase(name: Phase) -> PhaseChanged:
    return PhaseChanged(at=0, phase=name)


def step(number: int, seconds: float) -> Step:
    return Step(at=0, step=number, loss=1.0, learning_rate=1e-4, step_ms=1000 * seconds)


def found(story: Story, until: float, watch: Watch | None = None) -> tuple[float, Stall] | None:
    """The first stall, and when, if somebody looks every second."""
    watch = watch or Watch(0.0)
    said = iter(story)
    next_said = next(said, None)
    for now in range(1, int(until)):
        while next_said is not None and next_said[0] <= now:
            at, what = next_said
            watch.beat(what, at) if isinstance(what, int) else watch.note(what, at)
            next_said = next(said, None)
        stall = watch.look(float(now))
        if stall:
            return float(now), stall
    return None


def trains(seconds: float, count: int, *, begin: float = 10.0) -> Story:
    """Loading, then steps, with a heartbeat a second."""
    yield 1.0, phase(Phase.LOADING_MODEL)
    yield begin, phase(Phase.FIRST_STEP)
    for number in range(1, count + 1):
        yield begin + number * seconds, step(number, seconds)


def beats(begin: float, end: float, *, moves: int = 0) -> Story:
    yield from ((float(second), moves) for second in range(int(begin), int(end)))


# ---------------------------------------------------------------- what stands still


def test_a_stall_that_takes_long_to_examine_is_still_one() -> None:
    watch = Watch(0.0)
    when, _ = found(trains(2.0, 9), 200.0, watch) or (0.0, None)
    assert when
    # Looks were not taken for 40 s, which after a sleep would forgive everything.
    assert watch.is_over(when + 40)
    watch.beat(1, when + 41)
    assert not watch.is_over(when + 42)


def test_a_worker_that_beats_and_does_not_get_on_is_stuck_after_90_seconds() -> None:
    def story() -> Story:
        yield from trains(1.0, 10)
        yield from beats(20, 500)

    now, stall = found(story(), 500) or pytest.fail("not found")
    assert (stall.kind, stall.phase) == ("stuck", Phase.TRAINING)
    assert 110 <= now <= 113
    assert stall.budget_seconds == 90.0


def test_one_that_does_not_even_beat_is_frozen() -> None:
    now, stall = found(trains(1.0, 10), 500) or pytest.fail("not found")
    assert stall.kind == "frozen"
    assert 110 <= now <= 113


@pytest.mark.parametrize("name", [Phase.EVALUATING, Phase.SAVING])
def test_one_that_froze_after_what_came_between_steps_has_the_time_of_a_step(name: Phase) -> None:
    """It could not say any more that the next step had begun."""

    def story() -> Story:
        yield from trains(1.0, 10)
        yield 20.0, phase(name)
        yield from beats(20, 25)

    now, stall = found(story(), 500) or pytest.fail("not found")
    assert (stall.kind, stall.budget_seconds) == ("frozen", 90.0)
    assert stall.may_be_stepping
    assert 110 <= now <= 116


@pytest.mark.parametrize(
    ("may_be_stepping", "title", "why"),
    [
        (False, "Nothing has moved for 95 s while it was saved.", "This phase may take 90 s"),
        (True, "Nothing has moved for 95 s since it was saved.", "The step after it may take 90 s"),
    ],
)
def test_what_it_was_at_is_said_as_far_as_it_is_known(
    may_be_stepping: bool, title: str, why: str
) -> None:
    stall = Stall(
        kind="frozen", phase=Phase.SAVING, silent_seconds=95.0, budget_seconds=90.0,
        may_be_stepping=may_be_stepping,
    )  # fmt: skip
    course: Any = SimpleNamespace(attempt=1, step=5)
    found = finding_of(course, stall, Sighting(), is_ended=True)
    assert found.title == title
    assert found.why.startswith(why)


def test_one_that_beats_again_after_such_a_silence_is_alive() -> None:
    watch = Watch(0.0)

    def story() -> Story:
        yield from trains(1.0, 10)
        yield 20.0, phase(Phase.SAVING)

    now, _ = found(story(), 500, watch) or pytest.fail("not found")
    watch.beat(0, now + 1)
    assert not watch.is_over(now + 2)


def test_the_budget_grows_with_the_usual_step() -> None:
    now, stall = found(trains(60.0, 10), 2000) or pytest.fail("not found")
    assert stall.budget_seconds == 360.0
    assert 970 <= now <= 973


@pytest.mark.parametrize("name", GENEROUS_SECONDS)
def test_each_phase_has_an_end(name: Phase) -> None:
    def story() -> Story:
        yield 1.0, phase(name)
        yield from beats(2, 9000)

    now, stall = found(story(), 9000) or pytest.fail("not found")
    assert stall.phase == name
    assert now - 1 == pytest.approx(GENEROUS_SECONDS[name], abs=3)


def test_times_can_be_shortened_but_not_below_what_was_seen() -> None:
    now, stall = found(trains(1.0, 10), 500, Watch(0.0, 0.05)) or pytest.fail("not found")
    assert stall.budget_seconds == 6.0
    assert 26 <= now <= 28


# ---------------------------------------------------------------- what is slow but alive


def slow_compile() -> Story:
    yield from trains(1.0, 0)
    yield from beats(10, 1800)
    yield 1800.0, step(1, 1790.0)


def slow_first_step_without_a_beat() -> Story:
    yield from trains(1.0, 0)
    yield 2400.0, step(1, 2390.0)


def long_evaluation() -> Story:
    yield from trains(1.0, 10)
    yield 20.0, phase(Phase.EVALUATING)
    yield from ((20.0 + batch * 60, batch) for batch in range(1, 60))
    yield 3620.0, phase(Phase.TRAINING)


def long_evaluation_in_one_piece() -> Story:
    yield from trains(1.0, 10)
    yield 20.0, phase(Phase.EVALUATING)
    yield from beats(21, 800)
    yield 800.0, phase(Phase.TRAINING)


def slow_save() -> Story:
    yield from trains(1.0, 10)
    yield 20.0, phase(Phase.SAVING)
    yield from beats(21, 1700)
    yield 1700.0, phase(Phase.TRAINING)


def save_with_a_pause_between_beats() -> Story:
    yield from trains(1.0, 10)
    yield 20.0, phase(Phase.SAVING)
    yield from beats(21, 220)
    yield from beats(280, 1700)
    yield 1700.0, phase(Phase.TRAINING)


def long_tokenising() -> Story:
    yield 1.0, phase(Phase.TOKENISING)
    yield from (
        (10.0 * n, Progress(phase=Phase.TOKENISING, done=n, total=0)) for n in range(1, 720)
    )


def slow_download() -> Story:
    yield 1.0, phase(Phase.LOADING_MODEL)
    yield from beats(2, 3500)
    yield 3500.0, phase(Phase.TOKENISING)


def a_long_step_of_many_small_batches() -> Story:
    yield from trains(1.0, 0)
    yield 11.0, step(1, 1.0)
    yield from ((11.0 + 20 * n, n) for n in range(1, 100))


def steps_that_become_slower() -> Story:
    at = 10.0
    yield 1.0, phase(Phase.FIRST_STEP)
    for number in range(1, 60):
        at += (seconds := 10.0 * 1.1 ** min(number, 25))
        yield at, step(number, seconds)


def a_step_now_and_then_that_takes_five_times_as_long() -> Story:
    at = 10.0
    yield 1.0, phase(Phase.FIRST_STEP)
    for number in range(1, 100):
        at += (seconds := 200.0 if number % 9 == 0 else 40.0)
        yield at, step(number, seconds)


SLOW = [
    slow_compile, slow_first_step_without_a_beat, long_evaluation, long_evaluation_in_one_piece,
    slow_save, save_with_a_pause_between_beats, long_tokenising, slow_download,
    a_long_step_of_many_small_batches, steps_that_become_slower,
    a_step_now_and_then_that_takes_five_times_as_long,
]  # fmt: skip


@pytest.mark.parametrize("story", SLOW)
def test_what_is_slow_is_left_alone(story: object) -> None:
    told = list(story())  # type: ignore[operator]
    assert found(iter(told), told[-1][0] + 1) is None


def test_a_machine_that_slept_does_not_blame_the_worker() -> None:
    watch = Watch(0.0)
    watch.note(step(1, 1.0), 5.0)
    assert watch.look(6.0) is None
    assert watch.look(30000.0) is None, "nobody looked for hours: nobody ran"
    assert watch.look(30001.0) is None
    for now in range(30002, 30100):
        stall = watch.look(float(now))
    assert stall is not None, "from then on it has its time, and no more"


def test_the_hosts_own_samples_are_no_sign_of_the_worker() -> None:
    watch = Watch(0.0)
    watch.note(step(1, 1.0), 0.0)
    stalls = [watch.look(float(now)) for now in range(1, 100) if not watch.note(_sample(), now)]
    assert any(stalls)


def _sample() -> Telemetry:
    return Telemetry(at=0.0)


# ---------------------------------------------------------------- what is seen of it

LOOP = (
    "import collections, itertools, pathlib, sys\n"
    "from engine.worker.stacks import leave_stacks_when_asked\n"
    "leave_stacks_when_asked(pathlib.Path(sys.argv[1])); print('on', flush=True)\n"
    "def in_a_library(): collections.deque(itertools.repeat(None), maxlen=0)\n"
    "in_a_library()\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_stacks_are_had_of_a_loop_that_never_lets_go_of_python(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOOP, str(tmp_path)]
    stall = Stall(kind="frozen", phase=Phase.TRAINING, silent_seconds=95.4, budget_seconds=90.0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()
        time.sleep(0.3)
        seen = look_at_stall(loop.pid, tmp_path, 2, stall)
        assert seen.state == "running"
        assert "in in_a_library" in seen.stacks
        assert seen.path is not None
        text = seen.path.read_text()
        os.kill(loop.pid, signal.SIGSTOP)
        while psutil.Process(loop.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        (tmp_path / STACKS).write_bytes(b"")
        stopped = look_at_stall(loop.pid, tmp_path, 3, stall)
        loop.kill()
    assert seen.path.name.startswith("stall-2-")
    assert "frozen for 95 s while training; 90 s were allowed" in text
    assert f"{loop.pid} computing" in text
    assert (stopped.state, stopped.stacks) == ("stopped", "")


def test_of_a_worker_that_is_gone_there_is_still_a_file(tmp_path: Path) -> None:
    stall = Stall(kind="stuck", phase=Phase.SAVING, silent_seconds=1.0, budget_seconds=1.0)
    seen = look_at_stall(2**22 + 1, tmp_path, 1, stall)
    assert seen.state == ""
    assert seen.path is not None
    assert "stuck" in seen.path.read_text()
