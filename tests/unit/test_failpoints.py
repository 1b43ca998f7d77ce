"""Failpoints: what they understand, when they strike, and that they cost nothing."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import failpoints
from engine.failpoints import ONCE, POINTS, VARIABLE, read
from engine.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def arm(text: str, **more: str) -> None:
    failpoints.arm({VARIABLE: text, **more})


def test_entries_are_read() -> None:
    text = (
        " worker.step:11=hang ; save.write:3=enospc;worker.load=sleep(0.5);worker.output=error(x)"
    )
    assert [each.text for each in read(text)] == [
        "worker.step:11=hang", "save.write:3=enospc", "worker.load=sleep(0.5)",
        "worker.output=error(x)",
    ]  # fmt: skip
    assert read("") == []
    assert read(" ; ") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("worker.step", "is not of the form"),
        ("worker.step:x=hang", "is not of the form"),
        ("worker.stop=hang", "there is no point 'worker.stop'"),
        ("worker.step=fly", "there is no action 'fly'"),
        ("worker.step=sleep", "needs seconds"),
        ("worker.step=sleep(-1)", "no time"),
        ("worker.step=exit(one)", "takes an exit code"),
        ("worker.step=oom(disk)", "takes one of vram"),
        ("worker.step=hang(3)", "takes nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE) as error:
        arm(text)
    assert words in str(error.value)


@pytest.mark.parametrize("process", ["host", "work"])
def test_no_process_starts_with_failpoints_that_make_no_sense(process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", process],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: "worker.step=fly"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "cannot start" in done.stderr
    assert "there is no action 'fly'" in done.stderr


def test_a_point_strikes_at_its_number_only() -> None:
    arm("save.write:3=enospc;worker.step:7=error")
    for _ in range(2):
        failpoints.reach("save.write")
    failpoints.reach("save.sync")
    with pytest.raises(OSError, match="No space left") as error:
        failpoints.reach("save.write")
    assert error.value.errno == errno.ENOSPC
    failpoints.reach("save.write")
    # A step has its own number, whatever step a process begins with.
    failpoints.reach("worker.step", 6)
    with pytest.raises(RuntimeError, match=r"worker\.step:7"):
        failpoints.reach("worker.step", 7)


def test_without_a_number_it_strikes_every_time() -> None:
    arm("save.sync=eio")
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            failpoints.reach("save.sync")


def test_what_strikes_once_does_not_strike_the_next_process(tmp_path: Path) -> None:
    once = tmp_path / "struck"
    for _ in range(2):
        arm("worker.step:7=error;worker.step:9=error", **{ONCE: str(once)})
        if not once.exists():
            with pytest.raises(RuntimeError):
                failpoints.reach("worker.step", 7)
        failpoints.reach("worker.step", 7)
    assert once.read_text() == "worker.step:7=error\n"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("kill", -signal.SIGKILL), ("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT),
        ("exit", 1), ("exit(7)", 7),
    ],
)  # fmt: skip
def test_faults_that_end_a_process(fault: str, code: int) -> None:
    assert started(fault).wait(20) == code


@pytest.mark.parametrize("fault", ["hang", "hang_gil", "deadlock", "block", "stop"])
def test_faults_that_a_process_never_leaves(fault: str) -> None:
    process = started(fault)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    # Nothing goes on behind the point; another thread does, unless it needs the interpreter.
    if fault in ("hang_gil", "stop"):
        time.sleep(1.0)
    else:
        assert process.stdout.readline() == "beat\n"
        # Nor does a signal help, such as the one that asks for the stacks.
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait(20)
    assert process.stdout.read() == ""
    process.stdout.close()


def started(fault: str) -> subprocess.Popen[str]:
    code = f"""
import resource, signal, sys, threading, time
signal.signal(signal.SIGINT, lambda *_: None)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from engine import failpoints
def beat():
    time.sleep(0.5)
    print("beat", flush=True)
failpoints.arm({{"{VARIABLE}": "worker.step={fault}"}})
print("there", flush=True)
threading.Thread(target=beat, daemon=True).start()
failpoints.reach("worker.step", 1)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT, text=True, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE if fault in ("hang", "hang_gil", "deadlock", "block", "stop")
        else subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("oom", "CUDA out of memory"), ("oom(vram)", "CUDA out of memory"),
        ("oom(driver)", "CUDA error: out of memory"), ("oom(ram)", "DefaultCPUAllocator"),
    ],
)  # fmt: skip
def test_memory_runs_out_in_the_words_of_its_pool(pool: str, words: str) -> None:
    arm(f"worker.step={pool}")
    with pytest.raises(RuntimeError, match=words):
        failpoints.reach("worker.step", 1)


def test_an_unset_point_costs_next_to_nothing() -> None:
    failpoints.arm({})
    count = 200_000
    seconds = min(timeit.repeat(lambda: failpoints.reach("worker.step", 1), number=count))
    assert seconds / count < 2e-6


def test_every_point_is_somewhere_and_every_reach_has_a_point() -> None:
    reached = []
    for file in (ROOT / "engine").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "reach", "failpoints.reach",
            ):  # fmt: skip
                reached.append(ast.literal_eval(node.args[0]))
    assert sorted(reached) == sorted(POINTS)
    assert FAULTS
