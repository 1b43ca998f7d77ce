"""Every check of the repository, for the verb ``test``. Each one runs, also after a failure."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from environment import Venv

CLOSING = re.compile(r"\b(passed|failed|errors?|no tests ran)\b.* in [\d.]+s")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One check: a command that has to end with 0."""

    name: str
    command: list[str]


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
        outcomes = [_run(gate, root, environment) for gate in all_gates(venv)]
    for line in summary(outcomes):
        print(line, flush=True)
    return 1 if any(outcome.code for outcome in outcomes) else 0


def all_gates(venv: Venv) -> list[Gate]:
    """The gates in order: the quick ones first, so that a slip is seen early."""
    pytest = [str(venv.python), "-m", "pytest", "-q"]
    pytest += ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "worksteal"]
    # A gate gives the same answer twice; to look for new examples, run pytest itself.
    pytest += ["--hypothesis-seed", "0"]
    light = ["tests/unit", "tests/gui"]
    return [
        Gate(name="ruff check", command=[str(venv.script("ruff")), "check", "."]),
        Gate(name="ruff format", command=[str(venv.script("ruff")), "format", "--check", "."]),
        Gate(name="import rules", command=[str(venv.script("lint-imports"))]),
        Gate(name="types", command=[str(venv.python), "-m", "mypy"]),
        Gate(name="tests without torch", command=[*pytest, "--no-torch", *light]),
        Gate(name="all other tests", command=[*pytest, *(f"--ignore={part}" for part in light)]),
    ]


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


def _run(gate: Gate, root: Path, environment: dict[str, str]) -> Outcome:
    shown = shlex.join([Path(gate.command[0]).stem, *gate.command[1:]])
    print(f"\n--- {gate.name}: {shown}", flush=True)
    started = time.monotonic()
    closing = ""
    with subprocess.Popen(
        gate.command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                print(line, end="", flush=True)
                if CLOSING.search(line):
                    closing = line.strip()
        except BaseException:
            # Asked to end: the tests are not left running behind.
            child.terminate()
            raise
    return Outcome(
        gate=gate, code=child.returncode, seconds=time.monotonic() - started, closing=closing
    )


def summary(outcomes: list[Outcome]) -> list[str]:
    """A line a gate, then pytest's closing line of the whole run."""
    lines = ["", "--- all gates"]
    for outcome in outcomes:
        verdict = "ok" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
        counted = f"  {outcome.closing.strip('= ')}" if outcome.closing else ""
        lines.append(f"{outcome.gate.name:<20} {verdict:<8} {outcome.seconds:6.1f} s{counted}")
    return [*lines, *(outcome.closing for outcome in outcomes[-1:] if outcome.closing)]
