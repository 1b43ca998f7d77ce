"""The wire survives whatever libraries do with stdin, stdout and stderr."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.contract.lifecycle import Phase
from engine.contract.messages import Done, Finding, Job, Progress, Ready, Step, decode_line
from engine.contract.wire import LineReader
from engine.worker.outbox import Outbox
from tests.worker.harness import Worker

NOISE = """
import ctypes, os, subprocess, sys
from engine.worker.stdio import claim, log_to
channel = claim()
def shout(word):
    print(word, "from python")
    sys.stdout.flush()
    os.write(1, word.encode() + b" from a descriptor\\n")
    libc = ctypes.CDLL(None)
    libc.printf(word.encode() + b" from C\\n")
    libc.fflush(None)
    subprocess.run(["echo", word, "from a child"], check=True)
shout("early")
assert sys.stdin.read() == "", "stdin must be empty"
assert os.read(channel.commands, 100) == b"hello"
child = "import os; os.write(%d, b'x')" % channel.messages
child = [sys.executable, "-c", child]
assert subprocess.run(child, close_fds=False, stderr=subprocess.DEVNULL).returncode != 0
from pathlib import Path
log_to(Path(sys.argv[1]))
shout("late")
os.write(channel.messages, b"the wire\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="uses the C library by its POSIX name")
def test_nothing_that_is_printed_reaches_the_wire(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    done = subprocess.run(
        [sys.executable, "-c", NOISE, str(log)], input=b"hello", capture_output=True,
        cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.stdout == b"the wire\n", done.stderr.decode()
    for word, place in (("early", done.stderr.decode()), ("late", log.read_text())):
        for source in ("python", "a descriptor", "C", "a child"):
            assert f"{word} from {source}" in place


class Wire:
    """A pipe with an outbox at one end."""

    def __init__(self) -> None:
        self.read_end, write_end = os.pipe()
        self.write_end = write_end
        self.box = Outbox(write_end)

    def messages(self) -> list[object]:
        os.close(self.write_end)
        reader, found = LineReader(), []
        while chunk := os.read(self.read_end, 1 << 16):
            found += reader.feed(chunk)
        os.close(self.read_end)
        return found


def _step(number: int) -> Step:
    return Step(at=0.0, step=number, loss=1.0, learning_rate=0.1, step_ms=1.0)


def test_records_are_numbered_kept_in_order_and_all_arrive() -> None:
    wire = Wire()
    for number in range(500):
        wire.box.send(_step(number))
    wire.box.start()
    wire.box.close()
    steps = [m for m in wire.messages() if isinstance(m, Step)]
    assert [(s.step, s.worker_seq) for s in steps] == [(n, n + 1) for n in range(500)]


def test_of_progress_only_the_newest_waits_and_done_stays_last() -> None:
    wire = Wire()
    for number in range(100):
        wire.box.send(Progress(phase=Phase.TOKENISING, done=number, total=100))
    wire.box.send(Done(at=0.0, outcome="finished", step=1))
    wire.box.start()
    wire.box.close()
    found = wire.messages()
    assert [m.done for m in found if isinstance(m, Progress)] == [99]
    assert isinstance(found[-1], Done)


def test_a_host_that_does_not_read_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.worker.outbox.QUEUE_LIMIT", 1000)
    wire = Wire()
    wire.box.start()
    for number in range(20_000):
        wire.box.send(_step(number))
    wire.box.send(Finding(at=0.0, severity="info", code="x", title="y"))
    reader = threading.Thread(target=wire.box.close)
    found = LineReader()
    messages: list[object] = []
    reader.start()
    while not any(isinstance(m, Finding) for m in messages[-5:]):
        messages += found.feed(os.read(wire.read_end, 1 << 16))
    reader.join()
    os.close(wire.read_end)
    os.close(wire.write_end)
    assert wire.box.dropped_steps > 0
    kept = [m.worker_seq for m in messages if isinstance(m, Step)]
    assert kept == sorted(kept)
    assert len(kept) + wire.box.dropped_steps == 20_000


def test_a_lost_host_is_no_error_and_what_was_said_is_left_for_the_next(tmp_path: Path) -> None:
    wire = Wire()
    os.close(wire.read_end)
    wire.box.start()
    for number in range(30):
        wire.box.send(_step(number))
    wire.box.close()
    wire.box.leave_orphan(tmp_path)
    os.close(wire.write_end)
    lines = (tmp_path / "orphan.jsonl").read_bytes().splitlines()
    assert [decode_line(line).worker_seq for line in lines] == list(range(1, 31))  # type: ignore[attr-defined]


def test_a_worker_says_ready_and_leaves_when_its_host_does(tmp_path: Path) -> None:
    with Worker(tmp_path / "log") as worker:
        ready = worker.until(lambda message: isinstance(message, Ready))
        assert isinstance(ready, Ready)
        assert ready.pid == worker.process.pid
        assert ready.versions["torch"]
        assert worker.end() == 0
    assert not worker.garbage


def test_garbage_from_the_host_is_skipped_and_a_bad_job_fails_in_words(tmp_path: Path) -> None:
    with Worker(tmp_path / "log") as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.write(b"\xff\x00 what\n{}\n")
        worker.send(Job(kind="train", folder=str(tmp_path), spec={"name": "x"}))
        done = worker.until(lambda message: isinstance(message, Done))
        assert worker.end() == 0
    assert isinstance(done, Done)
    assert done.outcome == "failed"
    (finding,) = worker.of(Finding)
    assert finding.code == "bad_input"
    assert "JobError" in finding.detail
    assert worker.seen[-1] is done


def test_a_library_that_cannot_be_loaded_is_told_as_a_broken_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch without Microsoft's C++ runtime is an OSError, not an ImportError."""
    (tmp_path / "torch.py").write_text(
        "raise OSError('[WinError 126] c10.dll or one of its parts')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Worker(tmp_path / "log") as worker:
        worker.until(lambda message: isinstance(message, Ready))
        worker.send(Job(kind="train", folder=str(tmp_path / "run"), spec={}))
        done = worker.until(lambda message: isinstance(message, Done))
        assert isinstance(done, Done)
        assert done.outcome == "failed"
        (found,) = worker.of(Finding)
        assert found.code == "broken_install"
        assert "c10.dll" in found.cause
        assert worker.end() == 0


def test_a_library_that_repeats_itself_is_heard_once(tmp_path: Path) -> None:
    code = (
        "import logging; from engine.worker.main import _set_up_log; _set_up_log()\n"
        "for i in range(9):\n"
        "    logging.getLogger('bitsandbytes').warning('again')\n"
        "    logging.getLogger('engine.worker').warning('step %d', i)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stderr.count("again") == 1
    assert done.stderr.count("step") == 9
