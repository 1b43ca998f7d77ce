"""Jobs outside the host, with a worker of a few lines of shell; whether there is a window."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from engine.cli import window
from engine.cli.jobs import JobFailed, JobWorker
from engine.cli.output import Output
from engine.client import Refused
from engine.contract.lifecycle import Phase
from engine.contract.messages import (
    Done,
    Finding,
    Heartbeat,
    Job,
    Message,
    PhaseChanged,
    Ready,
)
from engine.contract.wire import frame

if sys.platform == "win32":
    pytest.skip("the stand-in worker is a shell script", allow_module_level=True)

JOB = Job(kind="generate", spec={"prompts": ["a"]})


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Makes a worker that reads its job, says these messages, and runs a last shell command."""

    def make(*messages: Message, then: str = "") -> JobWorker:
        (tmp_path / "said").write_bytes(b"noise\n" + b"".join(map(frame, messages)))
        script = tmp_path / "python"
        script.write_text(
            f'#!/bin/sh\nread -r job\necho "$job" > {tmp_path}/job\ncat {tmp_path}/said\n{then}\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return JobWorker()

    return make


def test_a_job_gives_its_done_and_what_came_before(play, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    phase = PhaseChanged(at=0, phase=Phase.LOADING_MODEL)
    done = Done(at=1, outcome="finished", step=0, data={"answers": ["b"]})
    seen: list[Message] = []
    with play(Ready(pid=1, import_seconds=0), Heartbeat(at=0), phase, done) as worker:
        assert worker.run(JOB, seen.append) == done
    assert seen == [phase]
    assert (tmp_path / "job").read_bytes() == frame(JOB)


def test_a_failed_job_says_why_and_what_to_do(play) -> None:  # type: ignore[no-untyped-def]
    finding = Finding(at=0, severity="error", code="c", title="No model.", remedy="Name one.")
    done = Done(at=1, outcome="failed", step=0)
    with play(finding, done) as worker, pytest.raises(JobFailed, match=r"^No model\. Name one\.$"):
        worker.run(JOB, lambda message: None)


def test_a_worker_that_dies_leaves_its_last_words(play) -> None:  # type: ignore[no-untyped-def]
    with (
        play(then="echo 'no torch here' >&2; exit 3") as worker,
        pytest.raises(JobFailed, match=r"exit code 3.*\n.*no torch here"),
    ):
        worker.run(JOB, lambda message: None)


def test_a_worker_that_dies_before_it_reads_its_job_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec 0<&-\necho 'no torch here' >&2\nexit 3\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with JobWorker() as worker:
        worker._process.wait(10)
        with pytest.raises(JobFailed, match=r"exit code 3.*\n.*no torch here"):
            worker.run(JOB, lambda message: None)


def test_a_worker_that_is_not_wanted_any_more_leaves(play) -> None:  # type: ignore[no-untyped-def]
    play(then="exit 0").close()


class TestWindow:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
    def test_without_a_display_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("PySide6")
        assert "no display" in str(window.why_no_window())
        with pytest.raises(Refused, match="`fettle demo` and all other commands do without"):
            window.app(Namespace(), Output(as_json=False))
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
        assert window.why_no_window() is None

    def test_without_pyside_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(window, "find_spec", lambda name: None)
        assert "pip install" in str(window.why_no_window())

    def test_missing_libraries_are_named_before_qt_aborts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("PySide6")
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(window, "_is_there", lambda name: True)
        assert window.why_no_window() is None
        monkeypatch.setattr(window, "_is_there", lambda name: "cursor" not in name)
        sentence = str(window.why_no_window())
        assert "are missing: libxcb-cursor.so.0. Install" in sentence
        assert "sudo apt install libxcb-cursor0 libxcb-icccm4 " in sentence
        readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        assert all(f" {package}" in readme for package in window.X11_LIBRARIES.values())

    def test_a_library_is_looked_for_where_the_loader_looks(self) -> None:
        assert not window._is_there("libfettle-none.so.0")
