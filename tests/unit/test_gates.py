"""The verb ``test``: all gates run, one failure is enough to fail, the closing line comes last."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import gates

    return gates


@pytest.fixture
def venv() -> Any:
    scripts = Path(sys.executable).parent
    return SimpleNamespace(python=Path(sys.executable), script=lambda name: scripts / name)


def gate(gates: Any, name: str, code: str, *, is_beside: bool = False) -> Any:
    return gates.Gate(name=name, command=[sys.executable, "-c", code], is_beside=is_beside)


def test_a_failure_does_not_spare_the_gates_after_it(
    gates: Any, venv: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        gates,
        "all_gates",
        lambda venv: [
            gate(gates, "bad", "import sys; print('spoilt'); sys.exit(3)"),
            gate(gates, "good", "print('= 5 passed, 1 skipped in 0.12s =')"),
        ],
    )
    assert gates.run(venv, ROOT, []) == 1
    lines = capfd.readouterr().out.splitlines()
    assert "spoilt" in lines
    assert any(line.startswith("bad") and "FAILED (exit code 3)" in line for line in lines)
    assert any(line.startswith("good") and " ok " in line for line in lines)
    assert lines[-1] == "= 5 passed, 1 skipped in 0.12s ="


def test_all_well_is_zero(gates: Any, venv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "all_gates", lambda venv: [gate(gates, "good", "pass")])
    assert gates.run(venv, ROOT, []) == 0


def test_checks_run_beside_the_tests_and_stand_in_their_order(
    gates: Any, venv: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    mark = tmp_path / "mark"
    seen = f"import pathlib, time\nwhile not pathlib.Path({str(mark)!r}).exists(): time.sleep(0.01)"
    monkeypatch.setattr(
        gates,
        "all_gates",
        lambda venv: [
            gate(gates, "check", f"open({str(mark)!r}, 'w'); raise SystemExit(4)", is_beside=True),
            gate(gates, "tests", f"{seen}\nprint('= 2 passed in 0.10s =')"),
        ],
    )
    assert gates.run(venv, ROOT, []) == 1
    check, tests, closing = capfd.readouterr().out.splitlines()[-3:]
    assert check.startswith("check")
    assert "FAILED (exit code 4)" in check
    assert tests.startswith("tests")
    assert closing == "= 2 passed in 0.10s ="


def test_arguments_go_to_pytest_alone(
    gates: Any, venv: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    here = "tests/unit/test_gates.py::test_all_well_is_zero"
    assert gates.run(venv, ROOT, ["-q", "-p", "no:cacheprovider", here]) == 0
    out = capfd.readouterr().out
    assert "1 passed" in out
    assert "---" not in out


def test_the_gates_see_a_home_of_their_own_and_no_network(gates: Any) -> None:
    seen = gates._environment("/x")
    assert seen["FETTLE_HOME"] == "/x"
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert seen["QT_QPA_PLATFORM"] == "offscreen"
    assert "PYTHONPATH" not in seen


@pytest.mark.parametrize(
    ("line", "closes"),
    [
        ("============ 3 failed, 12 passed in 1.20s ============", True),
        ("12 passed in 71.20s (0:01:11)", True),
        ("no tests ran in 0.01s", True),
        ("1 error in 0.01s", True),
        ("gw0 [12] / gw1 [12]", False),
        ("tests/unit/test_x.py ..... [ 12%]", False),
    ],
)
def test_pytests_closing_line_is_known(gates: Any, line: str, closes: bool) -> None:
    assert bool(gates.CLOSING.search(line)) == closes


def test_every_tool_is_a_gate(gates: Any, venv: Any) -> None:
    commands = [" ".join(map(str, gate.command)) for gate in gates.all_gates(venv)]
    for tool in ("ruff check", "ruff format --check", "lint-imports", "mypy", "--no-torch"):
        assert any(tool in command for command in commands), tool


def test_no_folder_of_tests_is_left_out(gates: Any, venv: Any) -> None:
    *_, bare, rest = (gate.command for gate in gates.all_gates(venv))
    run_bare = {part for part in bare if part.startswith("tests/")}
    left_to_the_bare = {part[9:] for part in rest if part.startswith("--ignore=")}
    assert run_bare == left_to_the_bare == {"tests/unit", "tests/gui"}
    assert not [part for part in rest if part.startswith("tests/")]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_ci_runs_the_same_command_as_people() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "python3 packaging/bootstrap.py test" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_strict_settings_are_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert project["mypy"]["strict"] is True
    pytest_options = project["pytest"]["ini_options"]
    assert pytest_options["filterwarnings"][0] == "error"
    assert pytest_options["xfail_strict"] is True
    assert pytest_options["qt_log_level_fail"] == "WARNING"
    assert pytest_options["timeout"] > 0


# ---------------------------------------------------------------- without torch


def test_without_torch_it_cannot_be_imported_here_or_in_a_child(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """--no-torch, run for real on a file that looks."""
    look = "import subprocess, sys\n"
    for where, expression in [("here", "__import__('torch')"), ("child", "child()")]:
        look += f"def test_{where}():\n    try: {expression}\n"
        look += "    except ImportError as error: assert 'no-torch' in str(error)\n"
        look += "    else: raise AssertionError('torch is there')\n"
    look += (
        "def child():\n"
        "    done = subprocess.run([sys.executable, '-c', 'import torch'], capture_output=True)\n"
        "    if done.returncode: raise ImportError(done.stderr.decode())\n"
    )
    file = tmp_path / "test_look.py"
    file.write_text(look)
    command = [sys.executable, "-m", "pytest", "-q", "--no-torch", "-p", "no:cacheprovider"]
    # The file lies elsewhere: the repository's settings and conftest have to be named.
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    done = subprocess.run(
        [*command, *settings, "-p", "tests.conftest", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_that_is_ended_takes_its_gate_along(tmp_path: Path) -> None:
    """What CI does at a time limit: nothing may be left running behind."""
    pids = [tmp_path / "beside.pid", tmp_path / "aloud.pid"]
    gate = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    driver = f"""
import pathlib, signal, sys
sys.path.insert(0, {str(ROOT / "packaging")!r})
import gates
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
gates.all_gates = lambda venv: [
    gates.Gate(name=pid, command=[sys.executable, "-c", {gate!r}, pid], is_beside="beside" in pid)
    for pid in {[str(pid) for pid in pids]!r}
]
gates.run(None, pathlib.Path({str(tmp_path)!r}), [])
"""
    run = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not all(pid.exists() and pid.read_text() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.terminate()
    assert run.wait(30) == 143
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
