"""Starting a host where the system makes it hard, and waiting for one that is busy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import launch, transport
from engine.launch import HostFailed
from engine.transport import Stream

if sys.platform == "win32":
    pytest.skip("plays Windows' refusals on a Unix", allow_module_level=True)


@pytest.fixture
def program(fettle_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is started in the place of Python."""
    path = fettle_home / "python"
    path.write_text("#!/bin/sh\necho started\nexit 1\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


def test_a_job_that_nobody_may_leave_is_stayed_in(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = program.with_name("forbidden")
    forbidden.write_bytes(b"")
    ways = [{"executable": str(forbidden)}, {"start_new_session": True}]
    monkeypatch.setattr(launch, "_detached_ways", lambda: ways)
    with pytest.raises(PermissionError):
        subprocess.Popen(["x"], executable=forbidden)
    with pytest.raises(HostFailed, match=r"started$"):
        launch.open_stream(time.monotonic() + 10)


def test_a_host_that_may_not_be_started_at_all_is_said(program: Path) -> None:
    program.chmod(0o644)
    with pytest.raises(HostFailed, match="Permission denied"):
        launch.start_host()


def test_a_disk_too_full_for_the_reason_is_the_reason(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=0))
    with pytest.raises(HostFailed, match=r"wrote nothing to .*The disk there is full\."):
        launch.open_stream(time.monotonic() + 10)


def _busy() -> OSError:
    error = OSError(22, "All pipe instances are busy")
    error.winerror = 231  # type: ignore[attr-defined,unused-ignore]
    return error


def test_a_busy_pipe_is_tried_again(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    answers: list[Stream | OSError] = [_busy(), _busy(), transport.SocketStream(ours)]
    tries = iter(answers)

    def connect(_address: str) -> Stream:
        found = next(tries)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(transport, "connect", connect)
    stream = launch.open_stream(time.monotonic() + 10)
    theirs.sendall(b"hello")
    assert stream.read() == b"hello"
    stream.close()
    theirs.close()


def test_a_pipe_that_stays_busy_is_given_up(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_address: str) -> Stream:
        raise _busy()

    monkeypatch.setattr(transport, "connect", connect)
    with pytest.raises(HostFailed, match="busy"):
        launch.open_stream(time.monotonic() + 0.2)
