"""Drives a real worker process over its pipes, as the host does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import Done, Job, Message, Ready, StopJob
from engine.contract.wire import Garbage, LineReader, frame

ROOT = Path(__file__).parents[2]
Seen = list[Message]


class Worker:
    """A worker process and everything it has said."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from engine.worker.main import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            )
        self._lines = LineReader()
        self.seen: Seen = []
        self.garbage: list[Garbage] = []

    def send(self, message: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frame(message))
        self.process.stdin.flush()

    def until(self, wanted: Callable[[Message], bool]) -> Message | None:
        """Read until a message is the wanted one; None if the worker ends before."""
        assert self.process.stdout is not None
        while chunk := os.read(self.process.stdout.fileno(), 1 << 16):
            found = self._lines.feed(chunk)
            self.garbage += [item for item in found if isinstance(item, Garbage)]
            messages = [item for item in found if not isinstance(item, Garbage)]
            self.seen += messages
            for message in messages:
                if wanted(message):
                    return message
        return None

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def end(self) -> int:
        """Close its stdin, wait for it, and give its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()


def job(folder: Path, spec: dict[str, Any], **fields: Any) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        kind="train", run=folder.name, folder=str(folder), log=str(folder / "worker.log"),
        spec=spec, **fields,
    )  # fmt: skip


def train(folder: Path, spec: dict[str, Any], outcome: str = "finished", **fields: Any) -> Worker:
    """A whole run in a worker of its own; the worker has ended, with this outcome."""
    with Worker(folder.parent / "idle.log") as worker:
        worker.send(job(folder, spec, **fields))
        done = worker.until(lambda message: isinstance(message, Done))
        assert worker.end() == 0
    assert isinstance(done, Done), _log(folder)
    assert done.outcome == outcome, f"{done}\n{_log(folder)}"
    return worker


def _log(folder: Path) -> str:
    return (folder / "worker.log").read_text()[-3000:]


def steps(worker: Worker) -> list[tuple[int, float | None]]:
    from engine.contract.messages import Step

    return [(record.step, record.loss) for record in worker.of(Step)]


def merged(base: dict[str, Any], **changes: dict[str, Any]) -> dict[str, Any]:
    """The spec with tables updated; a table that is None is taken out."""
    spec = msgspec.to_builtins(base)
    for name, table in changes.items():
        if table is None:
            spec.pop(name, None)
        else:
            spec[name] = {**spec.get(name, {}), **table} if isinstance(table, dict) else table
    return dict(spec)


__all__ = ["Ready", "StopJob", "Worker", "job", "merged", "steps", "time", "train"]
