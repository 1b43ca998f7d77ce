"""Every system call of a save fails once, in every way: what is left must be good to go on from.

    python tests/bench/syscall_matrix.py [--saver naive] [--every 1]

A save is watched once with strace; then it is done again and again from the same folder, each time
with one fault at one call: killed there, no space, an I/O error, an interrupted call, a write that
says it wrote a byte and did not. Afterwards the newest save that has a name must be sound, there
must be one, and a save that was said to be done must be it. The naive saver must fail: a harness
that finds nothing there is worth nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.store.checkpoints import published
from engine.store.manifest import verify
from tests.bench import saver_under_test
from tests.bench.saver_under_test import BEGIN, END, STEP

FAULTS = ("signal=SIGKILL", "error=ENOSPC", "error=EIO", "error=EINTR")
LIE = "retval=1"
PATIENCE_SECONDS = 20.0
_CALL = re.compile(r"^(?:\d+ +)?([a-z_0-9]+)\(")
RESULTS = Path(__file__).with_name("results")


class Point(NamedTuple):
    """One fault at one call."""

    call: str
    number: int
    """Which call of that name, counted from the start of the process."""
    fault: str


class Verdict(NamedTuple):
    """What was left."""

    point: Point
    problem: str
    """Empty if all is well."""


def has_strace() -> bool:
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode == 0


def make_run(folder: Path) -> Path:
    """A run with two sound saves."""
    for step in (100, 200):
        saver_under_test.save(folder, step)
    return folder


def points(base: Path, saver: str) -> list[Point]:
    """Every fault at every call of a save."""
    run = shutil.copytree(base, base.with_name("watched"))
    log = base.with_name("calls.txt")
    subprocess.run(
        ["strace", "-qq", "-o", str(log), *_saving(run, saver)], check=True, capture_output=True
    )
    shutil.rmtree(run)
    before: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    counting = before
    for line in log.read_text(errors="replace").splitlines():
        if END in line:
            break
        match = _CALL.match(line)
        if match:
            counting[match[1]] += 1
        if BEGIN in line:
            counting = inside
    assert inside, "the save was not seen"
    return [
        Point(call, before[call] + number + 1, fault)
        for call, count in sorted(inside.items())
        for number in range(count)
        for fault in (*FAULTS, *([LIE] if call == "write" else []))
    ]


def _saving(run: Path, saver: str) -> list[str]:
    return [sys.executable, "-E", str(Path(saver_under_test.__file__)), str(run), saver]


def try_point(base: Path, saver: str, point: Point) -> Verdict:
    """Save with this fault, and look at what is left."""
    run = base.with_name("tried")
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(base, run)
    inject = f"inject={point.call}:{point.fault}:when={point.number}"
    process = subprocess.Popen(
        ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject,
         *_saving(run, saver)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        code = process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Verdict(point, "the save hangs")
    return Verdict(point, _problem(run, code))


def _problem(run: Path, code: int) -> str:
    found = published(run)
    if not found:
        return "no save is left"
    step, folder = found[-1]
    if problems := verify(folder):
        return f"the newest, of step {step}, is broken: {problems[0]}"
    if code == 0 and step != STEP:
        return f"the save was said to be done, and the newest is of step {step}"
    sound = sum(not verify(each) for _, each in found)
    return "" if sound >= 2 else "only one sound save is left"


def matrix(folder: Path, saver: str, every: int = 1) -> Iterator[Verdict]:
    """The verdict of every ``every``-th point."""
    base = make_run(folder / "base")
    for point in points(base, saver)[::every]:
        yield try_point(base, saver, point)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--saver", choices=sorted(saver_under_test.SAVERS), default="fettle")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        verdicts = list(matrix(Path(name), options.saver, options.every))
    bad = [verdict for verdict in verdicts if verdict.problem]
    result = {
        "saver": options.saver,
        "points": len(verdicts),
        "calls": dict(Counter(verdict.point.call for verdict in verdicts)),
        "faults": dict(Counter(verdict.point.fault for verdict in verdicts)),
        "bad": len(bad),
        "bad_points": [[*verdict.point, verdict.problem] for verdict in bad[:40]],
        "seconds": round(time.monotonic() - began, 1),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    sys.exit(bool(bad) != (options.saver == "naive"))


if __name__ == "__main__":
    main()
