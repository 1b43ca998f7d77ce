"""Work that is no training run: one worker process, one job, its last word."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import engine
from engine.client import ClientError
from engine.contract.messages import Done, Finding, Job, Message
from engine.contract.wire import Garbage, LineReader, frame

_CHUNK = 1 << 16
_WORKER_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


class JobFailed(ClientError):
    """The job came to nothing; the sentence says why."""


def run_job(job: Job, seen: Callable[[Message], None]) -> Done:
    """Do the job in a worker of its own; ``seen`` gets every message before Done.

    Raises :class:`JobFailed` if it did not finish.
    """
    finding: Finding | None = None
    with tempfile.TemporaryFile() as errors, _worker(errors) as worker:
        try:
            for message in _talk(worker, job):
                if isinstance(message, Done):
                    return _finished(message, finding)
                finding = message if isinstance(message, Finding) else finding
                seen(message)
        finally:
            _end(worker)
        raise JobFailed(
            f"The worker ended without a result (exit code {worker.returncode}).\n{_tail(errors)}"
        )


def _worker(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=Path(engine.__file__).parents[1],
        env={**os.environ, **_WORKER_ENVIRONMENT},
    )


def _talk(worker: subprocess.Popen[bytes], job: Job) -> Iterator[Message]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        # Stays open: to a worker the end of its stdin means that the job is no longer wanted.
        worker.stdin.write(frame(job))
        worker.stdin.flush()
    except BrokenPipeError:
        return
    reader = LineReader()
    while chunk := os.read(worker.stdout.fileno(), _CHUNK):
        yield from (found for found in reader.feed(chunk) if not isinstance(found, Garbage))


def _finished(done: Done, finding: Finding | None) -> Done:
    if done.outcome == "finished":
        return done
    reasons = [finding.title, finding.cause, finding.remedy] if finding else [done.sentence]
    raise JobFailed(" ".join(filter(None, reasons)) or f"The job {done.outcome}.")


def _end(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
    try:
        worker.wait(10)
    except subprocess.TimeoutExpired:
        worker.kill()


def _tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-8:])
