"""Work that is no training run: a worker process, one job, its last word."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import engine
from engine.contract.messages import Done, Finding, Heartbeat, Job, Message, Ready
from engine.contract.wire import Garbage, LineReader, frame
from engine.launch import ClientError

_CHUNK = 1 << 16
_LEAVE_SECONDS = 10.0
_TAIL_LINES = 8


class JobFailed(ClientError):
    """The job came to nothing; the sentence says why."""


class JobWorker:
    """A worker that imports what it needs from the moment it is made, and then does one job."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine", "work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=Path(engine.__file__).parents[1],
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> JobWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job, seen: Callable[[Message], None]) -> Done:
        """Do the job; ``seen`` gets what the worker says of it before Done.

        Raises :class:`JobFailed` if it did not finish.
        """
        finding: Finding | None = None
        for message in self._talk(job):
            if isinstance(message, Done):
                return _finished(message, finding)
            finding = message if isinstance(message, Finding) else finding
            if not isinstance(message, Ready | Heartbeat):
                seen(message)
        code = self._process.wait()
        raise JobFailed(f"The worker ended without a result (exit code {code}).\n{self._tail()}")

    def close(self) -> None:
        """End the worker; it is killed if it does not leave."""
        # To a worker the end of its stdin means that nothing more is wanted of it.
        with contextlib.suppress(BrokenPipeError):  # What it did not read is of no use to it now.
            self._stdin.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._errors.close()

    def _talk(self, job: Job) -> Iterator[Message]:
        # One that has ended may still have said why.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(frame(job))
            self._stdin.flush()
        reader = LineReader()
        while chunk := os.read(self._stdout.fileno(), _CHUNK):
            yield from (found for found in reader.feed(chunk) if not isinstance(found, Garbage))

    def _tail(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def _finished(done: Done, finding: Finding | None) -> Done:
    if done.outcome == "finished":
        return done
    reasons = [finding.title, finding.cause, finding.remedy] if finding else [done.sentence]
    raise JobFailed(" ".join(filter(None, reasons)) or f"The job {done.outcome}.")
