"""Every check of the repository, for the verb ``test``. Each one runs, also after a failure.

The tests run one gate after the other, in sight. They wait now and then, and meanwhile the other
checks are made beside them and shown when they end.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environment import Venv

CLOSING = re.compile(r"\b(passed|failed|errors?|no tests ran)\b.* in [\d.]+s")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One check: a command that has to end with 0."""

    name: str
    command: list[str]
    is_beside: bool = False
    """Whether it runs beside the tests."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a gate ended."""

    gate: Gate
    code: int
    seconds: float
    closing: str
    """The last line of its tests, empty if it ran none."""


def run(venv: Venv, root: Path, arguments: list[str]) -> int:
    """Run all gates, or with ``arguments`` only pytest with these. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="fettle-test-") as home:
        environment = _environment(home)
        if arguments:
            command = [str(venv.python), "-m", "pytest", *arguments]
            return subprocess.call(command, cwd=root, env=environment)
        outcomes = Runner(root, environment).run(all_gates(venv))
    for line in summary(outcomes):
        print(line, flush=True)
    return 1 if any(outcome.code for outcome in outcomes) else 0


def all_gates(venv: Venv) -> list[Gate]:
    """The gates in order: the quick ones first, so that a slip is seen early."""
    # A gate gives the same answer twice; to look for new examples, run pytest itself.
    pytest = [str(venv.python), "-m", "pytest", "-q", "--hypothesis-seed", "0", "--durations", "12"]
    cores = min(os.cpu_count() or 1, 4)
    light = ["tests/unit", "tests/gui"]
    ruff = str(venv.script("ruff"))
    checks = {
        "ruff check": [ruff, "check", "."],
        "ruff format": [ruff, "format", "--check", "."],
        "import rules": [str(venv.script("lint-imports"))],
        "types": [str(venv.python), "-m", "mypy"],
    }
    return [
        *(Gate(name=name, command=checks[name], is_beside=True) for name in checks),
        Gate(
            name="tests without torch", command=[*pytest, *_shared_by(cores), "--no-torch", *light]
        ),
        # These wait for other processes now and then.
        Gate(
            name="all other tests",
            command=[*pytest, *_shared_by(cores + 1), *(f"--ignore={part}" for part in light)],
        ),
    ]


def _shared_by(workers: int) -> list[str]:
    return ["-n", str(workers), "--dist", "worksteal"]


def _environment(home: str) -> dict[str, str]:
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "HF_HUB_OFFLINE": "1",
        "FETTLE_HOME": home,
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("PYTHONPATH", None)
    if sys.stdout.isatty():
        environment["FORCE_COLOR"] = "1"
    return environment


class Runner:
    """Runs gates, and leaves none behind if it is asked to end."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self._root = root
        self._environment = environment
        self._children: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()
        self._is_ending = False

    def run(self, gates: list[Gate]) -> list[Outcome]:
        """The outcomes, in the order of the gates."""
        with ThreadPoolExecutor(max_workers=1) as beside:
            quiet = {g.name: beside.submit(self._quietly, g) for g in gates if g.is_beside}
            aloud = {g.name: self._aloud(g) for g in gates if not g.is_beside}
            return [
                aloud[gate.name] if gate.name in aloud else quiet[gate.name].result()
                for gate in gates
            ]

    def _aloud(self, gate: Gate) -> Outcome:
        print(_heading(gate), flush=True)
        return self._watch(gate, lambda line: print(line, end="", flush=True))

    def _quietly(self, gate: Gate) -> Outcome:
        lines = [_heading(gate) + "\n"]
        outcome = self._watch(gate, lines.append)
        print("".join(lines), end="", flush=True)
        return outcome

    def _watch(self, gate: Gate, hear: Callable[[str], object]) -> Outcome:
        started = time.monotonic()
        closing = ""
        with self._begin(gate) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    hear(line)
                    if CLOSING.search(line):
                        closing = line.strip()
            except BaseException:
                # It would be waited for.
                self._end()
                raise
        return Outcome(
            gate=gate, code=child.returncode, seconds=time.monotonic() - started, closing=closing
        )

    def _begin(self, gate: Gate) -> subprocess.Popen[str]:
        with self._lock:
            if self._is_ending:
                raise InterruptedError
            child = subprocess.Popen(
                gate.command, cwd=self._root, env=self._environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
            )  # fmt: skip
            self._children.append(child)
        return child

    def _end(self) -> None:
        with self._lock:
            self._is_ending = True
            for child in self._children:
                child.terminate()


def _heading(gate: Gate) -> str:
    shown = shlex.join([Path(gate.command[0]).stem, *gate.command[1:]])
    return f"\n--- {gate.name}: {shown}"


def summary(outcomes: list[Outcome]) -> list[str]:
    """A line a gate, then pytest's closing line of the whole run."""
    lines = ["", "--- all gates"]
    for outcome in outcomes:
        verdict = "ok" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
        counted = f"  {outcome.closing.strip('= ')}" if outcome.closing else ""
        lines.append(f"{outcome.gate.name:<20} {verdict:<8} {outcome.seconds:6.1f} s{counted}")
    return [*lines, *(outcome.closing for outcome in outcomes[-1:] if outcome.closing)]
